// What each store of ours is made with: a Redis of the test's own, a prefix that nobody had, and patience.

import { createRequire } from "node:module";

// Not by `import`: what their tests know by that name may be a file that lies here.
export const { createClient } = createRequire(import.meta.url)("redis");
export const url = `redis://127.0.0.1:${process.env.RATELIMIT_PORT}`;
export const client = await createClient({ url }).connect();
client.unref();

let made = 0;
export const options = () => ({ client, prefix: `theirs:${process.pid}:${(made += 1)}`, timeoutMs: 60_000 });
