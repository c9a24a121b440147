// Algorithms for @upstash/ratelimit that run on RL.*: one command and one key a hit, through any client.
//
//   import { Ratelimit } from "@upstash/ratelimit";
//   import { createClient } from "redis";
//   import { nativeAlgorithms } from "./upstash-native.js";
//
//   const client = await createClient().connect();
//   const native = nativeAlgorithms((args) => client.sendCommand(args));
//   const limiter = native.slidingWindow(20, "10 s");
//   const ratelimit = new Ratelimit({ redis: limiter.redis, limiter, prefix: "api" });
//   const { success, limit, remaining, reset, reason } = await ratelimit.limit("alice");
//
// `limiter.redis` answers what the library itself asks of its client: dynamic limits become a policy named like the
// prefix, and the deny list of enableProtection becomes RL.DENY, ranges included. `redis` may be any client where
// neither is used. Analytics are RL.STATS (pass { policy: name } to count under a name), so leave `analytics` off.

const unitMs = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** The library's durations may have a space and a fraction: "10 s", "1.5m". */
function durationMs(text) {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s?(ms|s|m|h|d|w)$/.exec(text) ?? [];
  const ms = Math.round(Number(amount) * unitMs[unit]);
  if (!(ms >= 1)) throw new Error(`Unable to parse window size: ${text}`);
  return ms;
}

/** @param {(args: string[]) => Promise<any>} send  as in limiter.js */
export function nativeAlgorithms(send) {
  const call = (...args) => send(args.flat().map(String));

  /**
   * @param {string} name  FIXED, SLIDING or BUCKET
   * @param {(limit: number) => (number | string)[]} shape  a limit in the command's words
   * @param {{ policy?: string, deny?: string }} options  policy: its limits replace the ones given here. deny: a list
   *   that the identifier is looked up in, in the same round trip
   */
  function algorithm(name, limit, windowMs, shape, { policy, deny } = {}) {
    const policyOf = (ctx) => {
      const dynamic = ctx.dynamicLimits ? ctx.prefix : undefined;
      if (dynamic && ctx.redis !== redis) throw new Error("dynamicLimits needs `redis: limiter.redis`");
      return policy ?? dynamic;
    };
    const words = (ctx) => [...shape(limit), ...(policyOf(ctx) ? ["POLICY", policyOf(ctx)] : [])];

    // What the library keeps under `prefix:dynamic:global` is a policy named like the prefix.
    const policyName = (key) => policy ?? key.replace(/:dynamic:global$/, "");
    const redis = {
      set: (key, value) => call("RL.POLICY", "SET", policyName(key), name, shape(value)),
      del: (key) => call("RL.POLICY", "DEL", policyName(key)),
      get: async (key) => (await call("RL.POLICY", "GET", policyName(key)))?.[1] ?? null, // [algorithm, limit, window]
      // The one script that it sends looks up members in `prefix:denyList:all`, and asks for the state of a list of
      // addresses that it can fetch by itself. -1: that list is switched off.
      eval: async (_script, [list], members) => [await call("RL.DENY", "HAS", list, members), -1],
    };

    const native = () => ({
      async limit(ctx, key, rate = 1) {
        const cached = rate > 0 ? ctx.cache?.isBlocked(key) : undefined;
        if (cached?.blocked) return answer(false, limit, 0, cached.reset, { reason: "cacheBlock" });

        const denyWords = deny ? ["DENY", deny, key.slice(ctx.prefix.length + 1)] : [];
        const reply = await call(`RL.${name}`, key, words(ctx), rate === 1 ? [] : ["COST", rate], denyWords);
        const [allowed, inForce, remaining, retryAfterMs, resetAfterMs] = reply;
        const deniedValue = deny ? reply.at(-1) : null;
        if (deniedValue !== null) return answer(false, inForce, 0, 0, { reason: "denyList", deniedValue });

        // `reset` is when to come back: after a denial, the moment at which this same hit fits. A cost that never
        // fits has none; one window on is as good a time as any to look again.
        const waitMs = allowed ? resetAfterMs : retryAfterMs < 0 ? windowMs : retryAfterMs;
        const reset = Date.now() + waitMs;
        // A greater rate may be denied where 1 is not: only a denied 1 blocks the identifier.
        if (!allowed && rate === 1) ctx.cache?.blockUntil(key, reset);
        if (rate < 0) ctx.cache?.pop(key);
        return answer(allowed === 1, inForce, remaining, reset);
      },

      async getRemaining(ctx, key) {
        const [, inForce, remaining, , resetAfterMs] = await call("RL.PEEK", name, key, words(ctx), "COST", 0);
        return { remaining, reset: Date.now() + resetAfterMs, limit: inForce };
      },

      async resetTokens(ctx, key) {
        ctx.cache?.pop(key);
        await call("DEL", key);
      },
    });
    return Object.assign(native, { redis });
  }

  const answer = (success, limit, remaining, reset, extra) => ({
    success,
    limit,
    remaining,
    reset,
    pending: Promise.resolve(),
    ...extra,
  });

  return {
    fixedWindow(tokens, window, options) {
      const ms = durationMs(window);
      return algorithm("FIXED", tokens, ms, (limit) => [limit, `${ms}ms`], options);
    },
    slidingWindow(tokens, window, options) {
      const ms = durationMs(window);
      return algorithm("SLIDING", tokens, ms, (limit) => [limit, `${ms}ms`], options);
    },
    tokenBucket(refillRate, interval, maxTokens, options) {
      const ms = durationMs(interval);
      return algorithm("BUCKET", maxTokens, ms, (capacity) => [capacity, refillRate, `${ms}ms`], options);
    },
  };
}
