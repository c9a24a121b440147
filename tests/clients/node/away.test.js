// `unavailable: "local"`: processes that go on counting by themselves while Redis is away, and charge it when it is back.

import assert from "node:assert/strict";
import { fork, spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { createLimiter, hitAll } from "ratelimit-client";
import "ratelimit-client/local";
import { createClient } from "redis";
import { stop, until } from "./servers.js";

const skip = !existsSync(new URL("./node_modules/ratelimit-client/dist/local/engine.wasm", import.meta.url));
const PROCESSES = 4;
/** How much longer than it takes to see Redis is away. */
const AWAY_MS = Number(process.env.AWAY_MS ?? 0);

const freePort = () =>
  new Promise((resolve) => {
    const listener = createServer().listen(0, "127.0.0.1", () => {
      const { port } = listener.address();
      listener.close(() => resolve(port));
    });
  });

/** A server of the test's own, which it may stop, kill and start again on its port. */
async function ownServer(t) {
  const dir = mkdtempSync(join(tmpdir(), "ratelimit-away-"));
  const port = await freePort();
  const own = {
    port,
    async start() {
      const args = ["--port", String(port), "--bind", "127.0.0.1", "--dir", dir, "--save", "", "--loadmodule", process.env.RATELIMIT_MODULE];
      own.process = spawn(process.env.RATELIMIT_SERVER, args);
      let log = "";
      own.process.stdout.on("data", (text) => (log += text));
      await until(() => log.includes("eady to accept connections"), () => log);
    },
    async kill() {
      const ended = new Promise((resolve) => own.process.once("exit", resolve));
      own.process.kill("SIGKILL");
      await ended;
    },
    /** What a key has used there; 0 where there is none. */
    async used(key) {
      const client = await createClient({ socket: { port }, RESP: 2 }).connect();
      const info = await client.sendCommand(["RL.INFO", key]);
      client.destroy();
      if (info === null) return 0;
      const field = (map, name) => map[map.indexOf(name) + 1];
      return field(field(info, "limits")[0], "used");
    },
  };
  t.after(async () => {
    await own.kill();
    rmSync(dir, { recursive: true, force: true });
  });
  await own.start();
  return own;
}

/** Processes that hit the same keys. */
async function processes(t, options) {
  const all = Array.from({ length: PROCESSES }, () => fork(new URL("./away.js", import.meta.url), [JSON.stringify(options)]));
  t.after(() => all.forEach((one) => one.kill("SIGKILL")));
  const told = (one) => new Promise((resolve) => one.once("message", resolve));
  const ask = (message, some = all) => Promise.all(some.map((one) => [told(one), one.send(message)][0]));
  await Promise.all(all.map(told));
  return {
    all,
    ask,
    async sum(key, some = all) {
      const reports = await ask({ report: true }, some);
      const sum = { redis: 0, local: 0, denied: 0, errors: 0 };
      for (const { counts } of reports) for (const name of Object.keys(sum)) sum[name] += counts[key]?.[name] ?? 0;
      return { ...sum, hits: Math.min(...reports.map(({ hits }) => hits)) };
    },
  };
}

/** Each of them has made so many hits more. */
async function passed(workers, hits, some = workers.all) {
  const { hits: before } = await workers.sum("all", some);
  await until(async () => (await workers.sum("all", some)).hits >= before + hits);
}

describe("Redis is stopped under load, with 4 processes", { skip, concurrency: false }, () => {
  for (const [instances, limit] of [[4, 200], [1, 30]]) {
    const share = limit / instances;
    it(instances === 1 ? "each goes on with the limit" : "with `instances: 4` they go on with the limit together", async (t) => {
      const server = await ownServer(t);
      const workers = await processes(t, { port: server.port, limits: { limit, window: "1h" }, instances });
      await workers.ask({ once: ["all", "all", "all"] });
      await stop(server.process);
      // All of them hit the one key, and one of them alone the other one.
      workers.all.forEach((one, index) => one.send({ hammer: index === 0 ? ["all", "one"] : ["all"] }));
      await until(async () => (await workers.sum("all")).local >= share * PROCESSES && (await workers.sum("one")).local >= share);
      await passed(workers, 300);
      await pause(AWAY_MS);
      const away = await workers.sum("all");
      assert.deepEqual([away.redis, away.local, away.errors], [3 * PROCESSES, share * PROCESSES, 0]);
      assert.ok(away.denied > 0);

      process.kill(server.process.pid, "SIGCONT");
      workers.all.forEach((one) => one.send({ hammer: ["all", "one"] }));
      await until(async () => (await server.used("all")) >= away.redis + away.local && (await server.used("one")) >= share);
      if (instances > 1) await passed(workers, 3000); // also when Redis is believed alone again
      const [all, one] = [await workers.sum("all"), await workers.sum("one")];
      assert.deepEqual([all.redis, all.local, all.errors], [away.redis, away.local, 0], "after its return it admits nothing more of that window");
      assert.equal(one.errors, 0);
      if (instances > 1) assert.ok(one.redis + one.local <= limit, JSON.stringify(one));
      assert.ok((await server.used("one")) >= one.redis + one.local, JSON.stringify(one));
    });
  }
});

describe("Redis is gone, and comes back empty", { skip, concurrency: false }, () => {
  it("what one process has not charged yet, the others do not let in", async (t) => {
    const server = await ownServer(t);
    const workers = await processes(t, { port: server.port, limits: { limit: 200, window: "1h" }, instances: PROCESSES });
    await server.kill();
    workers.all.forEach((one) => one.send({ hammer: ["all"] }));
    await until(async () => (await workers.sum("all")).local >= 200);
    const [late, ...others] = workers.all;
    await stop(late);
    await server.start();
    const since = performance.now();
    await until(async () => (await server.used("all")) >= 150);
    await passed(workers, 50, others);
    const { redis, local, errors } = await workers.sum("all", others);
    // (A machine that has taken longer for this can't tell.)
    if (performance.now() - since < 4000) assert.deepEqual([redis, local, errors], [0, 150, 0]);
    process.kill(late.pid, "SIGCONT");
    await until(async () => (await server.used("all")) >= 200);
    assert.equal((await workers.sum("all")).local, 200);
  });

  it("what was let through meanwhile is charged, each algorithm's as it counts", async (t) => {
    const server = await ownServer(t);
    const client = createClient({ socket: { port: server.port, reconnectStrategy: 20 } });
    client.on("error", () => undefined);
    await client.connect();
    t.after(() => client.destroy());
    const events = [];
    const given = { client, unavailable: "local", onError: () => undefined, onHit: (event) => events.push(event) };
    const fixed = createLimiter({ ...given, prefix: "fixed", algorithm: "fixed", limits: { limit: 9, window: "3650d" } });
    const sliding = createLimiter({ ...given, prefix: "sliding", algorithm: "sliding", limits: { limit: 9, window: "1h" } });
    const bucket = createLimiter({ ...given, prefix: "bucket", algorithm: "bucket", limits: { capacity: 9, refill: 1, interval: "1h" } });
    assert.equal((await fixed.hit("before")).local, undefined);
    await server.kill();

    const first = await fixed.hit("a", { cost: 4 });
    assert.deepEqual([first.allowed, first.remaining, first.local, first.error], [true, 5, true, undefined]);
    const hits = [await fixed.hit("a", { cost: 6 }), await fixed.hit("a", { cost: 7, min: 2 }), await fixed.hit("a")];
    assert.deepEqual(hits.map(({ allowed, taken }) => [allowed, taken]), [[false, 0], [true, 5], [false, 0]]);
    const once = [await sliding.hit("a", { id: "delivery" }), await sliding.hit("a", { id: "delivery" })];
    assert.deepEqual(once.map(({ allowed, repeated }) => [allowed, repeated]), [[true, false], [true, true]]);
    const stamped = await sliding.hit("a", { cost: 5, stamp: true });
    await pause(5); // a charge is given back by the time that was told
    await sliding.refund("a", stamped);
    const both = await hitAll([{ limiter: sliding, key: "a", cost: 2 }, { limiter: bucket, key: "a", cost: 7 }]);
    assert.deepEqual([both.allowed, both.local, both.keys.map(({ remaining }) => remaining)], [true, true, [6, 2]]);
    assert.equal((await hitAll([{ limiter: sliding, key: "a", cost: 2 }, { limiter: bucket, key: "a", cost: 7 }])).allowed, false);
    assert.equal((await bucket.hit("a", { cost: 5, force: true })).allowed, false);
    assert.equal((await bucket.peek("a")).allowed, false);
    await fixed.hit("forgotten");
    await fixed.reset("forgotten").catch(() => undefined);
    assert.ok(events.slice(1).every(({ local, reason, outcome }) => local && reason === undefined && /^(allowed|denied)$/.test(outcome)), JSON.stringify(events));

    await server.start();
    const expected = { "fixed:a": 9, "sliding:a": 3, "bucket:a": 12, "fixed:forgotten": 0 };
    const seen = async () => Object.fromEntries(await Promise.all(Object.keys(expected).map(async (key) => [key, await server.used(key)])));
    let last;
    await until(async () => (last = JSON.stringify(await seen())) === JSON.stringify(expected), () => last);
    assert.deepEqual([(await fixed.hit("a")).allowed, (await sliding.hit("a", { id: "delivery" })).repeated], [false, true]);
    assert.deepEqual(await seen(), expected);
  });

  it("where this process counts as many keys as it may, others are not let in", async (t) => {
    const server = await ownServer(t);
    const client = createClient({ socket: { port: server.port, reconnectStrategy: 20 } });
    client.on("error", () => undefined);
    await client.connect();
    t.after(() => client.destroy());
    const errors = [];
    const limiter = createLimiter({ client, algorithm: "fixed", limits: { limit: 1, window: "3650d" }, unavailable: "local", maxKeys: 2, onError: (error) => errors.push(error.message) });
    await server.kill();
    const hits = [];
    for (const key of ["a", "b", "c"]) hits.push(await limiter.hit(key));
    assert.deepEqual(hits.map(({ allowed, local }) => [allowed, local]), [[true, true], [true, true], [false, undefined]]);
    assert.match(errors.at(-1), /^OOM a new key is not allowed|no connection to Redis/);
    await server.start();
    await until(async () => (await limiter.hit("c")).allowed); // Redis has room
  });
});

describe("options", { skip }, () => {
  const client = async () => [1, 1, 1, 0, 0];
  const given = { client, algorithm: "bucket", limits: { capacity: 1, refill: 1, interval: "3000d" } };
  it("are checked when the limiter is made", () => {
    assert.throws(() => createLimiter({ ...given, unavailable: "locally" }), /^TypeError: unavailable: expected "open" or "closed" or "local"/);
    assert.throws(() => createLimiter({ ...given, instances: 4 }), /^TypeError: instances, maxKeys: expected only with unavailable: "local"/);
    assert.throws(() => createLimiter({ ...given, unavailable: "local", instances: 0 }), /^TypeError: instances: expected an integer of at least 1/);
    assert.throws(() => createLimiter({ ...given, unavailable: "local", instances: 4 }), /^TypeError: instances: expected at most 1/);
    createLimiter({ ...given, unavailable: "local", maxKeys: 5 });
    assert.throws(() => createLimiter({ ...given, unavailable: "local", maxKeys: 6 }), /^TypeError: maxKeys: expected 5, as of the client's other limiters, got 6/);
  });
});
