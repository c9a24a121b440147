// `ratelimit-client/local`: the WebAssembly file in this process, beside a real server on the same clock; and what it is for.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { createAdmin, createLeaser, createLimiter, hitAll } from "ratelimit-client";
import { localEngine } from "ratelimit-client/local";
import { localEngine as edgeEngine } from "./node_modules/ratelimit-client/dist/local/index.js";
import { createClient } from "redis";
import { port, until } from "./servers.js";

const START = Date.parse("2023-11-15T00:00:00Z");
// Where this machine's Rust makes no WebAssembly, scripts/test-clients says so.
const wasm = new URL("./node_modules/ratelimit-client/dist/local/engine.wasm", import.meta.url);

/** A server on a clock that this test moves. */
async function serverOn(t, nowMs) {
  const dir = mkdtempSync(join(tmpdir(), "ratelimit-clock-"));
  const clock = join(dir, "now");
  const set = (ms) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(ms));
    writeFileSync(clock, bytes, { flag: "r+" });
  };
  writeFileSync(clock, Buffer.alloc(8));
  set(nowMs);
  const source = join(process.env.RATELIMIT_CLIENT_TESTS, "..", "support", "clock.c");
  execFileSync("cc", ["-O1", "-shared", "-fPIC", "-o", join(dir, "clock.so"), source]);
  const socket = join(dir, "socket");
  const args = ["--port", "0", "--unixsocket", socket, "--dir", dir, "--save", "", "--loadmodule", process.env.RATELIMIT_MODULE];
  const server = spawn(process.env.RATELIMIT_SERVER, args, { env: { ...process.env, LD_PRELOAD: join(dir, "clock.so"), CLOCK_FILE: clock } });
  let log = "";
  server.stdout.on("data", (text) => (log += text));
  const client = createClient({ socket: { path: socket }, RESP: 2 });
  t.after(async () => {
    if (client.isOpen) client.destroy();
    server.kill("SIGKILL");
    rmSync(dir, { recursive: true, force: true });
  });
  await until(() => log.includes("ready to accept connections at") || log.includes("Ready to accept connections unix"), () => log);
  await client.connect();
  return { client, set };
}

/** SplitMix64. */
function seeded(seed) {
  let state = BigInt(seed);
  const mask = (1n << 64n) - 1n;
  return (below) => {
    state = (state + 0x9e3779b97f4a7c15n) & mask;
    let bits = state;
    bits = ((bits ^ (bits >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
    bits = ((bits ^ (bits >> 27n)) * 0x94d049bb133111ebn) & mask;
    return Number((bits ^ (bits >> 31n)) % BigInt(below));
  };
}

const skip = !existsSync(wasm);

describe("the engine", { skip }, () => {
  it("answers what a server does", async (t) => {
    const { client, set } = await serverOn(t, START);
    let now = START;
    const engine = localEngine({ now: () => now });
    const below = seeded(27);
    const one = (...words) => words[below(words.length)];
    const windows = ["50ms", "900ms", "7s", "1m", "1h", "1d"];
    const some = () => `${below(20)}`;
    const limits = {
      FIXED: () => [some(), one(...windows, "1mo", "1w@thu", "1d@Europe/Berlin", "1mo@31,13:45,Asia/Kathmandu", "5h@first")],
      SLIDING: () => [some(), one(...windows)],
      BUCKET: () => [some(), `${1 + below(9)}`, one(...windows)],
      LEASE: () => [some(), one(...windows), `id${below(5)}`],
    };
    const options = () => [
      ...(below(3) ? [] : ["COST", `${below(8) - 3}`]),
      ...(below(6) ? [] : ["FORCE"]),
      ...(below(6) ? [] : ["AT", `${now - below(90_000)}`]),
      ...(below(4) ? [] : ["STAMP"]),
      ...(below(4) ? [] : ["NEXT"]),
      ...(below(6) ? [] : ["ID", `hit${below(9)}`]),
      ...(below(8) ? [] : ["BLOCK", one(...windows)]),
      ...(below(8) ? [] : ["POLICY", `p${below(4)}`]),
      ...(below(8) ? [] : ["DENY", "bots", "mallory", `192.0.2.${below(200)}`]),
    ];
    const answer = (asked) => asked.catch((error) => error.message);
    const counts = { allowed: 0, refused: 0 };
    for (let call = 0; call < 6000; call++) {
      now += one(0, 1, 40, 3000, 60_000, below(200) ? 7 : 40 * 86_400_000);
      set(now);
      const number = below(16);
      const name = Object.keys(limits)[number % 4];
      const key = `key${number}`;
      const words = one(
        () => [`RL.${name}`, key, ...limits[name](), ...options()],
        () => [`RL.${name}`, key, ...limits[name](), ...options()],
        () => [`RL.${name}`, key, ...limits[name]()],
        () => ["RL.ALL", "2", key, "key4", name, ...limits[name](), "FIXED", ...limits.FIXED(), ...options()],
        () => ["RL.PEEK", name, key, ...limits[name]()],
        () => ["RL.INFO", key],
        () => ["RL.RELEASE", "key3", `id${below(5)}`],
        () => ["RL.POLICY", "SET", `p${below(4)}`, "SLIDING", ...limits.SLIDING(), "TTL", "7s"],
        () => ["RL.DENY", "ADD", "bots", `192.0.2.${8 * below(20)}/29`, "TTL", "7s"],
        () => ["RL.BLOCK", key, one("0", "900ms")],
        () => one(["DEL", key], ["RL.NONE", "äöü€"], ["RL.POLICY", "LIST"], ["RL.STATS", "GET", "p1"], [`RL.${name}`, key]),
      )();
      const [theirs, ours] = await Promise.all([answer(client.sendCommand(words)), answer(engine(words))]);
      assert.deepEqual(ours, theirs, `at ${now}: ${words.join(" ")}`);
      if (theirs?.[0] === 1) counts.allowed += 1;
      if (typeof theirs === "string" && /^[A-Z]+ /.test(theirs)) counts.refused += 1;
    }
    assert.ok(counts.allowed > 600 && counts.refused > 60, JSON.stringify(counts));
  });

  it("is at most 400 KB, compressed", async () => {
    const { gzipSync } = await import("node:zlib");
    const bytes = gzipSync(readFileSync(wasm), { level: 9 }).length;
    assert.ok(bytes <= 400_000, `${bytes} bytes`);
  });

  it("refuses a hit on a new key when it is full of keys that have not expired, and no other", async () => {
    let now = START;
    const errors = [];
    const client = localEngine({ now: () => now, maxKeys: 2 });
    const limiter = createLimiter({ client, algorithm: "fixed", limits: { limit: 2, window: "1m" }, unavailable: "closed", onError: (error) => errors.push(error.message) });
    const hit = async (key) => (await limiter.hit(key)).allowed;
    assert.deepEqual([await hit("a"), await hit("b"), await hit("c"), await hit("a")], [true, true, false, true]);
    assert.match(errors.join(), /^OOM a new key is not allowed: there are 2 keys, the most that there may be \(maxKeys\), and none has expired$/);
    now += 70_000;
    assert.equal(await hit("c"), true);
  });

  it("says which time is none", async () => {
    const client = localEngine({ now: () => Number.NaN });
    await assert.rejects(client(["RL.FIXED", "a", "1", "1m"]), /^Error: ERR the clock says no time: expected Unix milliseconds/);
    await assert.rejects(localEngine()(["RL.FIXED", "k".repeat(5_000_000), "1", "1m"]), /^RangeError: ERR a command of 5000027 bytes/);
    await assert.rejects(localEngine()(["RL.FIXED", "k".repeat(5000), "1", "1m"]), /^Error: ERR a key's name has more than 4096 bytes/);
  });

  it("tells a mistake when it is made", () => {
    assert.throws(() => localEngine({ now: 7 }), /^TypeError: now: expected a function that gives Unix ms, got 7/);
    assert.throws(() => localEngine({ maxKeys: 0 }), /^TypeError: maxKeys: expected an integer of at least 1, got 0/);
    assert.throws(() => localEngine({ maxKeys: 2 ** 32 }), /^TypeError: maxKeys: expected less than 2\^32/);
    assert.throws(() => localEngine({ module: "engine.wasm" }), /^TypeError: module: expected a WebAssembly.Module/);
    assert.throws(() => localEngine({ maxkeys: 1 }), /maxkeys/);
  });

  it("that has met a fault of its own answers no more", async () => {
    const broken = edgeEngine({ module: trapping(), now: () => START });
    for (let again = 0; again < 2; again++) {
      await assert.rejects(broken(["PING"]), /^EngineStopped: the engine in this process has stopped/);
    }
  });
});

/** A file with the engine's exports, of which the one that runs a command is `unreachable`. */
function trapping() {
  const leb = (bytes) => [bytes.length, ...bytes];
  const name = (text) => leb([...Buffer.from(text)]);
  const types = [4, 0x60, 5, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0, 0x60, 1, 0x7f, 1, 0x7f, 0x60, 1, 0x7c, 1, 0x7f, 0x60, 0, 1, 0x7f];
  const exported = ["start", "request", "call", "reply"].flatMap((text, index) => [...name(`ratelimit_${text}`), 0, index]);
  const bodies = [[0, 0x0b], [0, 0x41, 8, 0x0b], [0, 0x00, 0x0b], [0, 0x41, 8, 0x0b]];
  const sections = [
    [1, types],
    [3, [4, 0, 1, 2, 3]],
    [5, [1, 0, 1]],
    [7, [5, ...name("memory"), 2, 0, ...exported]],
    [10, [4, ...bodies.flatMap(leb)]],
  ];
  return new WebAssembly.Module(Uint8Array.from([0, 0x61, 0x73, 0x6d, 1, 0, 0, 0, ...sections.flatMap(([id, content]) => [id, ...leb(content)])]));
}

describe("tests without a server", { skip }, () => {
  it("the month is over", async () => {
    let now = Date.parse("2027-01-31T23:59:59.999Z");
    const limiter = createLimiter({ client: localEngine({ now: () => now }), algorithm: "fixed", limits: { limit: 2, window: "1mo" } });
    const hits = [await limiter.hit("alice"), await limiter.hit("alice"), await limiter.hit("alice")];
    assert.deepEqual(hits.map(({ allowed, retryAfterMs }) => [allowed, retryAfterMs]), [[true, 0], [true, 0], [false, 1]]);
    now += 1;
    assert.deepEqual(await limiter.hit("alice"), { ...hits[0], resetAfterMs: 28 * 86_400_000, limits: [{ ...hits[0].limits[0], resetAfterMs: 28 * 86_400_000 }] });
  });

  it("all that a limiter can, policies, leases and deny lists too", async () => {
    let now = START;
    const client = localEngine({ now: () => now });
    const admin = createAdmin({ client });
    const limits = { limit: 5, window: "15m" };
    const api = createLimiter({ client, prefix: "api", algorithm: "sliding", limits, policy: "api", next: true });
    const tokens = createLimiter({ client, prefix: "tokens", algorithm: "bucket", limits: { capacity: 10, refill: 1, interval: "1s" } });
    await admin.policies.set("api", { algorithm: "sliding", limits: { limit: 2, window: "15m" } });
    await admin.denyLists.add("bots", ["192.0.2.0/24"]);
    const denied = await api.hit("alice", { deny: { list: "bots", values: ["192.0.2.7"] } });
    assert.deepEqual([denied.allowed, denied.deniedValue], [false, "192.0.2.7"]);
    const all = await hitAll([{ limiter: api, key: "alice" }, { limiter: tokens, key: "alice", cost: 10 }]);
    assert.deepEqual([all.allowed, all.keys.map(({ remaining }) => remaining)], [true, [1, 0]]);
    assert.equal((await tokens.hit("alice")).retryAfterMs, 1000);
    assert.equal(await api.reset("alice"), true);
    const leaser = createLeaser({ client, limit: 1, ttl: "10s" });
    const first = await leaser.acquire("jobs");
    assert.deepEqual([first.verdict.allowed, (await leaser.acquire("jobs")).verdict.allowed], [true, false]);
    now += 10_001; // its holder was killed
    assert.equal((await leaser.acquire("jobs")).verdict.allowed, true);
  });

  it("each engine has keys of its own", async () => {
    const limiters = [1, 2].map(() => createLimiter({ client: localEngine(), algorithm: "fixed", limits: { limit: 1, window: "1d" } }));
    const hit = async (index) => (await limiters[index].hit("alice")).allowed;
    assert.deepEqual([await hit(0), await hit(1), await hit(0)], [true, true, false]);
  });

  it("as the README shows it", async () => {
    const readme = readFileSync(join(process.env.RATELIMIT_CLIENT_TESTS, "..", "..", "clients", "README.md"), "utf8");
    const close = { "Tests without a server": "", "While Redis is away": "client.destroy();" };
    for (const [index, [title, end]] of Object.entries(close).entries()) {
      const [, section] = readme.split(new RegExp(`^#+ ${title}$`, "m"));
      const [, block] = /```ts\n([^]*?)```/.exec(section);
      const file = new URL(`./readme-${index}.mjs`, import.meta.url);
      writeFileSync(file, block.replace("createClient()", `createClient({ socket: { port: ${port} } })`) + end);
      await import(file.href);
    }
  });
});
