// The API of rate-limiter-flexible 11 on RL.*, without that library:
//
//   const limiter = new RateLimiterNative({ storeClient, keyPrefix: "login", points: 5, duration: 900, blockDuration: 900 });
//   await limiter.consume(ip); // rejects with a RateLimiterRes where there are no points left

import { integer, members, wrong } from "../check.js";
import { CONNECTION, type ConnectionOptions } from "../options.js";
import type { Client } from "../client.js";
import { cannot, StoreCore, type Count, type Hit } from "./core.js";

/** What a limiter of rate-limiter-flexible is made of. */
export interface RateLimiterOptions extends Omit<ConnectionOptions, "client"> {
  /** A client as `createLimiter` takes it. */
  readonly storeClient: Client;
  /** How many in `duration`. Default 4. */
  readonly points?: number;
  /** In seconds, a rolling window. Default 1. */
  readonly duration?: number;
  /** Default `rlflx`. */
  readonly keyPrefix?: string;
  /** In seconds: whoever is denied is shut out for so long. Default 0. */
  readonly blockDuration?: number;
  readonly algorithm?: "sliding" | "fixed";
  /** A policy of the server, whose limit replaces `points` and `duration`. */
  readonly policy?: string;
  /** Says nothing here: a client is recognised. */
  readonly useRedisPackage?: boolean;
}

const INSTEAD: Record<string, string> = {
  execEvenly: "a bucket spreads calls evenly: createLimiter({ algorithm: \"bucket\" }).wait(key)",
  insuranceLimiter: "say what happens while Redis is away by `unavailable`",
  inMemoryBlockOnConsumed: "createLimiter({ blockedCache: true })",
  inMemoryBlockDuration: "createLimiter({ blockedCache: true })",
  useRedis3AndLowerPackage: "the client is recognised",
  rejectIfRedisNotReady: "say what happens while Redis is away by `unavailable`",
  customIncrTtlLuaScript: "there is no script",
};

/** What a call answers, and what `consume` rejects with where it is denied. */
export class RateLimiterRes {
  constructor(
    readonly remainingPoints: number,
    /** Until the next action is possible; of one that is, until nothing is consumed any more. */
    readonly msBeforeNext: number,
    readonly consumedPoints: number,
    readonly isFirstInDuration: boolean,
  ) {}
}

/** In the place of rate-limiter-flexible's `RateLimiterRedis`. */
export class RateLimiterNative {
  readonly points: number;
  readonly duration: number;
  readonly blockDuration: number;
  readonly keyPrefix: string;
  readonly #core: StoreCore;
  readonly #isClosed: boolean;

  constructor(options: RateLimiterOptions) {
    for (const [name, instead] of Object.entries(INSTEAD)) if (name in options) cannot(name, instead);
    const own = CONNECTION.filter((name) => name !== "client");
    members("RateLimiterNative", options, [...own, "storeClient", "points", "duration", "keyPrefix", "blockDuration", "algorithm", "policy", "useRedisPackage"]);
    const { storeClient, points = 4, duration = 1, keyPrefix = "rlflx", blockDuration = 0, useRedisPackage: _, ...rest } = options;
    this.points = integer("points", points, 0);
    this.duration = seconds("duration", duration);
    this.blockDuration = blockDuration === 0 ? 0 : seconds("blockDuration", blockDuration);
    this.keyPrefix = keyPrefix;
    this.#isClosed = options.unavailable === "closed";
    this.#core = new StoreCore("RateLimiterNative", { ...rest, client: storeClient, ...(keyPrefix === "" ? {} : { prefix: keyPrefix }) });
  }

  /** Written out: to copy an object and add to it takes longer than all the rest of a hit. */
  #hit(cost: number, blockSeconds = 0, force = false): Required<Hit> {
    return { limit: this.points, windowMs: Math.round(this.duration * 1000), cost, force, blockMs: blockSeconds * 1000 };
  }

  /** Rejects with a `RateLimiterRes` where it is denied, with an `Error` where Redis is away and `unavailable` is `closed`. */
  async consume(key: string | number, points = 1, options?: object): Promise<RateLimiterRes> {
    oneDuration(options);
    const count = await this.#core.hit(String(key), this.#hit(integer("points", points, 0), this.blockDuration));
    const answer = this.#res(count, points);
    if (!count.allowed) throw answer;
    return answer;
  }

  /** Takes points whether or not there are any. */
  async penalty(key: string | number, points = 1, options?: object): Promise<RateLimiterRes> {
    oneDuration(options);
    return this.#res(await this.#core.hit(String(key), this.#hit(integer("points", points, 0), 0, true)), points);
  }

  /** Gives points back; never more than were consumed. */
  async reward(key: string | number, points = 1, options?: object): Promise<RateLimiterRes> {
    oneDuration(options);
    return this.#res(await this.#core.hit(String(key), this.#hit(-integer("points", points, 0))), 0);
  }

  /** What is consumed, more than `points` for whoever is out of them, or, with `blockDuration`, blocked; `null` for nothing. */
  async get(key: string | number): Promise<RateLimiterRes | null> {
    const count = await this.#core.peek(String(key), this.#hit(0, this.blockDuration));
    return count.limit === count.remaining && count.allowed ? null : this.#res(count, 0);
  }

  /** As if so many had been consumed now, and nothing before. The duration stays the limiter's. */
  async set(key: string | number, points: number, secDuration?: number): Promise<RateLimiterRes> {
    if (secDuration !== undefined && secDuration !== this.duration) throw wrong("secDuration", ONE_DURATION, secDuration);
    await this.#core.reset(String(key));
    return this.penalty(key, points);
  }

  /** Shuts a key out; a block that ends later stays. Rejects where Redis is away. */
  async block(key: string | number, secDuration: number): Promise<RateLimiterRes> {
    const ms = Math.round(seconds("secDuration", secDuration) * 1000);
    return new RateLimiterRes(0, await this.#core.block(String(key), ms), this.points + 1, false);
  }

  /** The key in Redis. */
  getKey(key: string | number): string {
    return this.keyPrefix === "" ? String(key) : `${this.keyPrefix}:${key}`;
  }

  #res(count: Count, points: number): RateLimiterRes {
    const { error, allowed, limit, remaining, hits, waitMs } = count;
    if (error && this.#isClosed) throw error;
    // Applications compare it with `points`, whatever limit a policy of the server has set.
    const consumed = error ? 0 : allowed ? hits : Math.max(limit - remaining + points, this.points + 1);
    return new RateLimiterRes(remaining, waitMs, consumed, allowed && consumed === points);
  }

  /** Whether there was anything. */
  delete(key: string | number): Promise<boolean> {
    return this.#core.reset(String(key));
  }
}

const ONE_DURATION = "the limiter's: a key has one; make a limiter for another, or block(key, seconds)";

function oneDuration(options: { readonly customDuration?: unknown } = {}): void {
  if (options.customDuration !== undefined) throw wrong("customDuration", ONE_DURATION, options.customDuration);
}

function seconds(name: string, value: unknown): number {
  if (typeof value !== "number" || !(value >= 0.001) || value > 3660 * 86_400) throw wrong(name, "a number of seconds, 0.001 to 316224000", value);
  return value;
}
