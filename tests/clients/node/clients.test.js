// The scenarios, pipelining, MULTI, concurrency and the cluster through node-redis and ioredis, on RESP2 and RESP3.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Cluster, Redis } from "ioredis";
import { createClient, createClientPool, createCluster } from "redis";
import { clusterPort, port, scenarios } from "./servers.js";

// One row a client: how to open it, send one command, send many at once, and send a transaction.
const clients = [2, 3].flatMap((RESP) => [
  {
    name: `node-redis RESP${RESP}`,
    async open() {
      const client = await createClient({ RESP, socket: { port } }).connect();
      return {
        send: (args) => client.sendCommand(args),
        // node-redis writes what is sent within one tick as one pipeline.
        pipeline: (commands) => Promise.all(commands.map((args) => client.sendCommand(args))),
        multi: (commands) => commands.reduce((multi, args) => multi.addCommand(args), client.multi()).exec(),
        close: () => client.close(),
      };
    },
  },
  {
    name: `ioredis RESP${RESP}`,
    async open() {
      const client = new Redis({ port, protocol: RESP });
      const values = (replies) => replies.map(([error, value]) => error ?? value);
      return {
        send: ([command, ...args]) => client.call(command, ...args),
        pipeline: async (commands) =>
          values(await commands.reduce((pipeline, args) => pipeline.call(...args), client.pipeline()).exec()),
        multi: async (commands) =>
          values(await commands.reduce((multi, args) => multi.call(...args), client.multi()).exec()),
        close: () => client.quit(),
      };
    },
  },
]);

/** Compares as scenarios.json says. */
function check(actual, expected, path) {
  if (Array.isArray(expected)) {
    assert.ok(Array.isArray(actual), `${path}: ${JSON.stringify(actual)} is not an array`);
    assert.equal(actual.length, expected.length, `${path}: ${JSON.stringify(actual)}`);
    expected.forEach((item, index) => check(actual[index], item, `${path}[${index}]`));
    return;
  }
  const range = typeof expected === "string" && /^(\d+)\.\.(\d+)$/.exec(expected);
  if (range) {
    assert.equal(typeof actual, "number", `${path}: ${JSON.stringify(actual)}`);
    assert.ok(actual >= Number(range[1]) && actual <= Number(range[2]), `${path}: ${actual} is not in ${expected}`);
  } else {
    assert.deepEqual(actual, expected, path);
  }
}

/** A map of RESP3, as whichever of an object, a Map or a flat array the client makes of it. */
function fields(reply) {
  if (reply instanceof Map) return reply;
  if (!Array.isArray(reply)) return new Map(Object.entries(reply));
  return new Map(reply.flatMap((item, index) => (index % 2 ? [] : [[item, reply[index + 1]]])));
}

async function run({ send }, steps, prefix) {
  for (const { send: words, reply, map, error } of steps) {
    const args = words.map((word) => word.replace("$", prefix));
    const said = args.join(" ");
    if (error !== undefined) {
      await assert.rejects(send(args), (refusal) => refusal.message.startsWith(error) || assert.fail(`${said}: ${refusal.message}`), said);
      continue;
    }
    const actual = await send(args);
    if (map === undefined) check(actual, reply, said);
    else for (const [name, value] of Object.entries(map)) check(fields(actual).get(name), value, `${said}: ${name}`);
  }
}

for (const { name, open } of clients) {
  describe(name, () => {
    const prefix = `${name.replace(" ", "-")}:`;
    let client;
    before(async () => (client = await open()));
    after(() => client.close());

    for (const scenario of scenarios) it(scenario.name, () => run(client, scenario.steps, prefix));

    it("a pipeline is answered in order", async () => {
      const hit = ["RL.FIXED", `${prefix}pipeline`, "5", "3650d"];
      const replies = await client.pipeline(Array(6).fill(hit));
      assert.deepEqual(replies.map(([allowed, , remaining]) => [allowed, remaining]), [[1, 4], [1, 3], [1, 2], [1, 1], [1, 0], [0, 0]]);
    });

    it("MULTI brings a reply for each command", async () => {
      const hit = ["RL.FIXED", `${prefix}multi`, "1", "3650d"];
      const replies = await client.multi([hit, ["RL.PEEK", "FIXED", ...hit.slice(1)], hit]);
      assert.deepEqual(replies.map(([allowed, limit, remaining]) => [allowed, limit, remaining]), [[1, 1, 0], [0, 1, 0], [0, 1, 0]]);
    });
  });
}

describe("concurrency", () => {
  const hit = (key) => ["RL.SLIDING", key, "100", "1h"];
  const allowed = (replies) => replies.filter(([allowed]) => allowed === 1).length;

  it("node-redis: a pool of 10 connections admits the limit and not one more", async (t) => {
    const pool = createClientPool({ socket: { port } }, { minimum: 10, maximum: 10 });
    await pool.connect();
    t.after(() => pool.close());
    const replies = await Promise.all(Array.from({ length: 400 }, () => pool.sendCommand(hit("pool:node-redis"))));
    assert.equal(allowed(replies), 100);
  });

  it("ioredis: 10 connections admit the limit and not one more", async (t) => {
    const pool = Array.from({ length: 10 }, () => new Redis({ port }));
    t.after(() => pool.forEach((client) => client.disconnect()));
    const replies = await Promise.all(Array.from({ length: 400 }, (_, i) => pool[i % 10].call(...hit("pool:ioredis"))));
    assert.equal(allowed(replies), 100);
  });
});

describe("cluster", () => {
  const keys = Array.from({ length: 60 }, (_, i) => i);
  const twice = async (send, prefix) => {
    const replies = await Promise.all(keys.flatMap((i) => [0, 1].map(() => send(["RL.FIXED", `${prefix}${i}`, "1", "3650d"]))));
    assert.equal(replies.filter(([allowed]) => allowed === 1).length, keys.length);
  };
  const mastersWithKeys = async (masters, dbsize) => {
    assert.equal(masters.length, 3);
    for (const master of masters) assert.ok((await dbsize(master)) > 0, "a primary got no key");
  };

  for (const RESP of [2, 3]) {
    it(`node-redis RESP${RESP}: every key is one command on one node`, async (t) => {
      const cluster = createCluster({ RESP, rootNodes: [{ socket: { port: clusterPort } }] });
      await cluster.connect();
      t.after(() => cluster.close());
      await twice((args) => cluster.sendCommand(args[1], false, args), `node-redis${RESP}:`);
      await mastersWithKeys(cluster.masters, async (master) => (await cluster.nodeClient(master)).dbSize());
    });

    it(`ioredis RESP${RESP}: every key is one command on one node`, async (t) => {
      const cluster = new Cluster([{ host: "127.0.0.1", port: clusterPort }], { redisOptions: { protocol: RESP } });
      t.after(() => cluster.disconnect());
      await twice(([command, ...args]) => cluster.call(command, ...args), `ioredis${RESP}:`);
      await mastersWithKeys(cluster.nodes("master"), (master) => master.dbsize());
    });
  }
});
