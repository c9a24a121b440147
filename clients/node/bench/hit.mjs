// What a hit costs the client's process, beside the bare command by the same client: CPU time, interleaved in one run, so
// that a busy machine is busy for both. The servers are yours:
//   REDIS_PORT=6379 node clients/node/bench/hit.mjs [hits a round] [rounds]
// Columns: us of CPU a hit, the median of the rounds, and its ratio to the bare command as the client's page shows it.

import { Redis } from "ioredis";
import { createLimiter } from "ratelimit-client";
import { createClient } from "redis";

const port = Number(process.env.REDIS_PORT ?? 6379);
const [hits = 20_000, rounds = 7] = process.argv.slice(2).map(Number);
const AT_ONCE = 50;

async function cpu(hit) {
  const { user, system } = process.cpuUsage();
  let left = hits;
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left-- > 0) await hit(`bench:${left % 1000}`);
  }));
  const used = process.cpuUsage({ user, system });
  return (used.user + used.system) / hits;
}
const median = (values) => values.sort((a, b) => a - b)[values.length >> 1];

const nodeRedis = await createClient({ socket: { port } }).connect();
const ioredis = new Redis(port);
const limits = { algorithm: "sliding", limits: { limit: 1_000_000, window: "1m" }, timeoutMs: 60_000 };
const words = ["1000000", "1m"];
const plain = createLimiter({ client: nodeRedis, ...limits });
const overIoredis = createLimiter({ client: ioredis, ...limits });

const contestants = {
  "node-redis": {
    "bare sendCommand": (key) => nodeRedis.sendCommand(["RL.SLIDING", key, ...words]),
    "bare, { timeout: undefined }": (key) => nodeRedis.sendCommand(["RL.SLIDING", key, ...words], { timeout: undefined }),
    "limiter.hit": (key) => plain.hit(key),
  },
  ioredis: {
    "bare call": (key) => ioredis.call("RL.SLIDING", key, ...words),
    "limiter.hit": (key) => overIoredis.hit(key),
  },
};

for (const [client, rivals] of Object.entries(contestants)) {
  const seen = Object.fromEntries(Object.keys(rivals).map((name) => [name, []]));
  for (const hit of Object.values(rivals)) await cpu(hit); // warm
  for (let round = 0; round < rounds; round++) {
    for (const [name, hit] of Object.entries(rivals)) seen[name].push(await cpu(hit));
  }
  const bare = median(Object.values(seen)[0]);
  for (const [name, values] of Object.entries(seen)) {
    const each = median(values);
    console.log(`${client.padEnd(11)} ${name.padEnd(30)} ${each.toFixed(1).padStart(6)} us  ${(each / bare).toFixed(2)}`);
  }
}
nodeRedis.destroy();
ioredis.disconnect();
