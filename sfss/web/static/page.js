"use strict";

const INTERVAL = 1000; // ms
const SPAN = 600; // s, of the charts
const HOLE = 12; // s without a point: nobody has looked
const START = "sfss_start_time_seconds";
const LONGEST = 1000; // ms until the page shows itself, whatever it has
const AT_ONCE = 4; // uploads
const TRIES = 20; // of an upload for which the server has no room
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("sfss-token") || "";
let before = null;
let paused = false; // until there is a token to read with
let waiting = []; // uploads that need a token
let wanted = null; // what else needs one: what was asked for last
let maxFileSize = Infinity;
let changes = false; // whether the page offers to upload files
let deletes = false; // and to delete them
let points = []; // [time, requests/s, p50 and p99 in s or null], the oldest first
const pointed = new Map(); // by chart: where the pointer is, from 0 to 1

const headers = () => source.headers(token);

// Figures.

async function look() {
  let now = null;
  try {
    const answer = await fetch(before ? "page.json" : "page.json?history=1", {
      headers: headers(),
      cache: "no-store",
      signal: AbortSignal.timeout(5000), // a server that hangs is none
    });
    if (answer.status === 401) {
      paused = true;
      askForToken(token ? "The token is not valid here." : "");
      state("Token needed", "warn");
      if (!before) $("about").textContent = "";
    } else if (answer.ok) {
      now = await answer.json();
    } else {
      state(`Error ${answer.status}`, "bad");
    }
  } catch {
    state("No answer", "bad");
  }
  if (now) {
    // Another start is another server, or another gateway behind the same balancer.
    const same = before && total(before.figures[START]) === total(now.figures[START]);
    const first = show(now, same ? before : null);
    before = now;
    Promise.resolve(first).finally(reveal);
  } else reveal();
  if (!paused) setTimeout(look, INTERVAL);
}

// There is something to show, or to say.
function reveal() {
  document.body.removeAttribute("aria-busy");
}

// Whoever awaits what it returns has the first listing, too.
function show(now, last) {
  const figures = now.figures;
  const seconds = last ? now.time - last.time : 0;
  const old = last ? last.figures : {};
  const rate = (name, where) =>
    seconds > 0 ? Math.max(total(figures[name], where) - total(old[name], where), 0) / seconds : 0;
  const files = (labels) => now.file_routes.includes(labels.route);

  const notOurs = (labels) => !labels.route.endsWith("/page.json");
  const requests = rate("sfss_requests_total", notOurs);
  const took = difference(sum(figures.sfss_request_duration_seconds, files), last && sum(old.sfss_request_duration_seconds, files));
  const half = percentile(took, 0.5) * 1000;
  const slow = percentile(took, 0.99) * 1000;
  if (now.history) points = now.history;
  const some = took.count > 0;
  if (last) points.push([now.time, requests, some ? half / 1000 : null, some ? slow / 1000 : null]);
  points = points.filter(([time]) => time > now.time - SPAN);

  const uptime = now.time - total(figures[START]);
  document.title = `sfss on ${now.host}`;
  $("about").textContent = `${now.host} · ${now.version} · up ${duration(uptime)} · ${count(total(figures.sfss_workers), "worker")}`;
  cards($("cards"), [
    ["Requests/s", number(requests)],
    ["p50", took.count ? `${number(half)} ms` : "–"],
    ["p99", took.count ? `${number(slow)} ms` : "–"],
    ["In flight", number(Math.max(total(figures.sfss_requests_in_flight) - 1, 0))], // but for ours
    ["Connections", number(total(figures.sfss_connections))],
    ["Received", `${bytes(rate("sfss_request_bytes_total"))}/s`],
    ["Sent", `${bytes(rate("sfss_response_bytes_total", notOurs))}/s`],
    ["Server errors/s", number(rate("sfss_requests_total", (labels) => labels.status >= "500"))],
    ["Memory", bytes(total(figures.sfss_resident_memory_bytes))],
  ]);
  drawCharts();
  const writable = (figures.sfss_store_writable || []).every(([, value]) => value);
  const trouble = [
    showProxies(now, old, seconds),
    showBeansdb(now, old, seconds),
    showNeighbours(now, old, seconds),
    writable ? "" : "The store cannot write",
  ].filter(Boolean);
  // Less than all is not an outage.
  const outage = trouble.some((text) => !text.startsWith("Serving, "));
  state(trouble.join("; ") || "Serving", outage ? "bad" : trouble.length ? "warn" : "good");
  showWarnings(now.warnings || []);
  cards($("door-cards"), now.doors);
  showDisks(figures);
  showHistory(now);
  showStore(figures);
  showNode(figures);
  showStatuses(figures);

  maxFileSize = now.max_file_size;
  changes = now.uploads;
  deletes = now.deletes;
  $("sign").hidden = !now.signs;
  const browsing = beginToBrowse(now.lists);
  $("upload").hidden = !changes;
  $("no-uploads").textContent = now.no_uploads;
  $("limit").textContent = `Each ${bytes(maxFileSize)} at the most.`;
  return browsing;
}

// What is wrong, in words, or nothing.
function showProxies(now, old, seconds) {
  const up = now.figures.sfss_proxy_up || [];
  $("proxies").hidden = !up.length;
  if (!up.length) return "";
  const rows = up.map(([{ proxy }, value]) => {
    const mine = (labels) => labels.proxy === proxy;
    const took = difference(sum(now.figures.sfss_proxy_duration_seconds, mine), sum(old.sfss_proxy_duration_seconds, mine));
    const row = rowOf(proxy, value);
    row.append(
      element("td", number(seconds > 0 ? took.count / seconds : 0)),
      element("td", took.count ? number(percentile(took, 0.99) * 1000) : "–"),
      element("td", number(total(now.figures.sfss_proxy_failures_total, mine))),
      element("td", number(total(now.figures.sfss_proxy_connections, mine))),
    );
    return row;
  });
  fill($("proxy-rows"), rows);
  const down = up.filter(([, value]) => !value).length;
  if (down === up.length) return "No proxy can be reached";
  return down ? `Serving, ${down} of ${up.length} proxies down` : "";
}

function showBeansdb(now, old, seconds) {
  const figures = now.figures;
  const up = figures.sfss_beansdb_node_up || [];
  $("beansdb").hidden = !up.length;
  if (!up.length) return "";
  let serving = 0;
  const rows = up.map(([{ node }, value]) => {
    const mine = (labels) => labels.node === node;
    const took = difference(
      sum(figures.sfss_beansdb_node_duration_seconds, mine), sum(old.sfss_beansdb_node_duration_seconds, mine));
    const trusted = value && total(figures.sfss_beansdb_node_trusted, mine);
    serving += trusted ? 1 : 0;
    const repair = (figures.sfss_beansdb_node_repair_ratio || []).find(([labels]) => mine(labels));
    const row = rowOf(node, trusted, value ? (trusted ? "trusted" : "fenced") : "down");
    row.append(
      element("td", number(seconds > 0 ? took.count / seconds : 0)),
      element("td", took.count ? number(percentile(took, 0.99) * 1000) : "–"),
      element("td", number(total(figures.sfss_beansdb_node_behind, mine))),
      element("td", repair ? `${Math.round(repair[1] * 100)} %` : "–"),
      element("td", number(total(figures.sfss_beansdb_node_failures_total, mine))),
    );
    return row;
  });
  fill($("beansdb-rows"), rows);
  if (!serving) return "No Beansdb node can be trusted";
  return serving < up.length ? `Serving, ${up.length - serving} of ${up.length} Beansdb nodes down or fenced` : "";
}

function rowOf(address, up, word = up ? "up" : "down") {
  const row = element("tr");
  const name = element("th", address);
  name.scope = "row";
  const badge = element("span", word);
  badge.className = `badge ${up ? "good" : "bad"}`;
  const cell = element("td");
  cell.append(badge);
  row.append(name, cell);
  return row;
}

function showNeighbours(now, old, seconds) {
  const up = now.figures.sfss_neighbour_up || [];
  $("neighbours").hidden = !up.length;
  if (!up.length) return "";
  const figures = now.figures;
  const rows = up.map(([{ neighbour }, value]) => {
    const mine = (labels) => labels.neighbour === neighbour;
    const event = (name) => (labels) => mine(labels) && labels.event === name;
    const sent = (labels) => mine(labels) && labels.direction === "sent";
    const rate = (name, where) =>
      seconds > 0 ? Math.max(total(figures[name], where) - total(old[name], where), 0) / seconds : 0;
    const row = rowOf(neighbour, value);
    row.append(
      element("td", number(total(figures.sfss_neighbour_queue_length, mine))),
      element("td", number(total(figures.sfss_neighbour_queue_age_seconds, mine))),
      element("td", number(rate("sfss_neighbour_events_total", event("told")))),
      element("td", bytes(rate("sfss_neighbour_bytes_total", sent))),
      element("td", progressOf(figures, mine)),
      element("td", number(total(figures.sfss_neighbour_events_total, event("failures")))),
    );
    return row;
  });
  fill($("neighbour-rows"), rows);
  const down = up.filter(([, value]) => !value).length;
  return down ? `Serving, ${down} of ${up.length} other nodes down` : "";
}

function progressOf(figures, mine) {
  const running = (figures.sfss_neighbour_catching_up_files || []).some(([labels]) => mine(labels));
  if (running) return `${number(total(figures.sfss_neighbour_catching_up_files, mine))} files so far`;
  return total(figures.sfss_neighbour_caught_up, mine) ? "yes" : "not yet";
}

function showNode(figures) {
  const files = figures.sfss_node_files;
  $("node").hidden = !files;
  if (!files) return;
  const flushed = sum(figures.sfss_store_flush_writes);
  cards($("node-cards"), [
    ["Files", number(total(files))],
    ["Their size", bytes(total(figures.sfss_node_bytes))],
    ["Deletes remembered", number(total(figures.sfss_node_tombstones))],
    ["Damaged or missing", number(total(figures.sfss_node_damaged_files))],
    ["Changes to an fsync", flushed.count ? number(flushed.sum / flushed.count) : "–"],
    ["Log to read at a start", bytes(total(figures.sfss_node_log_bytes))],
  ]);
}

function showWarnings(warnings) {
  $("warnings").hidden = !warnings.length;
  replace($("warning-list"), warnings.map((text) => element("li", text)));
}

function showDisks(figures) {
  const free = figures.sfss_disk_free_bytes || [];
  $("disks").hidden = !free.length;
  cards($("disk-cards"), free.map(([{ disk }, value]) => {
    const size = total(figures.sfss_disk_bytes, (labels) => labels.disk === disk);
    return [`Free for ${disk}`, `${bytes(value)} (${number((100 * value) / Math.max(size, 1))} %)`];
  }));
}

function showHistory(now) {
  $("history").hidden = ["proxies", "beansdb", "neighbours"].every((id) => $(id).hidden);
  const events = now.events.map((event) => {
    const item = element("li");
    const when = element("time", new Date(event.time * 1000).toLocaleString());
    when.dateTime = new Date(event.time * 1000).toISOString();
    item.append(when, ` ${event.subject} ${event.state}: ${event.reason}`);
    return item;
  });
  replace($("events"), events.length ? events : [element("li", "Nothing has happened yet.")]);
}

function showStore(figures) {
  const files = figures.sfss_store_files;
  $("store").hidden = !files;
  if (!files) return;
  const backup = total(figures.sfss_store_last_backup_timestamp_seconds);
  const flushed = sum(figures.sfss_store_flush_writes);
  const took = sum(figures.sfss_store_flush_duration_seconds);
  cards($("store-cards"), [
    ["Files", number(total(files))],
    ["Their size", bytes(total(figures.sfss_store_bytes))],
    ["On disk", bytes(total(figures.sfss_store_disk_bytes))],
    ["Last backup", backup ? `${duration(Date.now() / 1000 - backup)} ago` : "none known"],
    ["Writes to an fsync", flushed.count ? number(flushed.sum / flushed.count) : "–"],
    ["p99 of a commit", took.count ? `${number(percentile(took, 0.99) * 1000)} ms` : "–"],
  ]);
}

function showStatuses(figures) {
  const counts = new Map();
  for (const [labels, value] of figures.sfss_requests_total || [])
    if (value) counts.set(labels.status, (counts.get(labels.status) || 0) + value);
  const items = [...counts].sort().map(([status, value]) => element("li", `${status}: ${number(value)}`));
  replace($("statuses"), items);
}

// *kind*: good, warn (less than all), or bad (an outage).
function state(text, kind) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = `badge ${kind}`;
}

// From samples to numbers.

const everything = () => true;

function total(samples, where = everything) {
  return (samples || []).reduce((so_far, [labels, value]) => so_far + (where(labels) ? value : 0), 0);
}

function sum(samples, where = everything) {
  const whole = { buckets: [], count: 0, sum: 0 };
  for (const [labels, value] of samples || []) {
    if (!where(labels)) continue;
    whole.count += value.count;
    whole.sum += value.sum;
    value.buckets.forEach(([bound, below], n) => {
      whole.buckets[n] = [bound, (whole.buckets[n] ? whole.buckets[n][1] : 0) + below];
    });
  }
  return whole;
}

function difference(now, last) {
  if (!last || last.count > now.count) return { buckets: [], count: 0, sum: 0 };
  return {
    count: now.count - last.count,
    sum: now.sum - last.sum,
    buckets: now.buckets.map(([bound, below], n) => [bound, below - (last.buckets[n] ? last.buckets[n][1] : 0)]),
  };
}

function percentile({ buckets, count }, share) {
  const wanted = count * share;
  let from = 0;
  let under = 0;
  for (const [bound, below] of buckets) {
    if (below >= wanted && below > under) return from + ((bound - from) * (wanted - under)) / (below - under);
    from = bound;
    under = below;
  }
  return from;
}

// How it looks.

function drawCharts() {
  chart("rate", "Requests a second", points.map(([time, rate]) => [time, rate]));
  const ms = (value) => (value === null ? null : value * 1000);
  chart("latency", "Latency in milliseconds", points.map(([time, , p50, p99]) => [time, ms(p50), ms(p99)]));
}

// *samples*: [time, value, ...], a value for each line; null: there was nothing, which is not zero.
function chart(name, title, samples) {
  const svg = $(`${name}-chart`);
  const end = points.length ? points[points.length - 1][0] : 0;
  const top = roundedUp(Math.max(1e-9, ...samples.flatMap((sample) => sample.slice(1))));
  const x = (time) => 600 + ((time - end) * 600) / SPAN;
  const y = (value) => 138 - (value / top) * 130;
  const drawn = [138, 73, 8].map((height) => line("line", { x1: 0, x2: 600, y1: height, y2: height }));
  for (let n = 1; n < (samples[0] || []).length; n += 1) {
    let part = [];
    let before = -Infinity;
    const finish = () => {
      // (A point by itself would be invisible.)
      if (part.length === 1) part.push(part[0].replace(/^[^,]+/, (at) => Number(at) + 1));
      if (part.length) drawn.push(line("polyline", { points: part.join(" "), class: n > 1 ? "two" : "one" }));
      part = [];
    };
    for (const sample of samples) {
      if (sample[n] === null || sample[0] - before > HOLE) finish();
      if (sample[n] !== null) part.push(`${x(sample[0]).toFixed(1)},${y(sample[n]).toFixed(1)}`);
      before = sample[0];
    }
    finish();
  }
  const at = pointed.get(name);
  let shown = samples[samples.length - 1];
  if (at !== undefined && samples.length) {
    const wanted = end - SPAN * (1 - at);
    shown = samples.reduce((best, sample) => (Math.abs(sample[0] - wanted) < Math.abs(best[0] - wanted) ? sample : best));
    drawn.push(line("line", { x1: x(shown[0]), x2: x(shown[0]), y1: 0, y2: 140, class: "pointed" }));
  }
  svg.replaceChildren(...drawn);
  $(`${name}-top`).textContent = samples.length ? number(top) : "";
  const values = shown ? shown.slice(1).map((value) => (value === null ? "–" : number(value))).join(" and ") : "–";
  const when = at === undefined || !shown ? "" : `${new Date(shown[0] * 1000).toLocaleTimeString()}: `;
  $(`${name}-now`).textContent = when + values;
  svg.setAttribute("aria-label", `${title}: ${when || "now "}${values}, the scale ends at ${number(top)}`);
}

function line(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

// To 1, 2 or 5 and zeros: so the scale does not jump about.
function roundedUp(value) {
  const unit = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].find((step) => step * unit >= value * 0.999999) * unit;
}

for (const name of ["rate", "latency"]) {
  $(`${name}-chart`).addEventListener("pointermove", (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    pointed.set(name, (event.clientX - box.left) / box.width);
    drawCharts();
  });
  $(`${name}-chart`).addEventListener("pointerleave", () => {
    pointed.delete(name);
    drawCharts();
  });
}

function cards(list, pairs) {
  const known = list.children.length === pairs.length;
  if (!known) {
    list.replaceChildren(
      ...pairs.map(([name]) => {
        const card = element("div");
        card.append(element("dt", name), element("dd"));
        return card;
      }),
    );
  }
  pairs.forEach(([, value], n) => {
    list.children[n].lastChild.textContent = value;
  });
}

// Only what has changed: somebody may be selecting the rest.
function replace(list, items) {
  items.forEach((item, n) => {
    const old = list.children[n];
    if (!old) list.append(item);
    else if (old.outerHTML !== item.outerHTML) old.replaceWith(item);
  });
  while (list.children.length > items.length) list.lastChild.remove();
}

// On a narrow screen a row is a card, and its cells say what they are.
function labelled(body, rows) {
  const names = [...body.parentElement.tHead.rows[0].cells].map((cell) => cell.textContent);
  for (const row of rows)
    [...row.cells].forEach((cell, n) => {
      cell.dataset.label = names[n];
    });
  return rows;
}

function fill(body, rows) {
  replace(body, labelled(body, rows));
}

function element(name, text = "") {
  const made = document.createElement(name);
  if (text) made.textContent = text;
  return made;
}

function number(value) {
  return value.toLocaleString("en", { maximumFractionDigits: value < 10 ? 2 : value < 100 ? 1 : 0 });
}

function count(value, thing) {
  return `${number(value)} ${thing}${value === 1 ? "" : "s"}`;
}

function bytes(value) {
  const units = ["B", "KB", "MB", "GB", "TB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${number(value)} ${units[unit]}`;
}

function duration(seconds) {
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([size]) => seconds >= size);
  if (first < 0) return "0 s";
  return parts
    .slice(first, first + 2)
    .map(([size, unit], n) => `${Math.floor((n ? seconds % parts[first][0] : seconds) / size)} ${unit}`)
    .join(" ");
}

// The token.

// *again* is called when there is one, unless another thing is asked for before that, or the user goes on to another
// folder. *refused*: what to say of the one that there is; *missing*: if there is none.
function waitForToken(again, refused, missing = "") {
  wanted = again;
  askForToken(token ? refused : missing);
}

function askForToken(message) {
  reveal(); // what is hidden gets no focus
  const form = $("token-form");
  const was = form.hidden;
  form.hidden = false;
  $("no-token").hidden = paused; // without one there is nothing to see
  $("token-error").textContent = message;
  if (was) $(source.signIn && !$("user").value ? "user" : "token").focus();
}

$("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const offered = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(offered)) {
    $("token-error").textContent = `A ${source.signIn ? "key" : "token"} has letters, digits and a few signs only.`;
    return;
  }
  try {
    token = source.signIn ? await source.signIn($("user").value.trim(), offered) : offered;
  } catch (error) {
    $("token-error").textContent = error.message;
    $("token").value = "";
    $("token").focus();
    return;
  }
  sessionStorage.setItem("sfss-token", token);
  $("token").value = "";
  showWho();
  const uploads = endTokenForm();
  uploads.forEach(again);
  wanted?.();
  wanted = null;
  if (paused) {
    paused = false;
    look();
  }
});

function showWho() {
  $("who").hidden = !token;
  [$("who-it-is").textContent, $("forget").textContent] = source.who();
}

$("forget").addEventListener("click", () => {
  sessionStorage.clear();
  location.reload();
});

// The uploads that have waited for it.
function endTokenForm() {
  $("token-form").hidden = true;
  const uploads = waiting;
  waiting = [];
  return uploads;
}

$("no-token").addEventListener("click", () => {
  endTokenForm().forEach((upload) => offer(upload, "it needs a token."));
  wanted = null;
  $("main").focus();
});
window.addEventListener("hashchange", () => {
  wanted = null; // somebody has gone on
});

// Uploads: a few at once, the others wait.

const queue = [];
let underWay = 0;
const tally = { all: 0, done: 0, failed: 0 };

function uploadAll(files) {
  for (const file of files) {
    const item = element("li");
    item.tabIndex = -1;
    $("uploads").prepend(item);
    add({ file, item, path: pathOf(file), replace: false, tries: 0 });
  }
}

function add(upload) {
  tally.all += 1;
  upload.item.replaceChildren(`${upload.path}: waits`);
  queue.push(upload);
  next();
}

function next() {
  while (underWay < AT_ONCE && queue.length) {
    underWay += 1;
    begin(queue.shift());
  }
  const { all, done, failed } = tally;
  if (all && done + failed === all) refresh();
  $("summary").textContent = all ? `${done} of ${all} uploaded${failed ? `, ${failed} not` : ""}` : "";
}

function pathOf(file) {
  const folder = $("folder").value.trim().replace(/^\/+|\/+$/g, "");
  return folder ? `${folder}/${file.name}` : file.name;
}

function begin(upload) {
  const { file, path, item } = upload;
  if (file.size > maxFileSize) {
    fail(upload, `it has ${bytes(file.size)}, and ${bytes(maxFileSize)} is the most.`, "");
    return;
  }
  const bar = element("progress");
  bar.max = Math.max(file.size, 1);
  bar.value = 0;
  bar.setAttribute("aria-label", `Uploading ${path}`);
  item.replaceChildren(path, bar);
  let url;
  try {
    url = urlOf(path);
  } catch (error) {
    fail(upload, error instanceof URIError ? "the name cannot be written as a URL." : error.message, "");
    return;
  }
  const request = new XMLHttpRequest();
  request.open("PUT", url);
  const said = { "Content-Type": "application/octet-stream", ...source.uploadHeaders, ...headers() };
  for (const [name, value] of Object.entries(said)) request.setRequestHeader(name, value);
  if (!upload.replace) request.setRequestHeader("If-None-Match", "*");
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.loaded;
  });
  request.addEventListener("error", () => fail(upload, "it could not be read, or the connection was lost."));
  request.addEventListener("load", () => {
    if (request.status >= 200 && request.status < 300) {
      succeed(upload, url);
    } else if (request.status === 503 && upload.tries < TRIES) {
      upload.tries += 1;
      const pause = Number(request.getResponseHeader("Retry-After")) || 1;
      setTimeout(begin, pause * 1000 * (0.5 + Math.random()), upload);
    } else if (request.status === 401) {
      fail(upload, "waits for a token.", "");
      waiting.push(upload);
      askForToken(token ? source.refused("writing") : source.missing("To upload files"));
    } else if (request.status === 404 && source.makeContainer) {
      fail(upload, "there is no such container.", "Make it");
    } else if (request.status === 412) {
      fail(upload, "there is such a file already.", "Replace it");
    } else {
      fail(upload, detail(request));
    }
  });
  request.send(file);
}

function succeed({ file, path, item }, url) {
  const link = element("a", new URL(url, location.href).href);
  link.href = url;
  link.addEventListener("click", (event) => save(event, { path, url }));
  item.replaceChildren(`${path}, ${bytes(file.size)}: `, link);
  tally.done += 1;
  finish();
}

function fail(upload, message, label = "Try again") {
  offer(upload, message, label);
  tally.failed += 1;
  finish();
}

// Say what has become of it, and what can be done.
function offer(upload, message, label = "Try again") {
  const text = element("span", `${upload.path}: ${message} `);
  text.className = "error";
  upload.item.replaceChildren(text);
  if (label) {
    const button = element("button", label);
    button.type = "button";
    button.addEventListener("click", async () => {
      upload.replace = upload.replace || label === "Replace it";
      upload.item.focus(); // the button is about to go
      try {
        if (label === "Make it") await source.makeContainer(upload.path, headers());
        again(upload);
      } catch (error) {
        offer(upload, `the container could not be made: ${error.message}`, label);
      }
    });
    upload.item.append(button);
  }
}

function again(upload) {
  tally.failed -= 1;
  tally.all -= 1; // it is counted once more
  upload.tries = 0;
  add(upload);
}

function finish() {
  underWay -= 1;
  setTimeout(next); // not at once: it may call us again, and that a thousand times
}

function detail(request) {
  try {
    return JSON.parse(request.responseText).detail || `error ${request.status}`;
  } catch {
    return `error ${request.status}`;
  }
}

$("files").addEventListener("change", (event) => {
  uploadAll(event.target.files);
  event.target.value = "";
});
// Onto the box, or anywhere among the files: they go into the folder one is in.
for (const kind of ["dragenter", "dragover"])
  $("browse").addEventListener(kind, () => $("drop").classList.add("over"));
for (const kind of ["dragleave", "drop"])
  $("browse").addEventListener(kind, (event) => {
    if (!$("browse").contains(event.relatedTarget)) $("drop").classList.remove("over");
  });
$("browse").addEventListener("drop", (event) => {
  if (!changes) return;
  const folders = [...event.dataTransfer.items].filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
  const names = new Set(folders.map((item) => item.getAsFile()?.name));
  uploadAll([...event.dataTransfer.files].filter((file) => !names.has(file.name)));
  for (const name of names) {
    const item = element("li", `${name}: is a folder; choose the files in it.`);
    item.className = "error";
    $("uploads").prepend(item);
  }
});
// A file that is dropped must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

setTimeout(reveal, LONGEST);
// When all scripts are here.
window.addEventListener("DOMContentLoaded", () => {
  showWho();
  look();
});
