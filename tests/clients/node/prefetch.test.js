// Units that are taken ahead: never more than the limit, and all that was not used comes back.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { createLeaser, createLimiter } from "ratelimit-client";
import { createClient } from "redis";
import { port } from "./servers.js";

let client;
let sent = [];
const counted = (args) => {
  sent.push(args);
  return client.sendCommand(args, { timeout: undefined });
};
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

/** A small generator of numbers, so that a failure can be repeated by its seed. */
function random(seed) {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

async function until(condition) {
  for (let tries = 0; !(await condition()); tries++) {
    assert.ok(tries < 1000, "never happened");
    await sleep(20);
  }
}

const HOUR = 3_600_000; // held for longer than any test
const LIMIT = 60;
const SHAPES = [
  { algorithm: "fixed", limits: { limit: LIMIT, window: "3650d" } },
  { algorithm: "sliding", limits: { limit: LIMIT, window: "2h" } },
  { algorithm: "sliding", limits: [{ limit: LIMIT, window: "2h" }, { limit: 90, window: "4h" }] },
  { algorithm: "bucket", limits: { capacity: LIMIT, refill: 1, interval: "24h" } },
];

describe("prefetch", () => {
  for (const [index, shape] of SHAPES.entries()) {
    const of = (prefix, options) => createLimiter({ client: counted, ...shape, prefix: `prefetch:${index}:${prefix}`, timeoutMs: 60_000, ...options });

    it(`${JSON.stringify(shape)}: processes and single commands together admit the limit, and deny too early by what is held`, async () => {
      for (let seed = 1; seed <= 12; seed++) {
        const next = random(seed);
        const single = of(seed);
        const processes = Array.from({ length: 1 + next(3) }, () => of(seed, { prefetch: { units: 2 + next(20), holdMs: HOUR } }));
        let admitted = 0;
        const turns = 1 + next(20);
        for (let turn = 0; turn < turns; turn++) {
          const callers = Array.from({ length: 1 + next(12) }, () => (next(4) === 0 ? single : processes[next(processes.length)]));
          const verdicts = await Promise.all(callers.map((limiter) => limiter.hit("k")));
          admitted += verdicts.filter(({ allowed }) => allowed).length;
          assert.ok(admitted <= LIMIT, `seed ${seed}: ${admitted} of ${LIMIT}`);
          for (const { allowed, taken, remaining, retryAfterMs } of verdicts) {
            assert.equal(taken, allowed ? 1 : 0);
            assert.ok(remaining >= 0 && remaining < LIMIT);
            assert.equal(retryAfterMs === 0, allowed);
          }
        }
        // What is held is the whole difference: given back, it is there for anybody.
        const before = await single.peek("k", { cost: 0 });
        assert.ok(LIMIT - before.remaining >= admitted);
        await Promise.all(processes.map((limiter) => limiter.close()));
        assert.equal((await single.peek("k", { cost: 0 })).remaining, LIMIT - admitted, `seed ${seed}`);
        let more = 0;
        while ((await single.hit("k")).allowed) more += 1;
        assert.equal(admitted + more, LIMIT, `seed ${seed}`);
      }
    });

    it(`${JSON.stringify(shape)}: what is not used within its time is given back by itself`, async () => {
      const api = of("idle", { prefetch: { units: 20, holdMs: 50 } });
      for (let n = 0; n < 3; n++) assert.ok((await api.hit("k")).allowed);
      await until(async () => (await api.peek("k", { cost: 0 })).remaining >= LIMIT - 3); // more commands, where the machine was busy
      assert.equal((await api.peek("k", { cost: 0 })).remaining, LIMIT - 3);
    });
  }

  it("one hot key: a command for so many hits, and denials have the wait of one unit", async () => {
    const options = { client: counted, algorithm: "sliding", limits: { limit: 1000, window: "1h" }, timeoutMs: 60_000 };
    const api = createLimiter({ ...options, prefetch: { units: 100, holdMs: HOUR } });
    sent = [];
    let allowed = 0;
    for (let n = 0; n < 1000; n++) {
      const verdict = await api.hit("prefetch:hot");
      allowed += verdict.allowed;
      assert.equal(verdict.remaining, 999 - n);
    }
    assert.equal(allowed, 1000);
    assert.equal(sent.length, 10);
    const [denied, single] = [await api.hit("prefetch:hot"), await createLimiter(options).hit("prefetch:hot")];
    assert.equal(denied.allowed, false);
    assert.ok(Math.abs(denied.retryAfterMs - single.retryAfterMs) < 60_000 && denied.retryAfterMs > 0);
  });

  it("a fixed window ends, and what was taken of it ends with it", async () => {
    const window = 400;
    const api = createLimiter({ client: counted, algorithm: "fixed", limits: { limit: 1_000_000, window: `${window}ms` }, prefetch: { units: 1000, holdMs: HOUR }, timeoutMs: 60_000 });
    const windows = new Set();
    for (const stop = Date.now() + 2000; Date.now() < stop; await sleep(5)) {
      const asked = Date.now(); // one machine, one clock
      const { allowed, chargedAt } = await api.hit("prefetch:window");
      assert.ok(allowed);
      assert.ok(Math.floor(chargedAt / window) >= Math.floor(asked / window), `asked at ${asked}, a unit of ${chargedAt}`);
      windows.add(Math.floor(chargedAt / window));
    }
    assert.ok(windows.size >= 2);
  });

  it("hits with options, and a closed limiter's, are commands of their own", async () => {
    const api = createLimiter({ client: counted, algorithm: "fixed", limits: { limit: 100, window: "3650d" }, prefix: "prefetch:own", prefetch: { units: 10, holdMs: HOUR }, timeoutMs: 60_000 });
    assert.ok((await api.hit("k")).allowed);
    assert.equal((await api.hit("k", { id: "one" })).repeated, false);
    assert.equal((await api.hit("k", { id: "one" })).repeated, true);
    assert.equal((await api.hit("k", { cost: 5 })).remaining, 100 - 10 - 1 - 5);
    const charged = await api.hit("k");
    await api.refund("k", charged);
    await api.close();
    assert.equal((await api.peek("k", { cost: 0 })).remaining, 100 - 2 - 6 + 1);
    sent = [];
    for (let n = 0; n < 3; n++) await api.hit("k");
    assert.equal(sent.length, 3);
    assert.equal(await api.reset("k"), true);
  });

  it("a key that was reset or shut gives out nothing that was taken before", async () => {
    const options = { client: counted, algorithm: "fixed", limits: { limit: 10, window: "3650d" }, prefix: "prefetch:gone", timeoutMs: 60_000 };
    const api = createLimiter({ ...options, prefetch: { units: 8, holdMs: HOUR } });
    await api.hit("k");
    await api.reset("k");
    let admitted = 0;
    while ((await api.hit("k")).allowed) admitted += 1;
    assert.equal(admitted, 10);
    await api.hit("shut");
    await api.block("shut", "1h");
    assert.equal((await api.hit("shut")).allowed, false);
    await api.block("shut", "0");
    await api.close();
    assert.equal((await createLimiter(options).peek("shut", { cost: 0 })).remaining, 9);
  });

  it("Redis away: the verdict of `unavailable`, and nothing to give back", async () => {
    const api = createLimiter({ client: () => Promise.reject(new Error("away")), algorithm: "fixed", limits: { limit: 5, window: "1h" }, prefetch: 5, unavailable: "closed", onError() {} });
    const verdicts = await Promise.all([1, 2, 3].map(() => api.hit("k")));
    assert.ok(verdicts.every(({ allowed, error }) => !allowed && error));
    await api.close();
    await assert.rejects(api.hit(undefined), TypeError);
  });

  it("what it cannot go with is refused when it is made", () => {
    const options = { client: counted, algorithm: "sliding", limits: { limit: 5, window: "1h" } };
    assert.throws(() => createLimiter({ ...options, prefetch: 5, block: "1h" }), /prefetch: not with block/);
    assert.throws(() => createLimiter({ ...options, prefetch: 5, coalesce: true }), /prefetch: not with coalesce/);
    assert.throws(() => createLimiter({ ...options, prefetch: 5, unavailable: "local" }), /prefetch: not with unavailable/);
    for (const prefetch of [0, 1, 2.5, "5", true, null, { units: 5, holdMs: 0 }, { units: 5, hold: 5 }, {}]) {
      assert.throws(() => createLimiter({ ...options, prefetch }), TypeError, JSON.stringify(prefetch));
    }
    assert.throws(() => createLeaser({ client: counted, limit: 5, ttl: "1m", prefetch: 5 }), /unknown option "prefetch"/);
  });
});
