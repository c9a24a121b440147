// Hits that are made in one turn become one command: the same answers as single commands give, in fewer of them.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { createLimiter } from "ratelimit-client";
import { createClient } from "redis";
import { port } from "./servers.js";

let client;
let sent = 0;
const counted = (args) => {
  sent += 1;
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

describe("coalescing", () => {
  const shapes = [
    { algorithm: "fixed", limits: { limit: 7, window: "3650d" } },
    { algorithm: "sliding", limits: { limit: 9, window: "1h" } },
    { algorithm: "sliding", limits: [{ limit: 9, window: "1h" }, { limit: 5, window: "2h" }] },
    { algorithm: "bucket", limits: { capacity: 6, refill: 1, interval: "1h" } },
    { algorithm: "sliding", limits: { limit: 4, window: "1h" }, block: "1h" },
    { algorithm: "fixed", limits: { limit: 0, window: "3650d" } },
    { algorithm: "fixed", limits: { limit: 7, window: "3650d" }, blockedCache: true },
  ];
  for (const [index, shape] of shapes.entries()) {
    it(`${JSON.stringify(shape)}: as single commands answer, whatever comes together`, async () => {
      for (let seed = 1; seed <= 15; seed++) {
        const next = random(seed);
        const of = (kind, options) => createLimiter({ client: counted, ...shape, prefix: `coalesce:${index}:${kind}:${seed}`, timeoutMs: 60_000, ...options });
        const [together, singly] = [of("together", { coalesce: true }), of("singly")];
        for (let turn = 0; turn < 4; turn++) {
          const keys = Array.from({ length: 1 + next(8) }, () => `k${next(2)}`);
          const answers = await Promise.all(keys.map((key) => together.hit(key)));
          const expected = [];
          for (const key of keys) expected.push(await singly.hit(key));
          const seen = (verdicts) => verdicts.map(({ allowed, limit, remaining, taken, limits }) => [allowed, limit, remaining, taken, limits.map((one) => one.remaining)]);
          assert.deepEqual(seen(answers), seen(expected), `seed ${seed}, turn ${turn}: ${keys}`);
          for (const [i, { retryAfterMs }] of answers.entries()) {
            assert.equal(Math.sign(retryAfterMs), Math.sign(expected[i].retryAfterMs));
            assert.ok(Math.abs(retryAfterMs - expected[i].retryAfterMs) < 60_000, `${retryAfterMs}`); // asked a little later
          }
        }
      }
    });
  }

  it("200 callers of one hot key: a twentieth of the commands at most", async () => {
    const api = createLimiter({ client: counted, algorithm: "fixed", limits: { limit: 12_345, window: "3650d" }, timeoutMs: 60_000, coalesce: true });
    const before = sent;
    let allowed = 0;
    let left = 20_000;
    await Promise.all(Array.from({ length: 200 }, async () => {
      while (left-- > 0) if ((await api.hit("coalesce:hot")).allowed) allowed += 1;
    }));
    assert.equal(allowed, 12_345);
    assert.ok(sent - before <= 1000, `${sent - before} commands`);
  });

  it("Redis away: each has the verdict of `unavailable`", async () => {
    const api = createLimiter({ client: () => Promise.reject(new Error("away")), algorithm: "fixed", limits: { limit: 5, window: "1h" }, coalesce: true, unavailable: "closed", onError() {} });
    const verdicts = await Promise.all([1, 2, 3].map(() => api.hit("k")));
    assert.ok(verdicts.every(({ allowed, error }) => !allowed && error));
    await assert.rejects(api.hit(undefined), TypeError);
  });
});
