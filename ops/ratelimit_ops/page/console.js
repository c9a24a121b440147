// The console's page. Whatever a server tells is text, and only ever text: it is put in by textContent, never as HTML.
"use strict";

const EVERY_MS = 2000;
const LATE_MS = 10000; // a region that was not heard for so long, or so late, is shown as a trouble
const KEPT_POINTS = 150; // of the live chart: five minutes
const OUTCOMES = ["allowed", "denied", "deny_listed"];
const COLORS = ["#1a7f4b", "#c0362c", "#7a3fb0"];

const $ = (id) => document.getElementById(id);
let state = null; // what the servers told last
let rates = new Map(); // a server's name: {total, names}, a second
let chosen = null; // the policy or name whose hits are shown; null: all
const live = [[], [], [], []];
let liveChart, hoursChart;

// Text

// What is not printable, as an escape; long texts cut, whole in the title.
function printable(text) {
  return String(text).replace(/[\\\p{C}\p{Zl}\p{Zp}]/gu, (char) => {
    if (char === "\\") return "\\\\";
    const code = char.codePointAt(0);
    if (code >= 0xdc80 && code <= 0xdcff) return "\\x" + (code - 0xdc00).toString(16); // a byte that is no UTF-8
    return code < 0x80 ? "\\x" + code.toString(16).padStart(2, "0") : "\\u" + code.toString(16).padStart(4, "0");
  });
}

function short(text, most = 80) {
  const shown = printable(text);
  return shown.length <= most ? shown : shown.slice(0, most - 1) + "…";
}

// An element with children: strings are text, numbers too.
function make(tag, options = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(options)) {
    if (name === "class") element.className = value;
    else if (name === "click") element.addEventListener("click", value);
    else element[name] = value;
  }
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const cell = (text, kind = "text", most) => make("td", { class: kind, title: short(text, 1000) }, short(text, most));
const link = (text, click, most) => make("button", { type: "button", class: "link text", title: short(text, 1000), click }, short(text, most));
const number = (value) => make("td", { class: "n" }, value);

function count(value) {
  for (const [limit, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"]]) {
    if (value >= limit) return (value / limit).toFixed(1) + unit;
  }
  return Math.round(value).toLocaleString("en");
}

const rate = (value) => (value === undefined ? "–" : value >= 10 ? count(value) : value.toFixed(1));

function duration(ms) {
  const seconds = Math.ceil(ms / 1000);
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (seconds >= size * 2) return `${Math.floor(seconds / size)} ${unit}`;
  }
  return `${seconds} s`;
}

const ago = (seconds) => `${duration(Math.max(0, Date.now() - seconds * 1000))} ago`;

// A name such as __proto__ is one of an object's names only where it was given to it.
const own = (object, name) => (Object.hasOwn(object, name) ? object[name] : undefined);

// The server

async function get(path, values = {}) {
  const answer = await fetch(path + "?" + query(values));
  return told(answer);
}

// A lone surrogate stands for a byte that is no UTF-8, and must arrive as that byte.
function query(values) {
  return Object.entries(values).map(([name, value]) => name + "=" + encode(value)).join("&");
}

function encode(text) {
  return Array.from(text, (char) => {
    const code = char.codePointAt(0);
    return code >= 0xdc80 && code <= 0xdcff ? "%" + (code - 0xdc00).toString(16) : encodeURIComponent(char);
  }).join("");
}

async function post(path, values) {
  const headers = { "Content-Type": "application/json", "X-Console": "1" };
  return told(await fetch(path, { method: "POST", headers, body: JSON.stringify(values) }));
}

async function told(answer) {
  const value = await answer.json();
  if (!answer.ok) throw new Error(value.error);
  return value;
}

function say(text) {
  $("said").textContent = text;
  $("said").hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("said").hidden = true), 8000);
}

// Asks once, names what will change and where, and carries it out.
async function change(title, lines, yes, path, values, done) {
  $("ask-title").textContent = short(title, 200);
  $("ask-text").replaceChildren(...lines.map((line) => make("p", {}, line)), make("p", {}, "On: " + state.servers.map((server) => server.server).join(", ")));
  $("ask-yes").textContent = yes;
  $("ask").returnValue = "no";
  $("ask").showModal();
  await new Promise((resolve) => $("ask").addEventListener("close", resolve, { once: true }));
  if ($("ask").returnValue !== "yes") return;
  try {
    const { servers } = await post(path, values);
    const failed = servers.filter((server) => server.error);
    say(failed.length ? failed.map((server) => `${server.server}: ${server.error}`).join("\n") : `Done: ${short(title, 200)}`);
    if (!failed.length && done) done(servers);
  } catch (error) {
    say(error.message);
  }
  await refresh();
}

// What there is now

const zero = () => [0, 0, 0];
const plus = (one, other) => one.map((value, index) => value + other[index]);
const sum = (all) => all.reduce(plus, zero());
// A count that went down was reset.
const grown = (now, before, seconds) => now.map((value, index) => (value >= before[index] ? value - before[index] : value) / seconds);

const answering = () => state.servers.filter((server) => !server.error);

function measure(before) {
  rates = new Map();
  for (const server of answering()) {
    const old = before && before.servers.find((one) => one.server === server.server && !one.error);
    if (!old) continue;
    const seconds = Math.max(0.001, state.at - before.at);
    const names = new Map(Object.entries(server.names).map(([name, now]) => [name, grown(now, own(old.names, name) || zero(), seconds)]));
    rates.set(server.server, { total: grown(server.total, old.total, seconds), names });
  }
}

async function refresh() {
  const before = state;
  try {
    state = await get("/api/state");
  } catch (error) {
    $("trouble").textContent = error.message;
    $("trouble").hidden = false;
    return;
  }
  measure(before);
  const gone = state.servers.filter((server) => server.error);
  $("trouble").textContent = gone.map((server) => `${server.server} does not answer: ${server.error}`).join("\n");
  $("trouble").hidden = !gone.length;
  $("mode").hidden = !state.read_only;
  for (const form of document.querySelectorAll(".change")) form.hidden = state.read_only;
  $("policy-form").hidden = state.read_only || chosen === null;
  $("servers").textContent = state.servers.map((server) => server.server).join("   ");
  drawNow();
  drawPolicies();
  drawRegions();
  drawLists();
  drawServers();
}

function drawNow() {
  const measured = [...rates.values()];
  const total = sum(answering().map((server) => server.total));
  const now = measured.length ? sum(measured.map((one) => one.total)) : null;
  OUTCOMES.forEach((outcome, index) => {
    $("rate-" + outcome).textContent = now ? rate(now[index]) : "–";
    $("count-" + outcome).textContent = `${count(total[index])} in all`;
  });
  if (!now) return;
  live[0].push(state.at);
  now.forEach((value, index) => live[index + 1].push(value));
  if (live[0].length > KEPT_POINTS) live.forEach((values) => values.shift());
  liveChart.setData(live);
}

function policyOf(name) {
  const having = answering().map((server) => own(server.policies, name));
  return having.find(Boolean) || null;
}

function limits(policy) {
  if (!policy) return "";
  const lasting = policy.lasting ? policy.lasting.join(" ") : "none";
  if (!policy.temporary) return lasting;
  return `${policy.temporary.join(" ")} for ${duration(policy.left_ms)}, then ${lasting}`;
}

function drawPolicies() {
  const names = new Set(answering().flatMap((server) => [...Object.keys(server.names), ...Object.keys(server.policies)]));
  const rows = [...names].map((name) => {
    const measured = [...rates.values()].map((one) => one.names.get(name) || zero());
    return { name, total: sum(answering().map((server) => own(server.names, name) || zero())), rate: measured.length ? sum(measured) : [] };
  });
  rows.sort((one, other) => (other.rate[1] || 0) - (one.rate[1] || 0) || sum3(other.rate) - sum3(one.rate) || sum3(other.total) - sum3(one.total) || (one.name < other.name ? -1 : 1));
  $("policy-rows").replaceChildren(
    ...rows.slice(0, 50).map(({ name, total, rate: now }) => {
      const row = make("tr", { class: name === chosen ? "chosen" : "" });
      row.append(make("td", {}, link(name, () => choose(name), 60)), cell(limits(policyOf(name)), "text", 100));
      row.append(...OUTCOMES.map((_, index) => number(rate(now[index]))), ...total.map((value) => number(count(value))));
      return row;
    }),
  );
  const left = Math.max(0, rows.length - 50, ...answering().map((server) => server.names_count - 50));
  $("policy-more").textContent = rows.length ? (left ? `and ${left} more` : "") : "no policy yet, and no hit that named one";
}

const sum3 = (values) => values.reduce((one, other) => one + other, 0);

// 1: all agree; else how many different ones there are, one that is missing among them.
function variants(of) {
  return new Set(answering().map(of)).size;
}

function drawLists() {
  const names = [...new Set(answering().flatMap((server) => Object.keys(server.lists)))].sort();
  $("list-names").replaceChildren(...names.map((name) => make("option", { value: name })));
  if (!$("deny-list").value && names.length) $("deny-list").value = names[0];
  const drift = [];
  if (variants((server) => server.policies_fingerprint) > 1) drift.push("The servers have different policies: which limit an identifier gets depends on its server. ratelimit policy sync mends it.");
  $("list-rows").replaceChildren(
    ...names.map((name) => {
      const lists = answering().map((server) => own(server.lists, name)).filter(Boolean);
      const same = variants((server) => (own(server.lists, name) || {}).fingerprint) === 1;
      if (!same) drift.push(`The deny list ${short(name)} is not the same on all servers.`);
      const synced = lists.map((list) => list.synced).filter(Boolean).sort((one, other) => one.at - other.at)[0];
      const sizes = [...new Set(lists.map((list) => list.entries))].map(count).join(" / ");
      return make(
        "tr",
        {},
        make("td", {}, link(name, () => ($("deny-list").value = name), 60)),
        number(sizes),
        make("td", { class: same ? "good" : "bad" }, same ? "yes" : "no"),
        cell(synced ? `${ago(synced.at)}, ${synced.entries} from ${synced.source}` : "", "text", 120),
      );
    }),
  );
  $("drift").textContent = drift.join("\n");
  $("drift").hidden = !drift.length;
}

// What each region hears of the others, and what is wrong with it.
function drawRegions() {
  const having = answering().filter((server) => server.region).sort((one, other) => (one.region < other.region ? -1 : 1));
  $("regions").hidden = !having.length;
  const wrong = [];
  const age = (ms) => make("td", { class: ms === null || ms > LATE_MS ? "n bad" : "n" }, ms === null ? "never" : ms < 1000 ? `${ms} ms` : duration(ms));
  const rows = having.flatMap((server) => {
    const here = [cell(server.region), cell(server.server)];
    const heard = Object.entries(server.regions).map(([name, region]) => {
      const isOwn = name === server.region; // what it did not know of itself
      if (!isOwn && (region.heard_ms_ago === null || region.heard_ms_ago > LATE_MS)) {
        wrong.push(`${server.region} has not heard ${name} ${region.heard_ms_ago === null ? "yet" : `for ${duration(region.heard_ms_ago)}`}: is the relay of ${name} running?`);
      }
      if (isOwn) return make("tr", {}, ...here.map((one) => one.cloneNode(true)), make("td", { class: "bad", colSpan: 3 }, `itself: it had lost this, or two primaries are called ${name}`), number(count(region.news)), number(count(region.refused)));
      return make("tr", {}, ...here.map((one) => one.cloneNode(true)), cell(name), age(region.heard_ms_ago), age(region.echo_ms_ago), number(count(region.news)), number(count(region.refused)));
    });
    if (server.changes_lost) wrong.push(`${server.region} has lost ${count(server.changes_lost)} changes before all had read them, and sends all keys anew: raise ratelimit.region-changes.`);
    if (server.role === "primary" && !heard.length) {
      wrong.push(`${server.region} hears no other region: are their relays running?`);
      heard.push(make("tr", {}, ...here, make("td", { class: "bad", colSpan: 5 }, "nobody")));
    }
    return heard;
  });
  $("region-rows").replaceChildren(...rows);
  $("region-trouble").textContent = wrong.join("\n");
  $("region-trouble").hidden = !wrong.length;
}

function drawServers() {
  const most = (of) => {
    const counts = new Map();
    for (const server of answering()) counts.set(of(server), (counts.get(of(server)) || 0) + 1);
    return [...counts].sort((one, other) => other[1] - one[1]).map(([value]) => value)[0];
  };
  const lists = (server) => Object.entries(server.lists).map(([name, list]) => `${name} ${list.fingerprint}`).sort().join("\n");
  const usual = { policies: most((server) => server.policies_fingerprint), lists: most(lists) };
  const mark = (is, text) => make("td", { class: is ? "text" : "text bad" }, is ? text : `${text} differs`);
  $("server-rows").replaceChildren(
    ...state.servers.map((server) => {
      if (server.error) return make("tr", {}, cell(server.server), make("td", { class: "bad", colSpan: 8 }, short(server.error, 200)));
      const now = rates.get(server.server);
      return make(
        "tr",
        {},
        cell(server.server),
        make("td", {}, server.role),
        make("td", {}, server.version),
        ...OUTCOMES.map((_, index) => number(rate(now && now.total[index]))),
        mark(server.policies_fingerprint === usual.policies, `${Object.keys(server.policies).length} ${server.policies_fingerprint || ""}`),
        mark(lists(server) === usual.lists, `${Object.keys(server.lists).length}`),
        number(`${count(server.used_memory)} B` + (server.maxmemory ? ` of ${count(server.maxmemory)} B` : "")),
      );
    }),
  );
}

// Who, and by the hour

function choose(name) {
  chosen = name;
  const policy = name === null ? null : policyOf(name);
  $("who-name").textContent = name === null ? "all hits" : short(name);
  $("who-all").hidden = name === null;
  $("listed").hidden = name !== null;
  $("policy-form").hidden = name === null || state.read_only;
  $("policy-words").value = policy ? (policy.lasting || policy.temporary).join(" ") : "";
  $("policy-delete").hidden = !policy;
  drawPolicies();
  drawWho();
}

async function drawWho() {
  const name = chosen;
  let series;
  try {
    series = await get("/api/series", name === null ? {} : { name });
  } catch (error) {
    return; // the state says what is wrong
  }
  if (name !== chosen) return;
  for (const kind of ["most_denied", "most_allowed", "most_deny_listed"]) {
    $(kind).replaceChildren(...series[kind].map((one) => identifierRow(kind, ...one)));
    if (!series[kind].length) $(kind).replaceChildren(make("tr", {}, make("td", { class: "note" }, "nobody")));
  }
  drawHours(series.hours);
}

function identifierRow(kind, identifier, hits, error, address) {
  const act = make("td", { class: "n" });
  if (state.read_only) act.append("");
  else if (kind === "most_deny_listed") act.append(link("take off…", () => fillDeny(identifier)));
  else if (address) act.append(link(`deny ${address}…`, () => fillDeny(address)));
  const first = kind === "most_deny_listed" ? cell(identifier) : make("td", {}, link(identifier, () => lookUp(identifier), 60));
  return make("tr", {}, first, number((error ? "~" : "") + count(hits)), act);
}

function drawHours(hours) {
  const span = Number($("span").value);
  const end = Math.floor(Date.now() / 3600000) * 3600;
  const found = new Map(hours.map(([start, ...counts]) => [start, counts]));
  const data = [[], [], [], []];
  for (let start = end - (span - 1) * 3600; start <= end; start += 3600) {
    data[0].push(start);
    (found.get(start) || zero()).forEach((value, index) => data[index + 1].push(value));
  }
  hoursChart.setData(data);
}

function chart(id, title, paths) {
  const place = $(id);
  const series = OUTCOMES.map((outcome, index) => ({ label: outcome.replace("_", "-"), stroke: COLORS[index], width: 1.5, fill: COLORS[index] + "18", paths, points: { show: false } }));
  const options = { width: place.clientWidth, height: 220, scales: { y: { range: (_, least, most) => [0, Math.max(1, most * 1.1)] } }, series: [{}, ...series], axes: [{}, { label: title, size: 70 }] };
  const drawn = new uPlot(options, [[], [], [], []], place);
  addEventListener("resize", () => drawn.setSize({ width: place.clientWidth, height: 220 }));
  return drawn;
}

// One identifier

async function lookUp(key) {
  $("key").value = key;
  $("key").dataset.key = key; // an input's value loses line breaks
  try {
    const { servers } = await get("/api/key", { key });
    $("key-found").replaceChildren(...servers.map((server) => drawKey(key, server, servers.length > 1)));
  } catch (error) {
    say(error.message);
  }
  $("lookup").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

function drawKey(key, server, isNamed) {
  const place = make("div", { class: "key" });
  if (isNamed) place.append(make("h3", {}, server.server));
  if (server.error) return place.append(make("p", { class: "bad" }, short(server.error, 300))), place;
  if (!server.holds) return place.append(make("p", {}, "Nothing is used: the key is not there.")), place;
  const { algorithm, limits: held, block, ...more } = server.holds;
  place.append(make("p", {}, make("span", { class: "text" }, short(key)), ` holds a ${algorithm} limiter`));
  if (block) place.append(make("p", { class: "bad" }, `shut out for another ${duration(block.left_ms)}: block ${block.nth}`));
  for (const [name, value] of Object.entries(more)) {
    if (value !== null && typeof value !== "object") place.append(make("p", { class: "note" }, `${short(name)}: ${short(value)}`));
  }
  const rows = (held || []).map((limit) => {
    const used = limit.used || 0;
    const meter = make("meter", { min: 0, max: Math.max(1, limit.limit), high: Math.max(1, limit.limit) * 0.8, optimum: 0, value: Math.min(used, Math.max(1, limit.limit)) });
    const back = limit.reset_after_ms ? `all of it is back in ${duration(limit.reset_after_ms)}` : "nothing is used";
    const per = limit.window || (limit.refill && `refilled ${limit.refill} per ${limit.interval}`) || limit.ttl || "";
    const regions = (limit.regions || []).map(([name, there]) => `${name} ${count(there)}`).join(", ");
    return make("tr", {}, make("td", {}, meter), make("td", { class: "n" }, `${count(used)} of ${count(limit.limit)} used`), cell(per), make("td", {}, back), cell(regions));
  });
  place.append(make("table", {}, make("tbody", {}, ...rows)));
  if (!state.read_only) {
    const lines = [`Nothing of the limits of ${short(key, 300)} is used any more${state.servers.some((one) => one.region) ? ", in no region" : ""}.`];
    place.append(make("button", { type: "button", class: "reset", click: () => change(`Reset ${short(key)}`, lines, "Reset", "/api/reset", { key }, () => lookUp(key)) }, "Reset…"));
  }
  return place;
}

// Deny

function fillDeny(value) {
  $("deny-value").value = value;
  $("deny").scrollIntoView({ behavior: "smooth", block: "nearest" });
  $("deny-value").focus();
}

async function coverage(list, value) {
  const cover = await get("/api/cover", { list, value });
  const lines = [];
  if (cover.kind === "text") lines.push(`It covers exactly this text: ${short(value, 300)}`);
  else if (cover.kind === "address") lines.push(`It covers one address: ${cover.first}`);
  else lines.push(`It covers ${Number(cover.addresses).toLocaleString("en")} addresses: ${cover.first} to ${cover.last}`);
  if (cover.seen_count) lines.push(`Busy identifiers in it (${cover.seen_count}): ${cover.seen.map((one) => short(one)).join(", ")}`);
  for (const server of cover.servers) {
    if (server.error) throw new Error(`${server.server}: ${server.error}`);
    if (server.has) lines.push(`${server.server} denies it already.`);
  }
  return lines;
}

function submit(id, action) {
  $(id).addEventListener("submit", (event) => {
    event.preventDefault();
    action().catch((error) => say(error.message));
  });
}

const forHowLong = (ttl) => ({ "": "for good", "1h": "for an hour", "1d": "for a day" })[ttl];

async function denyIt() {
  const [list, value, ttl] = [$("deny-list").value, $("deny-value").value.trim(), $("deny-ttl").value];
  const lines = await coverage(list, value);
  const all = [`${short(value, 300)} is added to the list ${short(list)} ${forHowLong(ttl)}. Every check that names this list denies it, whatever its limits.`, ...lines];
  await change(`Deny ${short(value)} ${forHowLong(ttl)}`, all, "Deny", "/api/deny", { list, value, ttl: ttl || null });
}

async function takeOff() {
  const [list, value] = [$("deny-list").value, $("deny-value").value.trim()];
  if (!list || !value) return say("which value, of which list?");
  await change(`Take ${short(value)} off ${short(list)}`, ["A range that covers it goes on denying it."], "Take off", "/api/allow", { list, value });
}

async function setPolicy() {
  const [name, words, ttl] = [chosen, $("policy-words").value.trim(), $("policy-ttl").value];
  const before = limits(policyOf(name)) || "none: each call's own";
  const lines = [`Limits now: ${before}`, `Then: ${words}, ${forHowLong(ttl)}`, "It applies from the next hit on; what is used stays used."];
  await change(`Set the policy ${short(name)} ${forHowLong(ttl)}`, lines, "Set", "/api/policy", { name, words, ttl: ttl || null });
}

async function start() {
  liveChart = chart("live", "hits a second");
  hoursChart = chart("hours", "hits an hour", uPlot.paths.stepped({ align: 1 }));
  submit("key-form", () => lookUp($("key").dataset.key || $("key").value));
  $("key").addEventListener("input", () => delete $("key").dataset.key);
  submit("deny-form", denyIt);
  submit("policy-form", setPolicy);
  $("deny-allow").addEventListener("click", () => takeOff().catch((error) => say(error.message)));
  $("policy-delete").addEventListener("click", () =>
    change(`Delete the policy ${short(chosen)}`, ["Each call's own limits apply then; so do those of another policy that it names.", `Limits now: ${limits(policyOf(chosen))}`], "Delete", "/api/policy/delete", { name: chosen }),
  );
  $("who-all").addEventListener("click", () => choose(null));
  $("span").addEventListener("change", drawWho);
  await refresh();
  if (state) choose(null);
  for (let turn = 1; ; turn++) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    await refresh();
    if (state && turn % 2 === 0) await drawWho();
  }
}

start();
