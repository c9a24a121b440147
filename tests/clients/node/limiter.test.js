// The package's limiters, on a real server through real clients.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Redis } from "ioredis";
import { createLimiter, hitAll, presets } from "ratelimit-client";
import { createClient, createCluster } from "redis";
import { clusterPort, ownServer, port, stop, until } from "./servers.js";

/** Held still by a test. */
const stalled = await ownServer();
after(() => stalled.end());

let client;
let sent = 0; // commands that went to the server
const counted = async (args) => {
  sent += 1;
  return client.sendCommand(args);
};
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const limits = (limit, window) => ({ limits: { limit, window }, timeoutMs: 60_000 }); // on a busy machine

describe("clients", () => {
  const open = {
    "node-redis": async () => {
      const own = await createClient({ socket: { port } }).connect();
      return [own, () => own.close()];
    },
    "node-redis cluster": async () => {
      const cluster = createCluster({ rootNodes: [{ socket: { port: clusterPort } }] });
      await cluster.connect();
      return [cluster, () => cluster.close()];
    },
    ioredis: async () => {
      const own = new Redis({ port });
      return [own, () => own.quit()];
    },
  };
  for (const [name, connect] of Object.entries(open)) {
    it(`${name}: five of six`, async (t) => {
      const [own, close] = await connect();
      t.after(close);
      const api = createLimiter({ client: own, prefix: `limiter:${name}`, algorithm: "fixed", ...limits(5, "3650d") });
      const allowed = [];
      for (let hit = 0; hit < 6; hit++) allowed.push((await api.hit("k")).allowed);
      assert.deepEqual(allowed, [true, true, true, true, true, false]);
      assert.equal(await api.reset("k"), true);
      assert.equal(await api.reset("k"), false);
      assert.equal((await api.peek("k")).remaining, 4);
    });
  }

  it("what is no client is refused at once", () => {
    for (const wrong of [undefined, null, {}, "redis://"]) {
      assert.throws(() => createLimiter({ client: wrong, algorithm: "fixed", ...limits(5, "1h") }), /^TypeError: client: expected/);
    }
  });
});

describe("limiter", () => {
  it("several limits, FORCE, and a deny list", async () => {
    const api = createLimiter({ client, prefix: "limiter", algorithm: "fixed", limits: [{ limit: 10, window: "3650d" }, { limit: 4, window: "3660d" }] });
    await client.sendCommand(["RL.DENY", "ADD", "limiter:deny", "192.0.2.0/24"]);
    const denied = await api.hit("options", { deny: { list: "limiter:deny", values: ["192.0.2.7"] } });
    assert.deepEqual([denied.allowed, denied.deniedValue], [false, "192.0.2.7"]);
    const verdict = await api.hit("options", { cost: 5, force: true, deny: { list: "limiter:deny", values: ["198.51.100.1"] } });
    assert.deepEqual([verdict.allowed, verdict.limit, verdict.remaining, verdict.deniedValue], [false, 4, 0, undefined]);
    assert.deepEqual(verdict.limits.map(({ name, remaining }) => [name, remaining]), [["limiter-3650d", 5], ["limiter-3660d", 0]]);
  });

  it("id: charged once, and the repeat is told so, among all that a reply may have", async () => {
    await client.sendCommand(["RL.DENY", "ADD", "limiter:ids", "192.0.2.0/24"]);
    const api = createLimiter({ client, prefix: "limiter", algorithm: "fixed", limits: [{ limit: 10, window: "3650d" }, { limit: 8, window: "3660d" }] });
    const options = { id: "req-1", cost: 9, min: 2, stamp: true, next: true, deny: { list: "limiter:ids", values: ["198.51.100.1"] } };
    const first = await api.hit("ids", options);
    assert.deepEqual([first.allowed, first.remaining, first.taken, first.repeated, first.deniedValue], [true, 0, 8, false, undefined]);
    const again = await api.hit("ids", options);
    assert.deepEqual([again.allowed, again.remaining, again.taken, again.repeated, again.chargedAt], [true, 0, 8, true, first.chargedAt]);
    assert.deepEqual(again.limits.map(({ remaining }) => remaining), [2, 0]);
    const listed = await api.hit("ids", { ...options, id: "req-2", deny: { list: "limiter:ids", values: ["192.0.2.7"] } });
    assert.deepEqual([listed.allowed, listed.deniedValue, listed.repeated], [false, "192.0.2.7", false]);
    assert.equal((await api.hit("ids", { id: "req-3" })).repeated, false); // denied: its repeat is a new try
    assert.equal("repeated" in (await api.hit("ids")), false);
    await api.refund("ids", again, { id: "back-1" });
    await api.refund("ids", again, { id: "back-1" });
    assert.equal((await api.hit("ids", { id: "req-3" })).remaining, 7);
  });

  it("id: a repeat is let through while others are denied by the cache, and none is coalesced", async () => {
    sent = 0;
    const api = createLimiter({ client: counted, prefix: "limiter", algorithm: "fixed", ...limits(1, "3650d"), blockedCache: true, coalesce: true });
    const together = await Promise.all(Array.from({ length: 10 }, () => api.hit("ids:cached", { id: "req-1" })));
    assert.deepEqual([sent, together.filter(({ allowed }) => allowed).length, together.filter(({ repeated }) => repeated).length], [10, 10, 9]);
    assert.equal((await api.hit("ids:cached")).allowed, false);
    assert.equal((await api.hit("ids:cached")).allowed, false);
    assert.equal(sent, 11);
    const { allowed, repeated } = await api.hit("ids:cached", { id: "req-1" });
    assert.deepEqual([allowed, repeated, sent], [true, true, 12]);
  });

  it("id: what cannot be one, and where it would be passed over, is refused", async () => {
    const api = createLimiter({ client, prefix: "limiter", algorithm: "fixed", ...limits(5, "3650d") });
    for (const id of ["", "x".repeat(65), "\u00e9".repeat(33), 7, null]) await assert.rejects(api.hit("ids:wrong", { id }), /^TypeError: id: expected/);
    assert.equal((await api.hit("ids:wrong", { id: "\u00e9".repeat(32) })).repeated, false);
    await assert.rejects(api.hit("ids:wrong", { retry: 1 }), /^TypeError: retry: expected an id with it/);
    for (const retry of [-1, 1.5, 11, "1"]) await assert.rejects(api.hit("ids:wrong", { id: "a", retry }), /^TypeError: retry: expected an integer/);
    await assert.rejects(api.peek("ids:wrong", { id: "a" }), /unknown option "id"/);
    await assert.rejects(api.reserve("ids:wrong", 1, { id: "a" }), /unknown option "id"/);
    await assert.rejects(hitAll([{ limiter: api, key: "ids:wrong", id: "a" }]), /unknown option "id"/);
    assert.equal((await api.peek("ids:wrong", { cost: 0 })).remaining, 4);
  });

  it("block: shuts a key by order, whatever is cached; the later end wins, and 0 lifts it", async () => {
    const api = createLimiter({ client, prefix: "limiter", algorithm: "fixed", ...limits(5, "3650d"), blockedCache: true });
    await api.hit("shut");
    assert.equal(await api.block("shut", "10m"), 600_000);
    const left = await api.block("shut", "1s");
    assert.ok(left > 500_000 && left <= 600_000, `${left}`);
    const { allowed, retryAfterMs } = await api.hit("shut");
    assert.equal(allowed, false);
    assert.ok(retryAfterMs > 500_000 && retryAfterMs <= 600_000, `${retryAfterMs}`);
    assert.equal(await api.block("shut", "0"), 0);
    const verdict = await api.hit("shut");
    assert.deepEqual([verdict.allowed, verdict.remaining], [true, 3]);
    for (const wrong of ["30", "1min", 30, undefined, "0s"]) await assert.rejects(api.block("shut", wrong), /^TypeError: duration: expected a duration/);
    await client.set("limiter:text", "text");
    await assert.rejects(api.block("text", "1s"), /WRONGTYPE/);
  });

  it("presets: each endpoint denies one more than its limit", async () => {
    for (const [name, preset] of Object.entries(presets)) {
      const limiter = createLimiter({ client, timeoutMs: 60_000, ...preset });
      for (let hit = 1; hit <= preset.limits.limit; hit++) assert.ok((await limiter.hit("ip:203.0.113.9")).allowed, `${name} ${hit}`);
      assert.equal((await limiter.hit("ip:203.0.113.9")).allowed, false, name);
    }
  });

  it("plans by policies: an upgrade holds from the next request on, with usage kept", async () => {
    await client.sendCommand(["RL.POLICY", "SET", "limiter-plan-pro", "SLIDING", "1000", "15m"]);
    const api = createLimiter({ client, prefix: "limiter-plan", algorithm: "sliding", ...limits(100, "15m") });
    assert.ok((await api.hit("user:7", { cost: 100, policy: "limiter-plan-free" })).allowed);
    assert.equal((await api.hit("user:7", { policy: "limiter-plan-free" })).allowed, false);
    assert.equal((await api.hit("user:7", { policy: "limiter-plan-pro" })).remaining, 899);
  });

  it("a refusal of the server is loud, and no exception in every request", async () => {
    await client.set("limiter:text", "text");
    const errors = [];
    const api = createLimiter({ client, algorithm: "fixed", ...limits(5, "1h"), unavailable: "closed", onError: (error) => errors.push(error) });
    const verdict = await api.hit("limiter:text");
    assert.deepEqual([verdict.allowed, verdict.error.name, verdict.error.code], [false, "RefusedError", "WRONGTYPE"]);
    assert.deepEqual(errors, [verdict.error]);
  });
});

describe("where Redis is away", () => {
  const patiently = (own, timeoutMs) => createLimiter({ client: own, prefix: "away", algorithm: "fixed", ...limits(5, "3650d"), timeoutMs, unavailable: "closed" });

  it("a server that does not answer: open by default, closed for logins, and it recovers", async (t) => {
    const own = await createClient({ socket: { port: stalled.port } }).connect();
    t.after(() => own.destroy());
    const errors = [];
    const onError = (error) => errors.push(error.message);
    const open = createLimiter({ client: own, prefix: "away", algorithm: "fixed", limits: { limit: 5, window: "3650d" }, onError });
    const login = createLimiter({ client: own, ...presets.login, onError });
    const blocking = createLimiter({ client: own, prefix: "away", algorithm: "fixed", limits: { limit: 5, window: "3650d" }, block: "15m", onError });
    try {
      await until(async () => !(await open.hit("warm")).error);
      errors.length = 0;
      await stop(stalled);
      const [opened, closed, blocked] = await Promise.all([open.hit("k"), login.hit("k"), blocking.hit("k")]);
      assert.deepEqual([opened.allowed, closed.allowed, blocked.allowed], [true, false, false]);
      assert.match(opened.error.message, /no answer from Redis within 1000 ms/);
      assert.equal(errors.length, 3);
    } finally {
      process.kill(stalled.pid, "SIGCONT");
    }
    const { allowed, error } = await patiently(own, 60_000).hit("k");
    assert.deepEqual([allowed, error], [true, undefined]);
  });

  it("a connection that is gone: no queue, an answer at once", async () => {
    const gone = createClient({ disableOfflineQueue: true, socket: { port: stalled.port, reconnectStrategy: false } });
    gone.on("error", () => {});
    await gone.connect();
    const errors = [];
    const api = createLimiter({ client: gone, algorithm: "fixed", ...limits(5, "3650d"), timeoutMs: 60_000, onError: (error) => errors.push(error) });
    gone.destroy();
    assert.equal((await api.hit("k")).allowed, true);
    assert.equal(errors.length, 1);
  });
});

describe("blocked identifiers", () => {
  const cached = (limit, blockedCache = true) =>
    createLimiter({ client: counted, prefix: "blocked", algorithm: "fixed", ...limits(limit, "3650d"), blockedCache });
  const asked = async (work) => {
    const before = sent;
    await work();
    return sent - before;
  };

  it("a flood from one identifier costs as many commands as its limit, and one", async () => {
    const api = cached(100);
    let allowed = 0;
    const commands = await asked(async () => {
      for (let i = 0; i < 10_000; i++) if ((await api.hit("flood")).allowed) allowed += 1;
    });
    assert.deepEqual([allowed, commands], [100, 101]);
  });

  it("asks again when the time has come", async () => {
    const api = createLimiter({ client: counted, prefix: "blocked", algorithm: "sliding", limits: { limit: 1, window: "300ms" }, blockedCache: true });
    assert.equal((await api.wait("again")).allowed, true);
    assert.equal((await api.wait("again")).allowed, true);
  });

  it("a greater cost is blocked too, a smaller one is asked, what is given back unblocks", async () => {
    const api = cached(10);
    const hits = async (...costs) => {
      const allowed = [];
      for (const cost of costs) allowed.push((await api.hit("cost", { cost })).allowed);
      return allowed;
    };
    assert.equal(await asked(async () => assert.deepEqual(await hits(8, 4, 5), [true, false, false])), 2);
    assert.equal(await asked(async () => assert.deepEqual(await hits(1, -5, 4), [true, true, true])), 3);
  });

  it("keeps to its size, drops the oldest, and never keeps a failure, a value of a deny list or another policy's denial", async () => {
    const api = cached(0, { maxEntries: 2 });
    assert.equal(await asked(async () => { for (const key of ["a", "b", "c", "b", "c"]) await api.hit(key); }), 3);
    assert.equal(await asked(() => api.hit("a")), 1);

    await client.sendCommand(["RL.DENY", "ADD", "blocked:deny", "192.0.2.7"]);
    const shared = cached(5);
    const ask = async (value) => (await shared.hit("shared", { deny: { list: "blocked:deny", values: [value] } })).allowed;
    assert.deepEqual([await ask("192.0.2.7"), await ask("192.0.2.8")], [false, true]);

    let failing = true;
    const flaky = createLimiter({
      client: async (args) => (failing ? Promise.reject(new Error("away")) : client.sendCommand(args)),
      prefix: "blocked", algorithm: "fixed", limits: { limit: 5, window: "3650d" }, blockedCache: true, unavailable: "closed", onError() {},
    });
    assert.equal((await flaky.hit("flaky")).allowed, false);
    failing = false;
    assert.equal((await flaky.hit("flaky")).allowed, true);
  });
});

describe("waiting", () => {
  const waiting = (limit, window) => createLimiter({ client: counted, prefix: "wait", algorithm: "sliding", ...limits(limit, window) });

  it("a sliding window is asked twice: once to be told how long, once when it fits", async () => {
    const api = waiting(2, "2s"); // longer than a busy machine takes to ask again
    await api.hit("twice", { cost: 2 });
    const before = sent;
    assert.equal((await api.wait("twice")).allowed, true);
    assert.equal(sent - before, 2);
  });

  it("says no at once where the wait is too long, or for ever", async () => {
    const api = waiting(2, "15m");
    await api.hit("long", { cost: 2 });
    assert.equal((await api.wait("long", { timeoutMs: 1000 })).allowed, false);
    assert.equal((await api.wait("long", { cost: 3 })).retryAfterMs, -1);
  });

  it("can be aborted", async () => {
    const api = waiting(1, "15m");
    await api.hit("abort");
    const controller = new AbortController();
    const waits = api.wait("abort", { timeoutMs: 1e6, signal: controller.signal });
    controller.abort();
    await assert.rejects(waits, { name: "AbortError" });
  });
});
