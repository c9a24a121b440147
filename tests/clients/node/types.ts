// What must and must not type-check for those who use the package: run by tsc --strict, never executed.

import { Ratelimit } from "@upstash/ratelimit";
import { Redis as UpstashRedis } from "@upstash/redis";
import { Cluster, Redis } from "ioredis";
import { byUser, createLeaser, createLimiter, hitAll, presets, rateLimit, spend, withRateLimit, type Verdict } from "ratelimit-client";
import { localEngine } from "ratelimit-client/local";
import { restClient, restHandler } from "ratelimit-client/rest";
import { nativeAlgorithms } from "ratelimit-client/upstash";
import { createServer } from "node:http";
import { createClient, createCluster } from "redis";

const client = createClient();
const limits = { limit: 5, window: "15m" } as const;

// Every client.
createLimiter({ client, algorithm: "sliding", limits });
createLimiter({ client: createClient({ RESP: 2 }), algorithm: "sliding", limits });
createLimiter({ client: createCluster({ rootNodes: [] }), algorithm: "sliding", limits });
createLimiter({ client: new Redis(), algorithm: "sliding", limits });
createLimiter({ client: new Cluster([]), algorithm: "sliding", limits });
createLimiter({ client: new UpstashRedis({ url: "https://x", token: "y" }), algorithm: "sliding", limits });
createLimiter({ client: restClient({ url: "https://x", token: "y" }), algorithm: "sliding", limits });
createLimiter({ client: localEngine({ now: () => 0, maxKeys: 10 }), algorithm: "sliding", limits });
createLimiter({ client, algorithm: "sliding", limits, unavailable: "local", instances: 4, maxKeys: 1000 });
// @ts-expect-error leases are not counted locally
createLeaser({ client, limit: 1, ttl: "1s", unavailable: "local" });
// @ts-expect-error misspelt
localEngine({ maxkeys: 10 });
createLimiter({ client: async (args: string[]) => args, algorithm: "sliding", limits });
const api = createLimiter({ client, ...presets.login });
restHandler({ client, token: "0123456789abcdef", prefix: "api:" });

// One options object, whose mistakes are errors here.
// @ts-expect-error misspelt
createLimiter({ client, algorithm: "sliding", limits, windw: "1s" });
// @ts-expect-error no such algorithm
createLimiter({ client, algorithm: "token", limits });
// @ts-expect-error a bucket has a capacity
createLimiter({ client, algorithm: "bucket", limits });
// @ts-expect-error a number without a unit
createLimiter({ client, algorithm: "fixed", limits: { limit: 5, window: "60" } });
// @ts-expect-error a window of the calendar is for fixed windows
createLimiter({ client, algorithm: "sliding", limits: { limit: 5, window: "1mo" } });
createLimiter({ client, algorithm: "fixed", limits: { limit: 5, window: "1mo@15,Europe/Berlin" } });
// @ts-expect-error no client
createLimiter({ algorithm: "sliding", limits });
// @ts-expect-error a key that may not be there
void api.hit(undefined);
// @ts-expect-error misspelt
void api.hit("k", { costs: 2 });
void (async (): Promise<number> => api.block("k", "30s"))();
void api.block("k", "0");
// @ts-expect-error a number without a unit
void api.block("k", 30);
void api.hit("k", { id: "req-1", retry: 2 });
// @ts-expect-error a look is charged nothing
void api.peek("k", { id: "req-1" });
// @ts-expect-error of several keys, an id would be passed over
void hitAll([{ limiter: api, key: "k", id: "req-1" }]);
// @ts-expect-error a user that may not be there
byUser(undefined as string | undefined);

// What the model answers keeps its type.
async function spending(): Promise<string> {
  const spent = await spend(api, byUser(1), { estimate: 900, call: async () => ({ text: "hello", tokens: 5 }), used: ({ tokens }) => tokens });
  // @ts-expect-error there may be no result
  spent.result.text;
  return spent.allowed ? spent.result.text : `in ${spent.verdict.retryAfterMs} ms`;
}
void spending;

async function several(): Promise<readonly Verdict[]> {
  return (await hitAll([{ limiter: api, key: "a" }, { limiter: api, key: "b", cost: 2 }])).keys;
}
void several;

// In front of handlers.
const guard = rateLimit((req: import("node:http").IncomingMessage) => api.hit(req.socket.remoteAddress ?? "unknown"));
createServer((req, res) => void guard(req, res, () => res.end("hello")));
export const GET = withRateLimit(
  () => api.hit("k"),
  async (_request: Request, { params }: { params: Promise<{ id: string }> }) => Response.json(await params),
);

// Under @upstash/ratelimit: the README's example.
const native = nativeAlgorithms(client);
const limiter = native.slidingWindow(20, "10 s");
const ratelimit = new Ratelimit({ redis: limiter.redis, limiter, prefix: "api" });
const { success, remaining }: { success: boolean; remaining: number } = await ratelimit.limit("alice");
void [success, remaining];
new Ratelimit({ redis: new UpstashRedis({ url: "https://x", token: "y" }), limiter: native.tokenBucket(1, "1 h", 5), dynamicLimits: true });
