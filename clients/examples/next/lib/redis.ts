// One connection for the whole process, however many bundles Next.js makes of it. RATELIMIT_CLIENT=ioredis takes the
// other client. Nothing is queued while Redis is away: it would be counted later.

import { Redis } from "ioredis";
import type { Send } from "ratelimit-client";
import { createClient } from "redis";

const url = process.env.REDIS_URL ?? "redis://127.0.0.1:6379";

function connect(): Send {
  if (process.env.RATELIMIT_CLIENT === "ioredis") {
    const client = new Redis(url, { maxRetriesPerRequest: 0 });
    client.on("error", (error) => console.error("Redis:", error.message));
    return ([command = "", ...args]) => client.call(command, ...args);
  }
  const client = createClient({ url, disableOfflineQueue: true });
  client.on("error", (error: Error) => console.error("Redis:", error.message));
  const connected = client.connect();
  return async (args) => {
    await connected; // as long as the limiter's own deadline lets it
    return client.sendCommand(args);
  };
}

const shared = globalThis as { ratelimitSend?: Send };

/** Connects with the first command: `next build` has no Redis. */
export const send: Send = (args, key) => (shared.ratelimitSend ??= connect())(args, key);
