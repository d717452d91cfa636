"use strict";

// What the page is of: here the objects of an object service, by Swift's API, as the user who signs in. Paths are
// CONTAINER/OBJECT. of_files.js is of files, and says what each of these is for.

let account = sessionStorage.getItem("sfss-account") || "";

const source = {
  title: "Objects",
  top: "Containers",
  headers: (token) => (token ? { "X-Auth-Token": token } : {}),
  who: () => [`Signed in as ${sessionStorage.getItem("sfss-user") || "a user"}.`, "Sign out"],
  missing: () => "", // the form says it
  refused: () => "Sign in again: this session has ended.",

  isFile: (path) => /^[^/]+\/[^]/.test(path),

  urlOf(path) {
    if (!this.isFile(path)) throw new Error("objects lie in containers: CONTAINER/NAME.");
    return this.url(path);
  },

  // Of a container, or of an object. (Without a token there is no account: the answer is 401, as is wanted.)
  url(path) {
    if (DOTS.test(path)) throw new Error("a browser takes the dots in this name for steps in a path.");
    return `../v1/${account || "AUTH_"}/${encoded(path)}`;
  },

  listingUrl(prefix, whole, cursor) {
    const [container, ...rest] = prefix.split("/");
    const query = new URLSearchParams({ format: "json", limit: LISTED });
    if (cursor) query.set("marker", cursor);
    if (!rest.length) query.set("prefix", container);
    else {
      query.set("prefix", rest.join("/"));
      if (!whole) query.set("delimiter", "/");
    }
    return `${this.url(rest.length ? container : "")}?${query}`;
  },

  listed(entries, prefix) {
    const container = prefix.includes("/") ? prefix.slice(0, prefix.indexOf("/") + 1) : "";
    const last = entries[entries.length - 1];
    const listing = { folders: [], files: [], next: entries.length < LISTED ? null : last.subdir || last.name };
    for (const { subdir, name, count: objects, bytes: size, last_modified: modified } of entries) {
      if (!container) listing.folders.push({ path: `${name}/`, note: `${count(objects, "object")}, ${bytes(size)}` });
      else if (subdir) listing.folders.push({ path: container + subdir, note: "folder" });
      else listing.files.push({ path: container + name, size, modified: `${modified}Z` });
    }
    return listing;
  },

  areLarge: true,
  uploadHeaders: { "X-Detect-Content-Type": "true" },
  signed: (url) => new URL(`..${url}`, location.href).href,

  // The token of a user. :raises Error: with a sentence, if he gets none.
  async signIn(user, key) {
    if (!/^[\x21-\x7e]+$/.test(user)) throw new Error("A user is called ACCOUNT:USER.");
    const answer = await fetch("../auth/v1.0", { headers: { "X-Auth-User": user, "X-Auth-Key": key }, cache: "no-store" });
    if (!answer.ok) throw new Error(answer.status === 401 ? "There is no such user, or the key is another." : await detailOf(answer));
    account = answer.headers.get("X-Storage-Url").replace(/^.*\//, "");
    sessionStorage.setItem("sfss-account", account);
    sessionStorage.setItem("sfss-user", user);
    return answer.headers.get("X-Auth-Token");
  },

  // Makes the container that *path* is in. :raises Error:
  async makeContainer(path, headers) {
    const answer = await fetch(this.url(path.split("/")[0]), { method: "PUT", headers });
    if (!answer.ok) throw new Error(await detailOf(answer));
  },

  // :raises Error: if it stays, with what is in the way.
  async deleteContainer(name, headers) {
    const answer = await fetch(this.url(name), { method: "DELETE", headers });
    if (!answer.ok && answer.status !== 404) throw new Error(await detailOf(answer));
  },

  links: { "to-metrics": "../metrics", "to-status": "", "to-openapi": "" },

  examples() {
    const base = new URL("..", location.href).href.replace(/\/$/, "");
    const aws = `aws --endpoint-url ${base} --region us-east-1`;
    const user = "ACCOUNT:USER";
    return [
      ["Swift: list, put, get", `swift -A ${base}/auth/v1.0 -U ${user} -K KEY upload photos photo.jpeg`],
      ["S3: the same objects", `AWS_ACCESS_KEY_ID=${user} AWS_SECRET_ACCESS_KEY=KEY ${aws} s3 ls s3://photos`],
      ["by curl: a token, and the URL of the account", `curl -i -H "X-Auth-User: ${user}" -H "X-Auth-Key: KEY" ${base}/auth/v1.0`],
      ["put an object", `curl -H "X-Auth-Token: TOKEN" -T photo.jpeg ${base}/v1/AUTH_ACCOUNT/photos/photo.jpeg`],
      ["get it", `curl -H "X-Auth-Token: TOKEN" -O ${base}/v1/AUTH_ACCOUNT/photos/photo.jpeg`],
    ];
  },
};
