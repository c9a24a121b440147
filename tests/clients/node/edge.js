// What an edge function would be: the unmodified @upstash/redis and @upstash/ratelimit, and this package, over HTTP.
// rest.test.js runs it in Node, in the edge runtime that Next.js uses and in workerd.

import { Ratelimit } from "@upstash/ratelimit";
import { Redis } from "@upstash/redis/cloudflare";
import { createLimiter } from "ratelimit-client";
import { restClient } from "ratelimit-client/rest";
import { nativeAlgorithms } from "ratelimit-client/upstash";

export async function limited({ url, token, prefix }) {
  const redis = new Redis({ url, token, retry: { retries: 0 } });
  const limiter = nativeAlgorithms(redis).slidingWindow(2, "15 m");
  const library = new Ratelimit({ redis: limiter.redis, limiter, prefix: `${prefix}:library`, ephemeralCache: false, timeout: 60_000 });
  const own = createLimiter({ client: restClient({ url, token }), prefix: `${prefix}:own`, algorithm: "sliding", limits: { limit: 2, window: "15m" }, timeoutMs: 60_000 });
  const answers = { library: [], own: [] };
  for (let hit = 0; hit < 3; hit++) {
    const { success, remaining } = await library.limit("alice");
    answers.library.push([success, remaining]);
    const verdict = await own.hit("alice");
    answers.own.push([verdict.allowed, verdict.remaining]);
  }
  return answers;
}

export const answer = async (given) => Response.json(await limited(given));
