// Policies, deny lists, statistics and what a key holds, through each client, on one server and on a cluster.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Cluster, Redis } from "ioredis";
import { createAdmin, createLeaser, createLimiter } from "ratelimit-client";
import { createClient, createCluster } from "redis";
import { clusterPort, port } from "./servers.js";

const clients = {
  "node-redis RESP2": async () => await createClient({ RESP: 2, socket: { port } }).connect(),
  "node-redis RESP3": async () => await createClient({ RESP: 3, socket: { port } }).connect(),
  ioredis: async () => new Redis(port),
  "node-redis cluster": async () => await createCluster({ rootNodes: [{ socket: { port: clusterPort } }] }).connect(),
  "ioredis cluster": async () => new Cluster([{ host: "127.0.0.1", port: clusterPort }]),
};

for (const [name, open] of Object.entries(clients)) {
  describe(name, () => {
    const own = `admin:${name}`;
    let client;
    let admin;
    before(async () => {
      client = await open();
      admin = createAdmin({ client, timeoutMs: 60_000 });
    });
    after(() => (client.disconnect ?? client.destroy).call(client));
    const limiter = (options) => createLimiter({ client, algorithm: "sliding", limits: { limit: 5, window: "1h" }, timeoutMs: 60_000, ...options });

    it("policies", async () => {
      const lasting = { algorithm: "sliding", limits: [{ limit: 30, window: "1d" }, { limit: 5, window: "1h" }] };
      const bucket = { algorithm: "bucket", limits: { capacity: 10, refill: 2, interval: "1s" } };
      const lease = { algorithm: "lease", limits: { limit: 3, ttl: "30s" } };
      const names = ["sliding", "bucket", "lease"].map((kind) => `${own}:${kind}`);
      for (const [i, policy] of [lasting, bucket, lease].entries()) {
        assert.equal(await admin.policies.get(names[i]), undefined);
        await admin.policies.set(names[i], policy);
        assert.deepEqual(await admin.policies.get(names[i]), policy);
      }
      // Every node holds it: whichever key is asked for.
      const api = limiter({ policy: names[0] });
      for (const key of ["a", "b", "c", "d", "e", "f"]) assert.equal((await api.hit(`${own}:${key}`)).limits.length, 2);
      await admin.policies.set(names[0], { algorithm: "sliding", limits: { limit: 1, window: "1h" } }, { ttl: "1h" });
      const { endsAfterMs, ...rest } = await admin.policies.get(names[0]);
      assert.ok(endsAfterMs > 3_500_000 && endsAfterMs <= 3_600_000);
      assert.deepEqual(rest, { algorithm: "sliding", limits: { limit: 1, window: "1h" }, lasting });
      assert.deepEqual((await admin.policies.list()).get(names[1]), bucket);
      await limiter({ policy: names[1] }).hit(`${own}:other`);
      if (!name.includes("cluster")) assert.equal((await admin.policies.get(names[1])).mismatches, 1); // else of whichever node
      assert.equal(await admin.policies.delete(...names, `${own}:none`), 3);
      assert.equal(await admin.policies.get(names[0]), undefined);
      await assert.rejects(admin.policies.set("", lease), { name: "TypeError" });
      await assert.rejects(admin.policies.set("p", { algorithm: "sliding", limits: { limit: 1, window: "1mo" } }), /policy\.limits\[0\]\.window/);
    });

    it("policies that are tried", async () => {
      const [tried, first, second] = [3, 2, 1].map((limit) => ({ algorithm: "sliding", limits: { limit, window: "1h" } }));
      const policy = `${own}:tried`;
      await admin.statistics.reset(policy);
      await admin.policies.shadow(policy, first, { ttl: "1h" });
      const { shadow, ...alone } = await admin.policies.get(policy);
      assert.deepEqual(alone, {});
      const { endsAfterMs, ...rest } = shadow;
      assert.ok(endsAfterMs > 3_500_000 && endsAfterMs <= 3_600_000);
      assert.deepEqual(rest, first);
      assert.deepEqual((await admin.policies.list()).get(policy).shadow.limits, first.limits);
      await admin.policies.set(policy, tried);
      await admin.policies.shadow(policy, second);
      assert.deepEqual(await admin.policies.get(policy), { ...tried, shadow: second });
      const api = limiter({ prefix: policy, policy });
      for (const key of ["a", "b", "c", "d"]) for (let hit = 0; hit < 3; hit++) assert.equal((await api.hit(key)).allowed, true);
      const { allowed, denied, shadowDenied, mostShadowDenied, hours, days } = await admin.statistics.get(policy);
      assert.deepEqual([allowed, denied, shadowDenied], [12, 0, 8]);
      assert.deepEqual(mostShadowDenied.map(({ id, count }) => [id, count]).sort(), ["a", "b", "c", "d"].map((key) => [`${policy}:${key}`, 2]));
      for (const rows of [hours, days]) assert.deepEqual([rows.reduce((sum, row) => sum + row.allowed, 0), rows.reduce((sum, row) => sum + row.shadowDenied, 0)], [12, 8]);
      assert.ok((await admin.statistics.total()).algorithms.sliding.shadowDenied >= 8);
      assert.deepEqual([await admin.policies.endShadow(policy), await admin.policies.endShadow(policy)], [true, false]);
      assert.deepEqual(await admin.policies.get(policy), tried);
      assert.equal(await admin.policies.delete(policy), 1);
      await assert.rejects(admin.policies.shadow(policy, { algorithm: "lease", limits: { limit: 3, ttl: "30s" } }), { name: "RefusedError" });
    });

    it("deny lists", async () => {
      await admin.denyLists.drop(own);
      assert.equal(await admin.denyLists.add(own, ["192.0.2.0/24", "eve"]), 2);
      assert.equal(await admin.denyLists.add(own, ["bob"], { ttl: "1h" }), 1);
      assert.deepEqual(await admin.denyLists.has(own, ["192.0.2.7", "alice", "bob"]), [true, false, true]);
      const entries = new Map();
      for await (const [value, endsAfterMs] of admin.denyLists.entries(own)) entries.set(value, endsAfterMs);
      assert.deepEqual([...entries.keys()].sort(), ["192.0.2.0/24", "bob", "eve"]);
      assert.ok(entries.get("eve") === undefined && entries.get("bob") > 3_500_000);
      assert.equal((await admin.denyLists.list()).get(own), 3);
      for (const key of ["a", "b", "c", "d"]) {
        assert.equal((await limiter().hit(`${own}:deny:${key}`, { deny: { list: own, values: ["eve"] } })).deniedValue, "eve");
      }
      assert.equal(await admin.denyLists.delete(own, ["eve", "nobody"]), 1);
      await admin.denyLists.rename(own, `${own}:2`);
      assert.deepEqual([await admin.denyLists.drop(own), await admin.denyLists.drop(`${own}:2`)], [false, true]);
      await assert.rejects(admin.denyLists.rename(own, "other"), { name: "RefusedError", code: "ERR" });
    });

    it("statistics, of a cluster the sum", async () => {
      await admin.statistics.reset(own);
      const api = limiter({ prefix: `${own}:stats`, limits: { limit: 1, window: "1h" }, policy: own });
      const keys = ["a", "b", "c", "d", "e", "f", "g", "h"];
      for (const key of keys) for (let hit = 0; hit < 2; hit++) await api.hit(key);
      const { allowed, denied, denyListed, mostAllowed, mostDenied, hours, ...statistics } = await admin.statistics.get(own);
      assert.deepEqual([allowed, denied, denyListed], [8, 8, 0]);
      for (const top of [mostAllowed, mostDenied]) assert.deepEqual(top.map(({ id }) => id).sort(), keys.map((key) => `${own}:stats:${key}`));
      assert.deepEqual(mostAllowed[0].count, 1);
      for (const lately of [statistics.recentlyAllowed, statistics.recentlyDenied]) {
        assert.deepEqual(lately.map(({ id }) => id).sort(), keys.map((key) => `${own}:stats:${key}`));
        for (const { thisHour, hourBefore } of lately) assert.equal(thisHour + hourBefore, 1); // the clock's hour may end between the two
      }
      assert.deepEqual(statistics.recentlyShadowDenied, []);
      assert.equal(hours.reduce((sum, hour) => sum + hour.denied, 0), 8);
      const total = await admin.statistics.total();
      assert.ok(total.names.includes(own) && total.allowed >= 8 && total.algorithms.sliding.denied >= 8 && total.algorithms.lease.denied >= 0);
      assert.ok(total.mostDenyListed.some(({ id }) => id === "eve"));
      assert.ok(total.recentlyDenyListed.some(({ id, thisHour, hourBefore }) => id === "eve" && thisHour + hourBefore > 0));
      await admin.statistics.reset(own);
      assert.equal(await admin.statistics.get(own), undefined);
    });

    it("what a key holds", async () => {
      await limiter({ prefix: own, block: "1h", limits: [{ limit: 1, window: "1h" }, { limit: 9, window: "1d" }] }).hit("info", { cost: 1 });
      const info = await admin.info(`${own}:info`);
      assert.equal(info.algorithm, "sliding");
      assert.deepEqual(info.limits.map(({ limit, window, used, remaining }) => [limit, window, used, remaining]), [[1, "1h", 1, 0], [9, "1d", 1, 8]]);
      assert.ok(info.limits[0].resetAfterMs > 3_500_000);
      await limiter({ prefix: own, block: "1h", limits: { limit: 1, window: "1h" } }).hit("info");
      assert.ok((await admin.info(`${own}:info`)).block.leftMs > 3_500_000);
      await limiter({ prefix: own, block: "1h", limits: { limit: 1, window: "1h" } }).block("info", "2h");
      assert.ok((await admin.info(`${own}:info`)).blockByOrder.leftMs > 7_100_000);
      const { id } = await createLeaser({ client, prefix: own, limit: 2, ttl: "10m", timeoutMs: 60_000 }).acquire("leased");
      const { limits, leases } = await admin.info(`${own}:leased`);
      assert.deepEqual([limits[0].ttl, leases.map((lease) => [lease.id, lease.cost])], ["10m", [[id, 1]]]);
      assert.equal(await admin.info(`${own}:none`), undefined);
    });
  });
}

it("Redis away is an error, for nothing stands in for it", async () => {
  await assert.rejects(createAdmin({ client: new Redis({ port: 1, lazyConnect: true, retryStrategy: null }).on("error", () => {}) }).policies.list(), /no connection to Redis/);
  await assert.rejects(createAdmin({ client: () => Promise.reject(new Error("NOPERM no right")) }).statistics.total(), { name: "RefusedError", code: "NOPERM" });
});

it("statistics of a server that does not tell who was lately", async () => {
  const client = async () => ["allowed", 1, "denied", 0, "most_allowed", [["a", 1, 0]], "most_denied", [], "hours", [], "days", []];
  const { mostAllowed, recentlyAllowed, recentlyDenied } = await createAdmin({ client }).statistics.get("old");
  assert.deepEqual([mostAllowed, recentlyAllowed, recentlyDenied], [[{ id: "a", count: 1, error: 0 }], [], []]);
});
