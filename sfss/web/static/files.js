"use strict";

// Files: what is in a folder, and what can be done with one of them. page.js has the rest, uploads too.

const AGAIN = 5000; // ms until a listing that has failed is tried again
const LISTED = 200; // files and folders that are fetched at once
const SIGNED_SECONDS = 24 * 3600;
const SAVED_SECONDS = 60; // until a download that is asked for has to have begun
const TEXT_BYTES = 64 * 1024; // of a text that is previewed
const IMAGE_BYTES = 32 * 1024 * 1024; // of a picture that is, at the most
const TEXTS = /^(text\/|application\/(json|xml|javascript|x-ndjson)|.*\+(json|xml)$)/;
const DOTS = /(^|\/)\.{1,2}(\/|$)/; // what a browser takes for steps in a path

const place = { prefix: "", whole: false, cursor: null, folders: new Set(), asked: 0, lists: null };
let opened = null; // the file in the dialog

// What has become of a file; when that waited for a token, its dialog is closed.
const say = (text) => ($("details").open ? $("details-state") : $("browse-state")).replaceChildren(text);
const encoded = (path) => encodeURIComponent(path).replace(/%2F/g, "/");
const nameOf = (path) => path.slice(path.lastIndexOf("/", path.length - 2) + 1);

const urlOf = (path) => source.urlOf(path);

async function detailOf(answer) {
  try {
    return (await answer.json()).detail || `error ${answer.status}`;
  } catch {
    return `error ${answer.status}`;
  }
}

// Why a HEAD was answered with this error: its answer had no room for a sentence.
async function reasonOf(url, status) {
  try {
    const answer = await fetch(url, { headers: headers(), cache: "no-store" });
    if (answer.status === status) return await detailOf(answer);
  } catch {
    // what is known already will do
  }
  return `error ${status}.`;
}

function tell(text) {
  $("browse-state").textContent = text;
}

// Folders.

// *whole*: all files that begin with *prefix*, and not one folder.
async function browse(prefix, { whole = false, more = false } = {}) {
  place.asked += 1;
  const turn = place.asked;
  let listing;
  try {
    const url = source.listingUrl(prefix, whole, more ? place.cursor : null);
    const answer = await fetch(url, { headers: headers(), cache: "no-store" });
    if (turn !== place.asked) return; // somebody has gone on meanwhile
    if (answer.status === 401) {
      tell("");
      waitForToken(() => browse(prefix, { whole, more }), source.refused("reading"), source.missing("To list files"));
      return;
    }
    if (!answer.ok) {
      const refused = new Error(await detailOf(answer));
      refused.passes = answer.status >= 500 || [408, 429].includes(answer.status);
      throw refused;
    }
    listing = source.listed(await answer.json(), prefix);
  } catch (error) {
    if (turn !== place.asked) return;
    // (A TypeError: there was no answer.)
    if (!(error.passes ?? error instanceof TypeError)) {
      if (!more) moveTo(prefix, whole);
      place.cursor = null;
      showListing(false);
      $("delete-container").hidden = true; // nobody knows whether there is one
      tell(`This cannot be listed: ${error.message}`);
      return;
    }
    tell(`The files cannot be listed at the moment: ${error.message}`);
    setTimeout(() => turn === place.asked && browse(prefix, { whole, more }), AGAIN);
    return;
  }
  if (turn !== place.asked) return;
  const rows = $("file-rows");
  if (!more) moveTo(prefix, whole);
  place.cursor = listing.next;
  // (A store without an order may name a folder in several listings.)
  const folders = listing.folders.filter(({ path }) => !place.folders.has(path));
  folders.forEach(({ path }) => place.folders.add(path));
  const added = [...folders.map(rowOfFolder), ...listing.files.map(rowOfFile)];
  rows.append(...labelled(rows, added));
  showListing(listing.next !== null);
  if (more && listing.next === null) added[0]?.querySelector("a, button").focus(); // the button has just gone
  const what = whole ? `There is no file ${prefix}. Files that begin like that: ` : "Files and folders: ";
  tell(`${what}${number(rows.children.length)}${listing.next === null ? "" : ", and there are more"}.`);
}

function moveTo(prefix, whole) {
  // Uploads go into the folder one is in; what was searched for is none.
  const folder = folderOf(prefix);
  if (folder !== folderOf(place.prefix)) $("folder").value = folder.replace(/\/$/, "");
  Object.assign(place, { prefix, whole, folders: new Set() });
  $("file-rows").replaceChildren();
  showCrumbs();
}

// Its rows are others now. *more*: whether there are any behind them.
function showListing(more) {
  $("listing").hidden = !$("file-rows").children.length;
  $("more").hidden = !more;
  $("delete-container").hidden = more || !emptyContainer();
}

// The name of the container that one is in, if it can go; else "".
function emptyContainer() {
  const is = source.deleteContainer && /^[^/]+\/$/.test(place.prefix) && !$("file-rows").children.length;
  return is ? place.prefix.slice(0, -1) : "";
}

const folderOf = (path) => path.slice(0, path.lastIndexOf("/") + 1);

function showCrumbs() {
  const parts = place.prefix.split("/").slice(0, -1);
  const links = [[source.top, ""], ...parts.map((part, n) => [part || "(no name)", `${parts.slice(0, n + 1).join("/")}/`])];
  $("crumbs").hidden = false;
  $("crumbs").firstElementChild.replaceChildren(
    ...links.map(([name, prefix], n) => {
      const item = element("li");
      const link = element("a", name);
      link.href = `#/${encoded(prefix)}`;
      if (n === links.length - 1 && !place.whole) link.setAttribute("aria-current", "true");
      link.addEventListener("click", () => {
        if (location.hash === link.hash) browse(prefix); // from a search: the URL stays
      });
      item.append(link);
      return item;
    }),
  );
}

function rowOfEntry(named, size, changed) {
  const row = element("tr");
  const name = element("th");
  name.scope = "row";
  name.append(named);
  const when = element("td", changed || "–");
  when.classList.toggle("unknown", !changed);
  row.append(name, when, element("td", size));
  return row;
}

function rowOfFolder({ path, note }) {
  const link = element("a", nameOf(path));
  link.href = `#/${encoded(path)}`;
  return rowOfEntry(link, note, "");
}

function rowOfFile(file) {
  const button = element("button", place.whole ? file.path : file.path.slice(place.prefix.length));
  button.type = "button";
  button.className = "link";
  button.addEventListener("click", () => openFile(file.path));
  const changed = file.modified ? new Date(file.modified).toLocaleString() : "";
  const row = rowOfEntry(button, file.size === undefined ? "–" : bytes(file.size), changed);
  row.dataset.path = file.path;
  return row;
}

// Called when the page's figures are there, each time. When it begins it returns what shows the first listing.
function beginToBrowse(lists) {
  if (lists === place.lists) return;
  place.lists = lists;
  $("crumbs").hidden = !lists;
  if (lists) return goWhereTheUrlSays();
  tell("This server does not list its files. Find one by its path.");
}

function goWhereTheUrlSays() {
  if (!place.lists || (location.hash && !location.hash.startsWith("#/"))) return;
  let prefix;
  try {
    prefix = decodeURIComponent(location.hash.slice(2));
  } catch {
    prefix = "";
  }
  return browse(prefix);
}

// Something was uploaded.
function refresh() {
  if (place.lists) browse(place.prefix, { whole: place.whole });
}

$("more").addEventListener("click", () => browse(place.prefix, { whole: place.whole, more: true }));

$("delete-container").addEventListener("click", async () => {
  const name = emptyContainer();
  try {
    await source.deleteContainer(name, headers());
  } catch (error) {
    tell(`The container ${name} was not deleted: ${error.message}`);
    return;
  }
  if (place.prefix === `${name}/`) location.hash = "#/";
  $("find-path").focus();
});

$("find").addEventListener("submit", async (event) => {
  event.preventDefault();
  const path = $("find-path").value.replace(/^\/+/, "");
  if (place.lists && (!path || path.endsWith("/"))) {
    if (location.hash === `#/${encoded(path)}`) browse(path);
    else location.hash = `#/${encoded(path)}`;
  } else if (!(await openFile(path)) && place.lists) {
    await browse(path, { whole: true });
  }
});

// One file.

// Whether there is one.
async function openFile(path) {
  if (!source.isFile(path)) return false;
  let url;
  try {
    url = urlOf(path);
  } catch (error) {
    tell(`${path} cannot be shown: ${error.message}`);
    return true;
  }
  let answer;
  try {
    answer = await fetch(url, { method: "HEAD", headers: headers(), cache: "no-store" });
  } catch {
    tell("The server gives no answer.");
    return true; // nobody knows
  }
  if (answer.status === 401) {
    waitForToken(() => openFile(path), source.refused("reading"), source.missing("To look at a file"));
    return true;
  }
  if (answer.status === 404) {
    tell(`There is no file ${path}.`);
    return false;
  }
  if (!answer.ok) {
    tell(`${path}: ${await reasonOf(url, answer.status)}`);
    return true;
  }
  const size = Number(answer.headers.get("Content-Length"));
  const type = answer.headers.get("Content-Type") || "unknown";
  const changed = answer.headers.get("Last-Modified");
  opened = { path, url, etag: answer.headers.get("ETag") };
  $("details-title").textContent = path;
  cards($("details-cards"), [
    ["Size", bytes(size)],
    ["Type", type],
    ["Changed", changed ? new Date(changed).toLocaleString() : "–"],
    ["ETag", opened.etag || "–"],
  ]);
  $("url").value = new URL(opened.url, location.href).href;
  $("download").href = opened.url;
  $("download").download = nameOf(path);
  askToDelete(false);
  $("details-state").textContent = "";
  $("details").showModal();
  await preview(opened, type, size);
  return true;
}

async function preview(file, type, size) {
  $("preview").replaceChildren();
  let shown = null;
  try {
    if (type.startsWith("image/") && size <= IMAGE_BYTES) {
      shown = element("img");
      shown.alt = "";
      // A picture's URL cannot bring the token along.
      shown.src = token ? await blobUntilClosed(file.url) : file.url;
    } else if (TEXTS.test(type) && size) {
      const range = { Range: `bytes=0-${TEXT_BYTES - 1}` };
      const answer = await fetch(file.url, { headers: { ...headers(), ...range } });
      if (answer.ok) {
        shown = element("pre", (await answer.text()) + (size > TEXT_BYTES ? "…" : ""));
        shown.tabIndex = 0; // it scrolls
        shown.setAttribute("aria-label", "The beginning of the text");
        shown.setAttribute("role", "region");
      }
    }
  } catch {
    shown = element("p", "There is no preview: the file could not be read.");
  }
  if (shown && file === opened) $("preview").replaceChildren(shown);
}

async function blobUrl(url) {
  const answer = await fetch(url, { headers: headers() });
  if (!answer.ok) throw new Error(await detailOf(answer));
  return URL.createObjectURL(await answer.blob());
}

async function blobUntilClosed(url) {
  const made = await blobUrl(url);
  $("details").addEventListener("close", () => URL.revokeObjectURL(made), { once: true });
  return made;
}

// A URL that opens the file without a token for so many seconds, and until when; nothing, when it was said why there
// is none.
async function signedUrlOf(file, lifetime) {
  let answer;
  try {
    const query = new URLSearchParams({ path: file.path, lifetime });
    answer = await fetch(`sign?${query}`, { method: "POST", headers: headers() });
  } catch {
    say("The server gives no answer.");
    return;
  }
  if (answer.status === 401) {
    $("details").close(); // the form is behind it
    waitForToken(() => openFile(file.path), source.refused("reading"), source.missing("To sign a URL"));
    return;
  }
  if (!answer.ok) {
    say(`There is no signed URL: ${await detailOf(answer)}`);
    return;
  }
  const { url, expires } = await answer.json();
  return { url: source.signed(url), expires };
}

async function sign(file) {
  const signed = await signedUrlOf(file, SIGNED_SECONDS);
  if (!signed || file !== opened) return;
  const { url, expires } = signed;
  $("url").value = url;
  say(`This URL opens the file without a token, until ${new Date(expires * 1000).toLocaleString()}.`);
}

function askToDelete(asking) {
  $("delete").hidden = asking || !deletes;
  $("really").hidden = !asking;
  if (asking) $("keep").focus();
}

async function remove({ path, url, etag }) {
  let answer;
  try {
    // What was put there since it was shown is another file.
    answer = await fetch(url, { method: "DELETE", headers: { ...headers(), ...(etag ? { "If-Match": etag } : {}) } });
  } catch {
    say("The server gives no answer. The file may be deleted all the same.");
    return;
  }
  if (answer.status === 401) {
    $("details").close(); // the form is behind it
    const again = async () => (await openFile(path)) && opened?.path === path && askToDelete(true);
    waitForToken(again, source.refused("writing"), source.missing("To delete a file"));
    return;
  }
  if (answer.status === 412) {
    say("It was not deleted: it has changed since. Open it again.");
    return;
  }
  if (!answer.ok && answer.status !== 404) {
    say(`It was not deleted: ${await detailOf(answer)}`);
    return;
  }
  $("details").close();
  const row = [...$("file-rows").children].find((each) => each.dataset.path === path);
  const neighbour = row && (row.nextElementSibling || row.previousElementSibling);
  row?.remove();
  (neighbour?.querySelector("a, button") || $("find-path")).focus();
  showListing(!$("more").hidden);
  tell(`${path} is deleted.`);
}

// A link cannot bring the token along. What comes is saved, never shown: it is somebody's file.
async function save(event, file) {
  if (!token) return; // the link will do
  event.preventDefault();
  if (source.areLarge) {
    const signed = await signedUrlOf(file, SAVED_SECONDS);
    if (signed) saveFrom(signed.url, nameOf(file.path));
    return;
  }
  try {
    const made = await blobUrl(file.url);
    saveFrom(made, nameOf(file.path));
    setTimeout(() => URL.revokeObjectURL(made), 60000);
  } catch (error) {
    say(`${file.path} could not be saved: ${error.message}`);
  }
}

function saveFrom(url, name) {
  const link = element("a");
  link.href = url;
  link.download = name;
  link.click();
}

$("download").addEventListener("click", (event) => save(event, opened));
$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("url").value);
    $("details-state").textContent = "The URL is copied.";
  } catch {
    // Without HTTPS a page may not write there: then by hand.
    $("url").select();
    $("details-state").textContent = "The URL is marked: copy it.";
  }
});
$("sign").addEventListener("click", () => sign(opened));
$("delete").addEventListener("click", () => askToDelete(true));
$("keep").addEventListener("click", () => {
  askToDelete(false);
  $("delete").focus();
});
$("delete-it").addEventListener("click", () => remove(opened));
$("close").addEventListener("click", () => $("details").close());
$("details").addEventListener("close", () => {
  opened = null;
  $("preview").replaceChildren();
});

window.addEventListener("hashchange", goWhereTheUrlSays);
for (const [id, url] of Object.entries(source.links)) {
  $(id).parentElement.hidden = !url;
  $(id).href = url;
}
$("browse-title").textContent = source.title;
if (source.signIn) {
  $("user").hidden = false;
  $("user").required = true;
  $("user").value = sessionStorage.getItem("sfss-user") || "";
  $("token-label").textContent = "Sign in with a user of this service and its key";
  $("token").setAttribute("aria-label", "Key");
  $("token").placeholder = "key";
  $("use-token").textContent = "Sign in";
  $("token-kept").textContent = "The key is not kept; what it opens is, until this tab is closed.";
}

// How to do the same by hand.
$("examples").textContent = source
  .examples()
  .map(([what, command]) => `# ${what}\n${command}\n`)
  .join("\n");
