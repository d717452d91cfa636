"use strict";

// What the page is of: here the files of a gateway or a node. of_objects.js is of the objects of an object service.

const NODE = location.pathname.endsWith("/_page/");
const LISTING = NODE ? "../_files" : "files";

const source = {
  title: "Files",
  top: "All files",
  headers: (token) => (token ? { Authorization: `Bearer ${token}` } : {}),
  // What to say of the token that there is, and of a button that forgets it.
  who: () => ["There is a token.", "Forget it"],
  missing: (what) => `${what} takes a token.`,
  refused: (what) => `The token is not valid for ${what}.`,

  // Whether a file can be called so.
  isFile: () => true,

  // :raises Error: with a sentence, if it has no URL.
  urlOf(path) {
    if (NODE) return `../${encoded(path)}`;
    return DOTS.test(path) ? `file?path=${encoded(path)}` : `file/${encoded(path)}`;
  },

  // Of the files that begin with *prefix*, and folders if not *whole*. *cursor*: what the last listing had as next.
  listingUrl(prefix, whole, cursor) {
    let query = `prefix=${encodeURIComponent(prefix)}&limit=${LISTED}`;
    if (!whole) query += "&delimiter=/";
    return `${LISTING}?${query}${cursor ? `&after=${encodeURIComponent(cursor)}` : ""}`;
  },

  // What its answer says: folders [{path, note}], files [{path, size, modified}], and next.
  listed: ({ folders = [], files, next }) => ({ folders: folders.map((path) => ({ path, note: "folder" })), files, next }),

  // Too large to be kept in the browser before they are saved.
  areLarge: false,
  // What a PUT says beside, so that the type is that of the name.
  uploadHeaders: {},

  // How a signed URL is to be read here.
  signed: (url) => new URL(`.${url}`, location.href).href,

  links: NODE ? { "to-metrics": "../metrics", "to-status": "../_status", "to-openapi": "" } : {},

  examples() {
    const url = new URL(this.urlOf("photos/photo.jpeg"), location.href).href;
    const archive = new URL(NODE ? "../_archive" : "archive", location.href).href;
    return [
      ["put a file", `curl -T photo.jpeg ${url}`],
      ["get it", `curl -O ${url}`],
      ["delete it", `curl -X DELETE ${url}`],
      ["with a token", `curl -H "Authorization: Bearer TOKEN" ${url}`],
      ["what is in a folder", `curl "${new URL(LISTING, location.href).href}?prefix=photos/&delimiter=/"`],
      ["all of it, as a tar archive", `curl "${archive}?prefix=photos/" | tar -x`],
    ];
  },
};
