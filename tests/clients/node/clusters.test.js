// A cluster of which one primary is silent: the others' keys notice nothing, and its own are counted again soon after.

import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLimiter } from "ratelimit-client";
import { createClient } from "redis";
import { clusters, owner, TAG } from "./openers.js";
import { Proxy } from "./proxy.js";
import { clusterPort, until } from "./servers.js";

const OTHER = "{b}";
const PATIENT_MS = 30_000;

it("slots are the server's", async (t) => {
  const node = await createClient({ socket: { port: clusterPort } }).connect();
  t.after(() => node.close());
  const { slotOf } = await import(new URL("slot.js", import.meta.resolve("ratelimit-client")));
  for (const key of ["", "a", "user:7", "{a}", "{a}:x", "x{a}y{b}", "{}a", "a{}{b}", "{a", "a}b{c}", "äöü€😀", "{ä€}", "a".repeat(5000)]) {
    assert.equal(slotOf(key), await node.sendCommand(["CLUSTER", "KEYSLOT", key]), JSON.stringify(key));
  }
});

for (const [name, open] of Object.entries(clusters)) {
  describe(name, { timeout: 240_000 }, () => {
    const behind = async (t, options) => {
      const to = await owner();
      const proxy = await Proxy.to(to);
      t.after(() => proxy.close());
      const [client, close] = await open(proxy.port, to);
      t.after(close);
      const limiter = (more) => createLimiter({ client, prefix: `clusters:${name}`, algorithm: "fixed", limits: { limit: 1000, window: "3650d" }, onError() {}, ...options, ...more });
      return { proxy, limiter };
    };
    /** Answered by the server again: a few hits, not the whole time that is waited for. */
    const back = (api, key, verdict) => until(async () => !(verdict = await api.hit(key, { cost: 0 })).error, () => verdict?.error);

    it("the first hits of a process are all counted, however many nodes are to be connected to", async (t) => {
      const { limiter } = await behind(t);
      const keys = Array.from({ length: 100 }, (_, i) => `cold:${i}`);
      const api = limiter({ timeoutMs: PATIENT_MS });
      const verdicts = await Promise.all(keys.flatMap((key) => [api.hit(key), api.hit(key), api.hit(key)]));
      assert.deepEqual(verdicts.filter(({ error }) => error), []);
    });

    it("one primary falls silent: hits on the others are answered all the while, and its own once it speaks", async (t) => {
      assert.notEqual(await owner(OTHER), await owner());
      const { proxy, limiter } = await behind(t);
      const [own, others] = [limiter({ timeoutMs: 300 }), limiter({ timeoutMs: PATIENT_MS })];
      await back(own, `${TAG}k`);
      await back(others, `${OTHER}k`);
      proxy.isSilent = true;
      let hits = 0;
      const failed = [];
      for (let lost = 0; lost < 8; ) {
        const isLost = own.hit(`${TAG}k`).then(({ error }) => error !== undefined);
        let isOver = false;
        isLost.then((yes) => { lost += yes; isOver = true; });
        while (!isOver) {
          hits += 1;
          const { error } = await others.hit(`${OTHER}k`);
          if (error) failed.push(error);
        }
      }
      assert.ok(hits > 0);
      assert.deepEqual(failed, []);
      // What was sent into the silence is not counted later: it reached nobody, and is not sent again.
      proxy.isSilent = false;
      await back(own, `${TAG}k`);
      assert.equal((await limiter({ timeoutMs: PATIENT_MS }).peek(`${TAG}k`, { cost: 0 })).remaining, 1000);
    });

    it("one primary is silent from the start: hits on the others are answered, and its own once it speaks", async (t) => {
      const { proxy, limiter } = await behind(t);
      proxy.isSilent = true;
      const [own, others] = [limiter({ timeoutMs: 300 }), limiter({ timeoutMs: PATIENT_MS })];
      for (let hit = 0; hit < 5; hit++) {
        const [lost, sound] = await Promise.all([own.hit(`${TAG}start`), others.hit(`${OTHER}start`)]);
        assert.ok(lost.error);
        assert.equal(sound.error, undefined);
      }
      proxy.isSilent = false;
      await back(own, `${TAG}start`);
    });
  });
}
