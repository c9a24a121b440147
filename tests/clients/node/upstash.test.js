// The real @upstash/ratelimit, with its algorithms replaced by the package's.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { MultiRegionRatelimit, Ratelimit } from "@upstash/ratelimit";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { nativeAlgorithms } from "ratelimit-client/upstash";
import { port } from "./servers.js";

const clients = {
  "node-redis": async () => {
    const client = await createClient({ socket: { port } }).connect();
    return { send: (args) => client.sendCommand(args), close: () => client.close() };
  },
  ioredis: async () => {
    const client = new Redis({ port });
    return { send: ([command, ...args]) => client.call(command, ...args), close: () => client.quit() };
  },
};

for (const [name, open] of Object.entries(clients)) {
  describe(`@upstash/ratelimit over ${name}`, () => {
    let client;
    let native;
    let sent = 0;
    before(async () => {
      client = await open();
      native = nativeAlgorithms((args) => {
        sent += 1;
        return client.send(args);
      });
    });
    after(() => client.close());
    const ratelimit = (limiter, prefix, config) =>
      new Ratelimit({ redis: limiter.redis, limiter, prefix: `${name}:${prefix}`, ...config });

    it("limit: success, limit, remaining, reset", async () => {
      for (const limiter of [native.fixedWindow(5, "3650 d"), native.slidingWindow(5, "15 m"), native.tokenBucket(1, "1 h", 5)]) {
        const api = ratelimit(limiter, `limit-${sent}`);
        for (let hit = 1; hit <= 6; hit++) {
          const { success, limit, remaining, reset, reason, pending } = await api.limit("alice");
          assert.deepEqual({ success, limit, remaining, reason }, { success: hit <= 5, limit: 5, remaining: Math.max(0, 5 - hit), reason: undefined });
          assert.ok(reset > Date.now());
          await pending;
        }
        assert.equal((await api.limit("bob")).success, true);
      }
    });

    it("the reset of a denial is when the hit fits, not when the bucket is full", async () => {
      const api = ratelimit(native.tokenBucket(1, "1 h", 5), "reset-of-a-denial");
      await api.limit("alice", { rate: 5 });
      const { success, reset } = await api.limit("alice");
      assert.equal(success, false);
      assert.ok(reset > Date.now() && reset <= Date.now() + 3_600_000);
    });

    it("one key and one command a hit", async () => {
      const before = sent;
      await ratelimit(native.slidingWindow(20, "10 s"), "one").limit("alice");
      assert.equal(sent - before, 1);
      assert.equal(await client.send(["TYPE", `${name}:one:alice`]), "ratelimit");
    });

    it("a custom rate takes more, and one that does not fit takes nothing", async () => {
      const api = ratelimit(native.slidingWindow(10, "15 m"), "rate");
      assert.equal((await api.limit("alice", { rate: 8 })).remaining, 2);
      const denied = await api.limit("alice", { rate: 5 });
      assert.deepEqual([denied.success, denied.remaining], [false, 2]);
      assert.equal((await api.limit("alice", { rate: 2 })).success, true);
    });

    it("a negative rate gives back, and unblocks the identifier", async () => {
      const api = ratelimit(native.fixedWindow(3, "3650 d"), "refund");
      await api.limit("alice", { rate: 3 });
      assert.equal((await api.limit("alice")).success, false);
      assert.equal((await api.limit("alice", { rate: -2 })).remaining, 2);
      assert.equal((await api.limit("alice")).remaining, 1);
    });

    it("getRemaining takes nothing", async () => {
      const api = ratelimit(native.slidingWindow(5, "15 m"), "remaining");
      assert.equal((await api.getRemaining("alice")).remaining, 5);
      await api.limit("alice");
      const { remaining, limit, reset } = await api.getRemaining("alice");
      assert.deepEqual([remaining, limit], [4, 5]);
      assert.ok(reset > Date.now());
    });

    it("resetUsedTokens", async () => {
      const api = ratelimit(native.slidingWindow(1, "15 m"), "reset");
      await api.limit("alice");
      assert.equal((await api.limit("alice")).success, false);
      await api.resetUsedTokens("alice");
      assert.equal((await api.limit("alice")).success, true);
    });

    it("blockUntilReady waits as long as is needed", async () => {
      const api = ratelimit(native.slidingWindow(2, "200 ms"), "wait");
      await api.limit("alice", { rate: 2 });
      const before = performance.now();
      assert.equal((await api.blockUntilReady("alice", 10_000)).success, true);
      assert.ok(performance.now() - before < 10_000);
    });

    it("blockUntilReady gives up at its timeout, also where it can never fit", async () => {
      for (const limit of [1, 0]) {
        const api = ratelimit(native.slidingWindow(limit, "15 m"), `give-up-${limit}`, { ephemeralCache: false });
        await api.limit("alice");
        const before = sent;
        assert.equal((await api.blockUntilReady("alice", 50)).success, false);
        assert.ok(sent - before <= 2, "it polled");
      }
    });

    it("a blocked identifier costs no round trip: reason cacheBlock", async () => {
      const api = ratelimit(native.slidingWindow(1, "15 m"), "cache");
      await api.limit("alice");
      await api.limit("alice");
      const before = sent;
      const { success, reason, remaining } = await api.limit("alice");
      assert.deepEqual([success, reason, remaining, sent - before], [false, "cacheBlock", 0, 0]);
    });

    it("a denied greater rate does not block a smaller one", async () => {
      const api = ratelimit(native.slidingWindow(5, "15 m"), "cache-rate");
      assert.equal((await api.limit("alice", { rate: 6 })).success, false);
      assert.equal((await api.limit("alice")).success, true);
    });

    it("dynamic limits are a policy: set, get, remove; seen by other tools too", async () => {
      for (const [limiter, shape] of [
        [native.slidingWindow(2, "15 m"), ["sliding", "5", "15m"]],
        [native.tokenBucket(1, "1 h", 2), ["bucket", "5", "1", "1h"]],
      ]) {
        const prefix = `dynamic-${shape[0]}`;
        const api = ratelimit(limiter, prefix, { dynamicLimits: true, ephemeralCache: false });
        await api.limit("alice", { rate: 2 });
        assert.equal((await api.limit("alice")).success, false);
        assert.deepEqual(await api.getDynamicLimit(), { dynamicLimit: null });
        await api.setDynamicLimit({ limit: 5 });
        assert.deepEqual(await api.getDynamicLimit(), { dynamicLimit: 5 });
        assert.deepEqual(await client.send(["RL.POLICY", "GET", `${name}:${prefix}`]), shape);
        const { success, limit, remaining } = await api.limit("alice");
        assert.deepEqual({ success, limit, remaining }, { success: true, limit: 5, remaining: 2 });
        assert.equal((await api.getRemaining("alice")).limit, 5);
        await api.setDynamicLimit({ limit: false });
        assert.equal((await api.limit("alice")).limit, 2);
      }
    });

    it("dynamic limits that another client keeps are read from it, as the library's own algorithms do", async () => {
      const kept = new Map();
      const redis = {
        get: async (key) => kept.get(key) ?? null,
        set: async (key, value) => kept.set(key, value),
        del: async (key) => kept.delete(key),
      };
      const api = new Ratelimit({ redis, limiter: native.slidingWindow(2, "15 m"), prefix: `${name}:foreign`, dynamicLimits: true, ephemeralCache: false });
      await api.limit("alice", { rate: 2 });
      assert.equal((await api.limit("alice")).success, false);
      await api.setDynamicLimit({ limit: 5 });
      const { success, limit, remaining } = await api.limit("alice");
      assert.deepEqual({ success, limit, remaining }, { success: true, limit: 5, remaining: 2 });
      assert.equal((await api.getRemaining("alice")).limit, 5);
      await api.setDynamicLimit({ limit: false });
      assert.equal((await api.limit("alice")).limit, 2);
    });

    it("analytics: told once what to do instead, and no error", async (t) => {
      const warn = t.mock.method(console, "warn", () => {});
      const api = ratelimit(native.slidingWindow(5, "15 m"), "analytics", { analytics: true });
      for (let hit = 0; hit < 3; hit++) await (await api.limit("alice")).pending;
      assert.ok(warn.mock.callCount() <= 1); // once a process
      for (const { arguments: said } of warn.mock.calls) assert.match(said.join(" "), /RL\.STATS/);
      await assert.rejects(api.analytics.getUsage(), /RL\.STATS/);
    });

    it("MultiRegionRatelimit and cachedFixedWindow are refused, with what to do instead", async () => {
      const limiter = native.slidingWindow(5, "15 m");
      const api = new MultiRegionRatelimit({ redis: [limiter.redis], limiter, prefix: `${name}:regions` });
      await assert.rejects(api.limit("alice"), /use Ratelimit/);
      assert.throws(() => native.cachedFixedWindow(5, "10 s"), /use fixedWindow/);
    });

    it("enableProtection looks at RL.DENY, ranges included: reason denyList", async () => {
      const prefix = "protected";
      const api = ratelimit(native.slidingWindow(5, "15 m"), prefix, { enableProtection: true });
      await client.send(["RL.DENY", "ADD", `${name}:${prefix}:denyList:all`, "203.0.113.0/24", `bad-bot-${name}`]);
      const byRange = await api.limit("alice", { ip: "203.0.113.9" });
      assert.deepEqual([byRange.success, byRange.reason, byRange.deniedValue], [false, "denyList", "203.0.113.9"]);
      const byAgent = await api.limit("alice", { ip: "198.51.100.1", userAgent: `bad-bot-${name}` });
      assert.deepEqual([byAgent.success, byAgent.deniedValue], [false, `bad-bot-${name}`]);
      assert.equal((await api.limit("alice", { ip: "198.51.100.1" })).success, true);
    });

    it("deny: the identifier is looked up in the same command, and nothing is charged", async () => {
      await client.send(["RL.DENY", "ADD", `${name}:blocked`, "mallory"]);
      const api = ratelimit(native.slidingWindow(5, "15 m", { deny: `${name}:blocked` }), "deny");
      const before = sent;
      const denied = await api.limit("mallory");
      assert.deepEqual([denied.success, denied.reason, denied.deniedValue, sent - before], [false, "denyList", "mallory", 1]);
      assert.equal((await api.getRemaining("mallory")).remaining, 5);
      assert.equal((await api.limit("alice")).success, true);
    });

    it("durations as the library writes them", async () => {
      assert.equal((await ratelimit(native.fixedWindow(5, "1.5 s"), "fraction").limit("alice")).limit, 5);
      assert.throws(() => native.fixedWindow(5, "10 parsecs"), /Unable to parse window size/);
    });
  });
}
