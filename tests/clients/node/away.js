// One of several processes that hit the same keys, whose parent says when: away.test.js.

import { createLimiter } from "ratelimit-client";
import "ratelimit-client/local";
import { createClient } from "redis";
import { setTimeout as pause } from "node:timers/promises";

const { port, ...options } = JSON.parse(process.argv[2]);
const client = createClient({ socket: { port, reconnectStrategy: 50 } });
client.on("error", () => undefined);
await client.connect();
const limiter = createLimiter({ client, algorithm: "sliding", timeoutMs: 2000, unavailable: "local", onError: () => undefined, ...options });

/** By key: what Redis has let through, what this process has, and how often it was neither. */
const counts = {};
let keys = [];
let hits = 0;

async function hit(key) {
  const count = (counts[key] ??= { redis: 0, local: 0, denied: 0, errors: 0 });
  try {
    const { allowed, local, error } = await limiter.hit(key);
    count[error ? "errors" : !allowed ? "denied" : local ? "local" : "redis"] += 1;
  } catch {
    count.errors += 1;
  }
  hits += 1;
}

process.on("message", async ({ hammer, once, report, end }) => {
  if (hammer) keys = hammer;
  if (once) await Promise.all(once.map(hit));
  if (report || once) process.send({ counts, hits });
  if (end) process.exit();
});
process.send({ counts, hits });
for (;;) {
  for (const key of keys) void hit(key);
  await pause(4);
}
