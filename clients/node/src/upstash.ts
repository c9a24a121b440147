// Algorithms for @upstash/ratelimit that run on RL.*: one command and one key a hit, through any client.
//
//   const native = nativeAlgorithms(client);                  // node-redis, ioredis, @upstash/redis, a function
//   const limiter = native.slidingWindow(20, "10 s");
//   const ratelimit = new Ratelimit({ redis: limiter.redis, limiter, prefix: "api" });
//
// `limiter.redis` answers what the library itself asks of its client: dynamic limits become a policy named like the
// prefix, and the deny list of enableProtection becomes RL.DENY, ranges included. With any other client as `redis`
// dynamic limits are read from it, as the library's own algorithms do: one GET more for each hit.

import type { Redis } from "@upstash/redis";
import { integer, members, text } from "./check.js";
import type { Client } from "./client.js";
import { Connection } from "./connection.js";

type Unit = "ms" | "s" | "m" | "h" | "d" | "w";
/** A duration as `@upstash/ratelimit` writes it. */
export type UpstashDuration = `${number} ${Unit}` | `${number}${Unit}`;

/** What goes with each of the algorithms. */
export interface NativeOptions {
  /** A policy of the server whose limits replace the ones given; statistics count under it. */
  readonly policy?: string;
  /** A deny list that the identifier is looked up in, in the same round trip. */
  readonly deny?: string;
}

interface Cache {
  isBlocked(identifier: string): { blocked: boolean; reset: number };
  blockUntil(identifier: string, reset: number): void;
  pop(key: string): void;
}

/** What the library hands its algorithms. */
export interface NativeContext {
  readonly redis: unknown;
  readonly prefix: string;
  readonly cache?: Cache;
  readonly dynamicLimits?: boolean;
}

/** What `@upstash/ratelimit` is answered. */
export interface NativeResponse {
  success: boolean;
  limit: number;
  remaining: number;
  reset: number;
  pending: Promise<unknown>;
  reason?: "cacheBlock" | "denyList";
  deniedValue?: string;
}

/** An algorithm for `new Ratelimit({ limiter })`. */
export interface NativeAlgorithm {
  (): {
    limit(context: NativeContext, identifier: string, rate?: number): Promise<NativeResponse>;
    getRemaining(context: NativeContext, identifier: string): Promise<{ remaining: number; reset: number; limit: number }>;
    resetTokens(context: NativeContext, identifier: string): Promise<void>;
  };
  /** To be given to the library as `redis`. It answers what the library asks, and is no client for anything else. */
  readonly redis: Redis;
}

/** What stands in the place of `Ratelimit.slidingWindow` and its like. */
export interface NativeAlgorithms {
  fixedWindow(tokens: number, window: UpstashDuration, options?: NativeOptions): NativeAlgorithm;
  slidingWindow(tokens: number, window: UpstashDuration, options?: NativeOptions): NativeAlgorithm;
  tokenBucket(refillRate: number, interval: UpstashDuration, maxTokens: number, options?: NativeOptions): NativeAlgorithm;
  /** Refused, with what to do instead. */
  cachedFixedWindow(...ignored: unknown[]): never;
}

const UNIT_MS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** The library's durations may have a space and a fraction: "10 s", "1.5m". */
function durationMs(duration: string): number {
  const [, amount, unit] = /^(\d+(?:\.\d+)?)\s?(ms|s|m|h|d|w)$/.exec(duration) ?? [];
  const ms = Math.round(Number(amount) * (UNIT_MS[unit ?? ""] ?? NaN));
  if (!(ms >= 1)) throw new Error(`Unable to parse window size: ${duration}`);
  return ms;
}

const ANALYTICS = "@upstash/ratelimit: analytics are not written: the server counts already. Pass { policy: name } and read RL.STATS GET name";
const MULTI_REGION = "MultiRegionRatelimit: use Ratelimit, with a client of the region's own primary. The servers share the limit (ratelimit.region)";
const CACHED = "cachedFixedWindow: use fixedWindow. The library's ephemeralCache already answers whoever is blocked";
let warned = false; // once a process: it would be one for each hit

const DYNAMIC = /:dynamic:global$/;

/** The algorithms of this module for `@upstash/ratelimit`. */
export function nativeAlgorithms(client: Client): NativeAlgorithms {
  const connection = Connection.of(client);
  const failed = (error: Error): never => {
    throw error;
  };
  // The library has a deadline of its own (`timeout`, 5 s), beyond which it lets through.
  const call = (words: (string | number)[], key: string) => connection.ask(words.map(String), key, 10_000, (reply) => reply, failed);

  function algorithm(
    name: "FIXED" | "SLIDING" | "BUCKET",
    limit: number,
    windowMs: number,
    shape: (limit: number) => (string | number)[],
    options: NativeOptions = {},
  ): NativeAlgorithm {
    integer("tokens", limit, 0);
    members("options", options, ["policy", "deny"]);
    const { policy, deny } = options;
    // What the library keeps under `prefix:dynamic:global` is a policy named like the prefix.
    const policyName = (key: string) => policy ?? key.replace(DYNAMIC, "");

    const facade = {
      set: (key: string, value: number) => call(["RL.POLICY", "SET", policyName(key), name, ...shape(value)], key),
      del: (key: string) => call(["RL.POLICY", "DEL", policyName(key)], key),
      async get(key: string) {
        const found = await call(["RL.POLICY", "GET", policyName(key)], key);
        return Array.isArray(found) ? Number(found[1]) : null; // [algorithm, limit, window]
      },
      // The one script that it sends to limit looks up members in `prefix:denyList:all`, and asks for the state of a
      // list of addresses that it can fetch by itself. -1: that list is switched off. The other scripts read analytics.
      async eval(_script: string, [list = ""]: string[], values: string[]) {
        if (!list.endsWith(":denyList:all")) throw new Error(ANALYTICS);
        return [await call(["RL.DENY", "HAS", list, ...values], list), -1];
      },
      pipeline() {
        throw new Error(ANALYTICS);
      },
      // What `analytics: true` writes after each hit.
      async zincrby() {
        if (!warned) console.warn(ANALYTICS);
        warned = true;
        return 0;
      },
    };

    async function words(context: NativeContext): Promise<(string | number)[]> {
      if ("regionContexts" in context) throw new Error(MULTI_REGION);
      if (!context.dynamicLimits) return [...shape(limit), ...(policy === undefined ? [] : ["POLICY", policy])];
      if (context.redis === facade) return [...shape(limit), "POLICY", policy ?? context.prefix];
      const kept = context.redis as { get(key: string): Promise<unknown> };
      const dynamic = await kept.get(`${context.prefix}:dynamic:global`);
      return shape(dynamic === null || dynamic === undefined ? limit : integer("the dynamic limit", Number(dynamic), 0));
    }

    const five = async (command: (string | number)[], key: string): Promise<{ numbers: number[]; last: unknown }> => {
      const reply = await call(command, key);
      if (!Array.isArray(reply)) throw new Error(`not a reply of RL.*: ${JSON.stringify(reply)}`);
      return { numbers: reply.slice(0, 5).map(Number), last: reply.at(-1) };
    };

    const native = () => ({
      async limit(context: NativeContext, key: string, rate = 1): Promise<NativeResponse> {
        const pending = Promise.resolve();
        const cached = rate > 0 ? context.cache?.isBlocked(key) : undefined;
        if (cached?.blocked) return { success: false, limit, remaining: 0, reset: cached.reset, pending, reason: "cacheBlock" };

        const denyWords = deny === undefined ? [] : ["DENY", deny, text("identifier", key.slice(context.prefix.length + 1))];
        const costWords = rate === 1 ? [] : ["COST", rate];
        const { numbers, last } = await five([`RL.${name}`, key, ...(await words(context)), ...costWords, ...denyWords], key);
        const [allowed, inForce = limit, remaining = 0, retryAfterMs = 0, resetAfterMs = 0] = numbers;
        if (deny !== undefined && last !== null) {
          return { success: false, limit: inForce, remaining: 0, reset: 0, pending, reason: "denyList", deniedValue: String(last) };
        }
        // `reset` is when to come back: after a denial, the moment at which this same hit fits. A cost that never
        // fits has none; one window on is as good a time as any to look again.
        const waitMs = allowed === 1 ? resetAfterMs : retryAfterMs < 0 ? windowMs : retryAfterMs;
        const reset = Date.now() + waitMs;
        // A greater rate may be denied where 1 is not: only a denied 1 blocks the identifier.
        if (allowed !== 1 && rate === 1) context.cache?.blockUntil(key, reset);
        if (rate < 0) context.cache?.pop(key);
        return { success: allowed === 1, limit: inForce, remaining, reset, pending };
      },

      async getRemaining(context: NativeContext, key: string) {
        const { numbers } = await five(["RL.PEEK", name, key, ...(await words(context)), "COST", 0], key);
        const [, inForce = limit, remaining = 0, , resetAfterMs = 0] = numbers;
        return { remaining, reset: Date.now() + resetAfterMs, limit: inForce };
      },

      async resetTokens(context: NativeContext, key: string) {
        context.cache?.pop(key);
        await call(["DEL", key], key);
      },
    });
    return Object.assign(native, { redis: facade as unknown as Redis });
  }

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
    cachedFixedWindow() {
      throw new Error(CACHED);
    },
  };
}
