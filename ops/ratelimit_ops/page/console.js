// The console's page. What it is made of is in dom.js.
"use strict";

const EVERY_MS = 2000;
const LATE_MS = 10000; // a region that was not heard for so long, or so late, is shown as a trouble
const KEPT_POINTS = 150; // of the live chart: five minutes
const OUTCOMES = ["allowed", "denied", "deny_listed"];
const UNDO_MS = 60000;
const LIMITS = /^(?:(?:fixed|sliding)(?: \d+ \d+(?:ms|s|m|h|d|w|mo|y)(?:@\S+)?)+|bucket(?: \d+ \d+ \d+(?:ms|s|m|h|d|w))+|lease(?: \d+ \d+(?:ms|s|m|h|d|w))+)$/i;
const ADDRESS = /(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}(?:\/\d+)?|[0-9a-f]*:[0-9a-f:]*:[0-9a-f:/]*/i;
const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

let state = null; // what the servers told last
let rates = new Map(); // a server's name: {total, names}, a second
let chosen = null; // the policy or name whose hits are shown; null: all
let changes = []; // who has changed what, newest first
const live = [[], [], [], []];
let liveChart, pastChart;

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

// `undo`: what brings back how it was, {path, body}; it is offered for a minute.
function say(text, undo = null) {
  const parts = [make("span", {}, text)];
  if (undo) parts.push(make("button", { type: "button", id: "undo", click: () => takeBack(undo) }, "Undo"));
  $("said").replaceChildren(...parts);
  $("said").hidden = false;
  clearTimeout(say.timer);
  say.timer = setTimeout(unsay, undo ? UNDO_MS : 8000);
  if (undo) {
    // By keyboard, Undo is one Tab away, and afterwards one is where one was; a second Enter takes nothing back.
    say.from = document.activeElement;
    $("said").focus();
  }
}

function unsay() {
  if ($("said").contains(document.activeElement) && say.from) say.from.focus();
  $("said").hidden = true;
}

async function takeBack({ path, body }) {
  unsay();
  try {
    const { servers } = await post(path, body);
    say(outcome("Undone", servers));
  } catch (error) {
    say(error.message);
  }
  await refresh();
}

// Which servers have it, and which may not.
function outcome(title, servers) {
  const failed = servers.filter((server) => server.error);
  if (!failed.length) return title;
  const having = servers.filter((server) => !server.error).map((server) => server.server);
  const texts = failed.map((server) => `${server.server}: ${server.error}`);
  return [having.length ? `Done on ${having.join(", ")}, but not everywhere:` : "Not done:", ...texts].join("\n");
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
    const { servers, undo } = await post(path, values);
    say(outcome(`Done: ${short(title, 200)}`, servers), undo);
    if (!servers.some((server) => server.error) && done) done(servers);
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
    return tell("trouble", error.message);
  }
  measure(before);
  const gone = state.servers.filter((server) => server.error);
  tell("trouble", gone.map((server) => `${server.server} does not answer: ${server.error}`).join("\n"));
  $("mode").hidden = !state.read_only;
  for (const form of document.querySelectorAll(".change")) form.hidden = state.read_only;
  $("policy-new").hidden = state.read_only;
  $("policy-form").hidden = state.read_only || chosen === null;
  $("servers").textContent = state.servers.map((server) => server.server).join("   ");
  drawNow();
  drawPolicies();
  drawRegions();
  drawLists();
  drawServers();
  reachByKey();
  await drawChanges();
}

// What has more than its box shows is scrolled by the arrow keys too.
function reachByKey() {
  for (const box of document.querySelectorAll(".scroll")) box.tabIndex = box.scrollWidth > box.clientWidth ? 0 : -1;
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
  const text = policy.temporary ? `${policy.temporary.join(" ")} for ${duration(policy.left_ms)}, then ${lasting}` : lasting;
  if (!policy.shadow) return text;
  const until = policy.shadow_left_ms === null ? "" : ` for ${duration(policy.shadow_left_ms)}`;
  return `${text}; shadow ${policy.shadow.join(" ")}${until}`;
}

/** What a policy's shadow would have denied, on all servers. */
function shadowDenied(name) {
  const all = answering().reduce((total, server) => total + (own(server.shadow_denied, name) || 0), 0);
  return all ? ` (a shadow would have denied ${count(all)})` : "";
}

/** The last name of the calls that name this one in front of it: their hits count under both. */
function lastOf(name) {
  return answering().map((server) => own(server.before, name)).find(Boolean) || null;
}

const frontsOf = (name) => [...new Set(answering().flatMap((server) => Object.keys(server.before).filter((front) => own(server.before, front) === name)))].sort();

function drawPolicies() {
  const names = new Set(answering().flatMap((server) => [...Object.keys(server.names), ...Object.keys(server.policies)]));
  const rows = [...names].map((name) => {
    const measured = [...rates.values()].map((one) => one.names.get(name) || zero());
    return { name, total: sum(answering().map((server) => own(server.names, name) || zero())), rate: measured.length ? sum(measured) : [] };
  });
  rows.sort((one, other) => (other.rate[1] || 0) - (one.rate[1] || 0) || sum3(other.rate) - sum3(one.rate) || sum3(other.total) - sum3(one.total) || (one.name < other.name ? -1 : 1));
  fill(
    $("policy-rows"),
    rows.slice(0, 50).map(({ name, total, rate: now }) => {
      const row = keyed(name, make("tr", { class: name === chosen ? "chosen" : "" }));
      const last = lastOf(name);
      const chain = last === null ? [] : [make("span", { class: "note" }, ` before ${short(last, 40)}`)];
      row.append(make("td", {}, link(name, () => choose(name), 60), ...chain), cell(limits(policyOf(name)) + shadowDenied(name), "text", 150));
      row.append(...OUTCOMES.map((outcome, index) => number(rate(now[index]), outcome === "denied" ? "" : "wide")), ...total.map((value) => number(count(value), "wide")));
      const set = () => (choose(name), $("policy-words").focus());
      const acts = [make("button", { type: "button", click: () => (choose(name), $("who").scrollIntoView({ behavior: "smooth" })) }, "Hours")];
      if (!state.read_only) acts.unshift(make("button", { type: "button", click: set }, "Limits…"));
      row.append(make("td", { class: "acts" }, ...acts));
      return row;
    }),
  );
  $("policy-names").replaceChildren(...rows.map(({ name }) => make("option", { value: printable(name) })));
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
  if (variants((server) => server.version) > 1) drift.push("The servers run different versions of the module: an upgrade that was not finished.");
  if (variants((server) => server.policies_fingerprint) > 1) drift.push("The servers have different policies: which limit an identifier gets depends on its server. ratelimit policy sync mends it.");
  fill(
    $("list-rows"),
    names.map((name) => {
      const lists = answering().map((server) => own(server.lists, name)).filter(Boolean);
      const same = variants((server) => (own(server.lists, name) || {}).fingerprint) === 1;
      if (!same) drift.push(`The deny list ${short(name)} is not the same on all servers.`);
      const synced = lists.map((list) => list.synced).filter(Boolean).sort((one, other) => one.at - other.at)[0];
      const sizes = [...new Set(lists.map((list) => list.entries))].map(count).join(" / ");
      const row = make(
        "tr",
        {},
        make("td", {}, link(name, () => ($("deny-list").value = name), 60)),
        number(sizes),
        make("td", { class: same ? "good" : "bad" }, same ? "yes" : "no"),
        cell(synced ? `${ago(synced.at)}, ${synced.entries} from ${synced.source}` : "", "text", 120),
      );
      return keyed(name, row);
    }),
  );
  tell("drift", drift.join("\n"));
}

// What each region hears of the others, and what is wrong with it.
function drawRegions() {
  const having = answering().filter((server) => server.region).sort((one, other) => (one.region < other.region ? -1 : 1));
  $("regions").hidden = !having.length;
  const wrong = [];
  const age = (ms) => make("td", { class: ms === null || ms > LATE_MS ? "n bad" : "n" }, ms === null ? "never" : ms < 1000 ? `${ms} ms` : duration(ms));
  const rows = having.flatMap((server) => {
    const here = [cell(server.region), cell(server.server, "text wide")];
    const heard = Object.entries(server.regions).map(([name, region]) => {
      const isOwn = name === server.region; // what it did not know of itself
      if (!isOwn && (region.heard_ms_ago === null || region.heard_ms_ago > LATE_MS)) {
        wrong.push(`${server.region} has not heard ${name} ${region.heard_ms_ago === null ? "yet" : `for ${duration(region.heard_ms_ago)}`}: is the relay of ${name} running?`);
      }
      const counts = [number(count(region.news), "wide"), number(count(region.refused), "wide")];
      if (isOwn) return make("tr", {}, ...here.map((one) => one.cloneNode(true)), make("td", { class: "bad", colSpan: 3 }, `itself: it had lost this, or two primaries are called ${name}`), ...counts);
      return make("tr", {}, ...here.map((one) => one.cloneNode(true)), cell(name), age(region.heard_ms_ago), age(region.echo_ms_ago), ...counts);
    });
    if (server.changes_lost) wrong.push(`${server.region} has lost ${count(server.changes_lost)} changes before all had read them, and sends all keys anew: raise ratelimit.region-changes.`);
    if (server.role === "primary" && !heard.length) {
      wrong.push(`${server.region} hears no other region: are their relays running?`);
      heard.push(make("tr", {}, ...here, make("td", { class: "bad", colSpan: 5 }, "nobody")));
    }
    return heard;
  });
  $("region-rows").replaceChildren(...rows);
  tell("region-trouble", wrong.join("\n"));
}

function drawServers() {
  const most = (of) => {
    const counts = new Map();
    for (const server of answering()) counts.set(of(server), (counts.get(of(server)) || 0) + 1);
    return [...counts].sort((one, other) => other[1] - one[1]).map(([value]) => value)[0];
  };
  const lists = (server) => Object.entries(server.lists).map(([name, list]) => `${name} ${list.fingerprint}`).sort().join("\n");
  const usual = { policies: most((server) => server.policies_fingerprint), lists: most(lists) };
  const mark = (is, text, kind = "") => make("td", { class: is ? `text ${kind}` : "text bad" }, is ? text : `${text} differs`);
  $("server-rows").replaceChildren(
    ...state.servers.map((server) => {
      if (server.error) return make("tr", {}, cell(server.server), make("td", { class: "bad", colSpan: 8 }, short(server.error, 200)));
      const now = rates.get(server.server);
      return make(
        "tr",
        {},
        cell(server.server),
        make("td", { class: "wide" }, server.role),
        make("td", { class: "wide" }, server.version),
        ...OUTCOMES.map((outcome, index) => number(rate(now && now.total[index]), outcome === "deny_listed" ? "wide" : "")),
        mark(server.policies_fingerprint === usual.policies, `${server.policies_count} ${server.policies_fingerprint || ""}`),
        mark(lists(server) === usual.lists, `${server.lists_count}`, "wide"),
        number(bytes(server.used_memory) + (server.maxmemory ? ` of ${bytes(server.maxmemory)}` : ""), "wide"),
      );
    }),
  );
}

// Who, and when

// What was done through this console and by other ways, newest first.
async function drawChanges() {
  let untold;
  ({ changes, untold } = await get("/api/changes"));
  const rows = changes.slice(0, 20).map(({ at, who, what, servers, failed }) => {
    const where = servers.join(", ") + (failed.length ? `${servers.length ? "; " : ""}not on ${failed.join(", ")}` : "");
    const row = make("tr", {}, make("td", {}, new Date(at * 1000).toLocaleString()), cell(who || "its TTL", "text"), cell(what, "text", 200));
    row.append(make("td", { class: failed.length ? "text wide bad" : "text wide" }, where));
    return keyed(`${at} ${who} ${what}`, row);
  });
  fill($("change-rows"), rows);
  const notes = untold.map(({ server, why }) => `${server} does not tell of others' changes: ${why}`);
  if (!changes.length) notes.unshift("nothing was changed since the servers started");
  tell("change-note", notes.join("\n"));
  drawChosen();
}

// Of the policy that is shown: in front of which it stands, which stand in front of it, and who set it.
function drawChosen() {
  const last = chosen === null ? null : lastOf(chosen);
  const fronts = chosen === null ? [] : frontsOf(chosen);
  const chain = last === null ? [] : [`Calls name it before ${short(last)}: what it allows and denies counts there too.`];
  if (fronts.length) chain.push(`${fronts.slice(0, 10).map((name) => short(name, 40)).join(", ")}${fronts.length > 10 ? ` and ${fronts.length - 10} more` : ""} may stand before it, and then set the limits.`);
  tell("who-chain", chain.join(" "));
  const set = changes.find(({ subject }) => chosen !== null && subject === `policy '${chosen}'`);
  tell("who-set", set ? `${set.who || "its TTL"}, ${ago(set.at)}: ${short(set.what, 300)}` : "");
}

function choose(name) {
  chosen = name;
  history.replaceState(null, "", name === null ? "/" : "/?policy=" + encode(name));
  grown_.clear();
  const policy = name === null ? null : policyOf(name);
  $("who-name").textContent = name === null ? "all hits" : short(name);
  $("who-all").hidden = name === null;
  $("listed").hidden = name !== null;
  $("policy-form").hidden = name === null || state.read_only;
  $("policy-words").value = policy ? (policy.lasting || policy.temporary || policy.shadow).join(" ") : "";
  $("policy-words").dispatchEvent(new Event("input"));
  $("policy-delete").hidden = !policy;
  drawPolicies();
  drawChosen();
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
    const before = grown_.get(kind);
    const rateOf = (identifier, hits) => before && before.at < series.at && before.counts.has(identifier) ? Math.max(0, hits - before.counts.get(identifier)) / (series.at - before.at) : undefined;
    const rows = series[kind].map((one) => identifierRow(kind, rateOf(one[0], one[1]), ...one));
    fill($(kind), rows.length ? rows : [keyed("", make("tr", {}, make("td", { class: "note" }, "nobody")))]);
    if (!before || before.at < series.at) grown_.set(kind, { at: series.at, counts: new Map(series[kind]) });
  }
  drawPast(series);
}

const grown_ = new Map(); // what was counted for whom when it was looked at last, by the kind of list

function identifierRow(kind, now, identifier, hits, error, address) {
  const act = make("td", { class: "acts" });
  const button = (text, title, click) => act.append(make("button", { type: "button", title, click }, text));
  if (!state.read_only) {
    if (kind === "most_deny_listed") button("Take off…", `take ${short(identifier)} off a list`, () => fillDeny(identifier));
    else if (address) button("Deny…", `deny ${address} for an hour`, () => fillDeny(address));
  }
  const first = kind === "most_deny_listed" ? cell(identifier) : make("td", {}, link(identifier, () => lookUp(identifier), 60));
  const total = number((error ? "≤ " : "") + count(hits));
  if (error) total.title = "at most: the identifiers with the most hits are kept in bounded memory";
  return keyed(identifier, make("tr", {}, first, number(rate(now)), total, act));
}

function drawPast(series) {
  const [rows, kind] = $("span").value.split(" ");
  const step = { hours: 3600, days: 86400 }[kind];
  const end = Math.floor(Date.now() / 1000 / step) * step;
  const found = new Map(series[kind].map(([start, ...counts]) => [start, counts]));
  const data = [[], [], [], []];
  for (let start = end - (rows - 1) * step; start <= end; start += step) {
    data[0].push(start);
    (found.get(start) || zero()).forEach((value, index) => data[index + 1].push(value));
  }
  pastChart.setData(data);
}

const axis = (more) => ({ stroke: color("--faint"), grid: { stroke: color("--line"), width: 1 }, ticks: { stroke: color("--line"), width: 1 }, ...more });

// Times as the reader's locale has them; the day stands below where another begins.
function times(_, splits, __, ___, step) {
  const time = step >= 86400 ? null : { hour: "numeric", minute: "2-digit", ...(step < 60 && { second: "2-digit" }) };
  let day = "";
  return splits.map((seconds) => {
    const at = new Date(seconds * 1000);
    const date = at.toLocaleDateString([], { day: "numeric", month: "numeric" });
    const lines = [...(time ? [at.toLocaleTimeString([], time)] : []), ...(date === day ? [] : [date])];
    day = date;
    return lines.join("\n");
  });
}

function chart(id, title, paths) {
  const place = $(id);
  const series = OUTCOMES.map((outcome, index) => ({ label: outcome.replace("_", "-"), stroke: color("--" + outcome), width: 1.5, fill: color("--" + outcome) + "18", paths, points: { show: false } }));
  const options = { width: place.clientWidth, height: 220, scales: { y: { range: (_, least, most) => [0, Math.max(1, most * 1.1)] } }, series: [{ value: (_, at) => (at === null ? "–" : new Date(at * 1000).toLocaleString()) }, ...series], axes: [axis({ values: times, space: 70 }), axis({ label: title, size: 70 })] };
  const drawn = new uPlot(options, [[], [], [], []], place);
  addEventListener("resize", () => drawn.setSize({ width: place.clientWidth, height: 220 }));
  return drawn;
}

// One identifier

// A policy's name shows the policy; anything else is a key.
async function find() {
  const typed = $("key").dataset.key || $("key").value;
  if (policyOf(typed)) {
    choose(typed);
    $("who").scrollIntoView({ behavior: "smooth" });
    return;
  }
  await lookUp(typed);
}

async function lookUp(key) {
  $("key").value = key;
  $("key").dataset.key = key; // an input's value loses line breaks
  try {
    const { servers } = await get("/api/key", { key });
    $("key-found").replaceChildren(...servers.map((server) => drawKey(key, server, servers.length > 1)));
  } catch (error) {
    say(error.message);
  }
  const address = ADDRESS.exec(key);
  if (address && !state.read_only) $("key-found").append(make("button", { type: "button", click: () => fillDeny(address[0]) }, `Deny ${address[0]}…`));
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

function wouldHaveHit(cover) {
  const lately = "in this hour and the one before it";
  if (!cover.active_count) return `No identifier with an address in it is among the most active ${lately}.`;
  const several = cover.active_count === 1 ? "identifier with an address that was" : "identifiers with an address that were";
  const active = `Of the ${count(cover.active_count)} ${several} most active ${lately}, it`;
  if (!cover.hit_count) return `${active} would have hit none.`;
  const who = cover.hit.map(([one, hits]) => `${short(one)} (${count(hits)})`).join(", ");
  return `${active} would have hit ${count(cover.hit_count)}, with at least ${count(cover.hits)} ${cover.hits === 1 ? "hit" : "hits"}: ${who}${cover.hit_count > cover.hit.length ? ", …" : ""}`;
}

async function coverage(list, value) {
  const cover = await get("/api/cover", { list, value });
  const lines = [];
  if (cover.kind === "text") lines.push(`It covers exactly this text: ${short(value, 300)}`);
  else if (cover.kind === "address") lines.push(`It covers one address: ${cover.first}`);
  else lines.push(`It covers ${Number(cover.addresses).toLocaleString()} addresses: ${cover.first} to ${cover.last}`);
  if (cover.kind !== "text") lines.push(wouldHaveHit(cover));
  for (const server of cover.servers) {
    if (server.error) throw new Error(`${server.server}: ${server.error}`);
    if (server.tells_recent === false) lines.push(`${server.server} is of a version that does not tell who was active in the last hour.`);
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
  pastChart = chart("past", "hits", uPlot.paths.stepped({ align: 1 }));
  submit("key-form", find);
  $("key").addEventListener("input", () => delete $("key").dataset.key);
  submit("deny-form", denyIt);
  submit("policy-form", setPolicy);
  $("deny-allow").addEventListener("click", () => takeOff().catch((error) => say(error.message)));
  $("policy-delete").addEventListener("click", () =>
    change(`Delete the policy ${short(chosen)}`, ["Each call's own limits apply then; so do those of another policy that it names.", `Limits now: ${limits(policyOf(chosen))}`], "Delete", "/api/policy/delete", { name: chosen }),
  );
  $("who-all").addEventListener("click", () => choose(null));
  $("policy-words").addEventListener("input", () => {
    const text = $("policy-words").value.trim().replace(/\s+/g, " ");
    $("policy-words").setCustomValidity(LIMITS.test(text) ? "" : "an algorithm, then its limits: sliding 5 15m, or fixed 1000 1h, or bucket 10 1 1s, or lease 5 30s");
  });
  submit("policy-new", async () => {
    choose($("policy-name").value);
    $("policy-words").focus();
  });
  $("policy-words").dispatchEvent(new Event("input"));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => location.reload()); // the charts have colours of their own
  $("span").addEventListener("change", drawWho);
  await refresh();
  if (state) choose(new URLSearchParams(location.search).get("policy"));
  for (let turn = 1; ; turn++) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    await refresh();
    if (state && turn % 2 === 0) await drawWho();
  }
}

start();
