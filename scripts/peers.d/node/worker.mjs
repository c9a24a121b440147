// One row of Node's: `node worker.mjs ROW`, for ../workers.py, which says what the lines mean.

import { createInterface } from "node:readline";
import { rows } from "./rows.mjs";

const [name] = process.argv.slice(2);
const row = await rows[name]({ port: Number(process.env.REDIS_PORT), host: "127.0.0.1" });
const WINDOW_MS = 60_000;
const limiters = new Map();

/** A limiter is made once. */
async function limiterOf(limit, windowMs) {
  const given = `${limit} ${windowMs}`;
  if (!limiters.has(given)) limiters.set(given, await row.limiter(limit, windowMs));
  return limiters.get(given);
}

/** So many hits, `atOnce` of them under way at a time. */
async function hits({ hits, at_once: atOnce, keys, limit, prefix }) {
  const hit = await limiterOf(limit, WINDOW_MS);
  let allowed = 0;
  let failed = 0;
  let left = hits;
  const caller = async () => {
    while (left-- > 0) {
      try {
        if (await hit(`${prefix}${left % keys}`)) allowed += 1;
      } catch {
        failed += 1;
      }
    }
  };
  const began = performance.now();
  const spent = process.cpuUsage();
  if (row.load) allowed = await row.load({ hits, atOnce, keys, prefix, limit, windowMs: WINDOW_MS });
  else await Promise.all(Array.from({ length: atOnce }, caller));
  const { user, system } = process.cpuUsage(spent);
  return { hits, allowed, failed, cpu_s: (user + system) / 1e6, wall_s: (performance.now() - began) / 1000 };
}

const until = (at) => new Promise((resolve) => setTimeout(resolve, Math.max(0, at - Date.now())));

/** Hits on one key at these times after `begin_ms`: when each that was admitted was sent, and when its answer was there. */
async function burst({ begin_ms: begin, bursts, limit, window_ms: windowMs, key }) {
  const hit = await limiterOf(limit, windowMs);
  const admitted = [];
  let failed = 0;
  const once = async () => {
    const sent = performance.now();
    try {
      if (await hit(key)) admitted.push([sent, performance.now()]);
    } catch {
      failed += 1;
    }
  };
  for (const [at, count] of bursts) {
    await until(begin + at);
    for (let left = count; left > 0; left -= 10) await Promise.all(Array.from({ length: Math.min(left, 10) }, once));
  }
  return { admitted, failed };
}

const operations = { hits, burst };
console.log(JSON.stringify({ ready: true }));
for await (const line of createInterface({ input: process.stdin })) {
  const { op, ...asked } = JSON.parse(line);
  console.log(JSON.stringify(await operations[op](asked)));
}
process.exit(0);
