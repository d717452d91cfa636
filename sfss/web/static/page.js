"use strict";

const INTERVAL = 1000; // ms
const POINTS = 120;
const SVG = "http://www.w3.org/2000/svg";
const $ = (id) => document.getElementById(id);

let token = sessionStorage.getItem("sfss-token") || "";
let before = null;
let paused = false; // until there is a token to read with
let waiting = []; // uploads that need a token
let maxFileSize = Infinity;
const rates = [];
const halves = [];
const slowest = [];

const headers = () => (token ? { Authorization: `Bearer ${token}` } : {});

// Figures.

async function look() {
  let now = null;
  try {
    const answer = await fetch("page.json", { headers: headers(), cache: "no-store" });
    if (answer.status === 401) {
      askForToken(token ? "The token is not valid here." : "");
      state("Token needed", false);
      paused = true;
    } else if (answer.ok) {
      now = await answer.json();
    } else {
      state(`Error ${answer.status}`, false);
    }
  } catch {
    state("No answer", false);
  }
  if (now) {
    show(now, before);
    before = now;
  }
  if (!paused) setTimeout(look, INTERVAL);
}

function show(now, last) {
  const figures = now.figures;
  const seconds = last ? now.time - last.time : 0;
  const old = last ? last.figures : {};
  const rate = (name, where) =>
    seconds > 0 ? Math.max(total(figures[name], where) - total(old[name], where), 0) / seconds : 0;
  const files = (labels) => labels.route === "/file" || labels.route === "/files";

  const requests = rate("sfss_requests_total");
  const took = difference(sum(figures.sfss_request_duration_seconds, files), last && sum(old.sfss_request_duration_seconds, files));
  const half = percentile(took, 0.5) * 1000;
  const slow = percentile(took, 0.99) * 1000;
  if (last) {
    push(rates, requests);
    push(halves, half);
    push(slowest, slow);
  }

  const uptime = now.time - total(figures.sfss_start_time_seconds);
  $("about").textContent = `${now.version} · up ${duration(uptime)} · ${count(total(figures.sfss_workers), "worker")}`;
  cards($("cards"), [
    ["Requests/s", number(requests)],
    ["Half are faster than", took.count ? `${number(half)} ms` : "–"],
    ["99 of 100 are faster than", took.count ? `${number(slow)} ms` : "–"],
    ["In flight", number(total(figures.sfss_requests_in_flight))],
    ["Connections", number(total(figures.sfss_connections))],
    ["Received", `${bytes(rate("sfss_request_bytes_total"))}/s`],
    ["Sent", `${bytes(rate("sfss_response_bytes_total"))}/s`],
    ["Server errors/s", number(rate("sfss_requests_total", (labels) => labels.status >= "500"))],
    ["Memory", bytes(total(figures.sfss_resident_memory_bytes))],
  ]);
  chart($("rate-chart"), [rates], "Requests a second");
  chart($("latency-chart"), [halves, slowest], "Latency in milliseconds");
  $("rate-now").textContent = number(requests);
  $("latency-now").textContent = took.count ? `${number(half)} and ${number(slow)}` : "no requests";
  showProxies(now, old, seconds);
  showStore(figures);
  showStatuses(figures);

  maxFileSize = now.max_file_size;
  $("upload").hidden = !now.uploads;
  $("limit").textContent = `Each ${bytes(maxFileSize)} at the most.`;
}

function showProxies(now, old, seconds) {
  const up = now.figures.sfss_proxy_up || [];
  $("proxies").hidden = !up.length;
  if (!up.length) {
    state("Serving", true);
    return;
  }
  const rows = up.map(([{ proxy }, value]) => {
    const mine = (labels) => labels.proxy === proxy;
    const took = difference(sum(now.figures.sfss_proxy_duration_seconds, mine), sum(old.sfss_proxy_duration_seconds, mine));
    const row = element("tr");
    const name = element("th", proxy);
    name.scope = "row";
    const badge = element("span", value ? "up" : "down");
    badge.className = `badge ${value ? "good" : "bad"}`;
    const cell = element("td");
    cell.append(badge);
    row.append(
      name,
      cell,
      element("td", number(seconds > 0 ? took.count / seconds : 0)),
      element("td", took.count ? number(percentile(took, 0.99) * 1000) : "–"),
      element("td", number(total(now.figures.sfss_proxy_failures_total, mine))),
      element("td", number(total(now.figures.sfss_proxy_connections, mine))),
    );
    return row;
  });
  $("proxy-rows").replaceChildren(...rows);
  const down = up.filter(([, value]) => !value).length;
  if (down === up.length) state("No proxy can be reached", false);
  else state(down ? `Serving, ${down} of ${up.length} proxies down` : "Serving", !down);

  const events = now.events.map((event) => {
    const item = element("li");
    const when = element("time", new Date(event.time * 1000).toLocaleString());
    when.dateTime = new Date(event.time * 1000).toISOString();
    item.append(when, ` ${event.subject} ${event.state}: ${event.reason}`);
    return item;
  });
  $("events").replaceChildren(...(events.length ? events : [element("li", "Nothing has happened yet.")]));
}

function showStore(figures) {
  const files = figures.sfss_store_files;
  $("store").hidden = !files;
  if (!files) return;
  const flushed = sum(figures.sfss_store_flush_writes);
  const took = sum(figures.sfss_store_flush_duration_seconds);
  cards($("store-cards"), [
    ["Files", number(total(files))],
    ["Their size", bytes(total(figures.sfss_store_bytes))],
    ["On disk", bytes(total(figures.sfss_store_disk_bytes))],
    ["Writes to an fsync", flushed.count ? number(flushed.sum / flushed.count) : "–"],
    ["99 of 100 commits are faster than", took.count ? `${number(percentile(took, 0.99) * 1000)} ms` : "–"],
  ]);
}

function showStatuses(figures) {
  const counts = new Map();
  for (const [labels, value] of figures.sfss_requests_total || [])
    counts.set(labels.status, (counts.get(labels.status) || 0) + value);
  const items = [...counts].sort().map(([status, value]) => element("li", `${status}: ${number(value)}`));
  $("statuses").replaceChildren(...items);
}

function state(text, good) {
  if ($("state").textContent !== text) $("state").textContent = text;
  $("state").className = `badge ${good ? "good" : "bad"}`;
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

function push(points, value) {
  points.push(value);
  if (points.length > POINTS) points.shift();
}

// How it looks.

function chart(svg, lines, name) {
  const top = Math.max(1e-9, ...lines.flat());
  const floor = document.createElementNS(SVG, "line");
  for (const [key, value] of Object.entries({ x1: 0, x2: 600, y1: 139, y2: 139 })) floor.setAttribute(key, value);
  const drawn = lines.map((points, n) => {
    const line = document.createElementNS(SVG, "polyline");
    const start = POINTS - points.length;
    const at = points.map((value, i) => `${((start + i) * 600) / (POINTS - 1)},${138 - (value / top) * 130}`);
    line.setAttribute("points", at.join(" "));
    line.setAttribute("class", n ? "two" : "one");
    return line;
  });
  svg.replaceChildren(floor, ...drawn);
  const latest = lines.map((points) => number(points[points.length - 1] || 0)).join(" and ");
  svg.setAttribute("aria-label", `${name}: now ${latest}, at the most ${number(top)}`);
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

function askForToken(message) {
  const form = $("token-form");
  const was = form.hidden;
  form.hidden = false;
  $("token-error").textContent = message;
  if (was) $("token").focus();
}

$("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim();
  sessionStorage.setItem("sfss-token", token);
  $("token").value = "";
  $("token-form").hidden = true;
  const again = waiting;
  waiting = [];
  again.forEach((upload) => upload());
  if (paused) {
    paused = false;
    look();
  }
});

// Uploads.

function uploadAll(files) {
  for (const file of files) {
    const item = element("li");
    $("uploads").prepend(item);
    upload(file, pathOf(file), item, false);
  }
}

function pathOf(file) {
  const folder = $("folder").value.trim().replace(/^\/+|\/+$/g, "");
  return folder ? `${folder}/${file.name}` : file.name;
}

function upload(file, path, item, replace) {
  if (file.size > maxFileSize) {
    fail(item, `${path}: it has ${bytes(file.size)}, and ${bytes(maxFileSize)} is the most.`);
    return;
  }
  const bar = element("progress");
  bar.max = Math.max(file.size, 1);
  bar.value = 0;
  bar.setAttribute("aria-label", `Uploading ${path}`);
  item.replaceChildren(path, bar);
  const url = `file?path=${encodeURIComponent(path).replace(/%2F/g, "/")}`;
  const request = new XMLHttpRequest();
  request.open("PUT", url);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  if (token) request.setRequestHeader("Authorization", `Bearer ${token}`);
  if (!replace) request.setRequestHeader("If-None-Match", "*");
  request.upload.addEventListener("progress", (event) => {
    bar.value = event.loaded;
  });
  request.addEventListener("error", () => fail(item, `${path}: the connection was lost.`, () => upload(file, path, item, replace)));
  request.addEventListener("load", () => {
    if (request.status === 200) {
      const link = element("a", new URL(url, location.href).href);
      link.href = url;
      item.replaceChildren(`${path}, ${bytes(file.size)}: `, link);
    } else if (request.status === 401) {
      fail(item, `${path}: waits for a token.`);
      waiting.push(() => upload(file, path, item, replace));
      askForToken(token ? "The token is not valid for writing." : "Uploads need a token.");
    } else if (request.status === 412) {
      fail(item, `${path}: there is such a file already.`, () => upload(file, path, item, true), "Replace it");
    } else {
      fail(item, `${path}: ${detail(request)}`, () => upload(file, path, item, replace));
    }
  });
  request.send(file);
}

function detail(request) {
  try {
    return JSON.parse(request.responseText).detail;
  } catch {
    return `error ${request.status}`;
  }
}

function fail(item, message, again, label = "Try again") {
  const text = element("span", `${message} `);
  text.className = "error";
  item.replaceChildren(text);
  if (again) {
    const button = element("button", label);
    button.type = "button";
    button.addEventListener("click", again);
    item.append(button);
  }
}

$("files").addEventListener("change", (event) => {
  uploadAll(event.target.files);
  event.target.value = "";
});
for (const kind of ["dragenter", "dragover"])
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.add("over");
  });
for (const kind of ["dragleave", "drop"])
  $("drop").addEventListener(kind, (event) => {
    event.preventDefault();
    $("drop").classList.remove("over");
  });
$("drop").addEventListener("drop", (event) => uploadAll(event.dataTransfer.files));
// A file that is dropped beside the box must not replace the page.
for (const kind of ["dragover", "drop"]) window.addEventListener(kind, (event) => event.preventDefault());

look();
