// A store for express-rate-limit 8, and for hono-rate-limiter, whose stores have the same members:
//
//   app.use(rateLimit({ windowMs: 15 * 60_000, limit: 100, store: new RatelimitStore({ client, prefix: "api" }) }));

import { integer } from "../check.js";
import { STORE, StoreCore, type Count, type StoreOptions } from "./core.js";

/** What a store is made of. */
export interface RatelimitStoreOptions extends StoreOptions {
  /** The limit, where the library's is a function: a store is not told what that gave. `policy` may replace it. */
  readonly limit?: number;
}

interface LibraryOptions {
  readonly windowMs: number;
  readonly limit?: unknown;
  readonly max?: unknown;
  readonly skipFailedRequests?: boolean;
  readonly skipSuccessfulRequests?: boolean;
}

interface ClientInfo {
  totalHits: number;
  resetTime: Date;
}

/** A store of express-rate-limit and hono-rate-limiter. */
export class RatelimitStore {
  /** The counters lie in Redis, not in this process. */
  readonly localKeys = false;
  readonly prefix: string;
  readonly #core: StoreCore;
  readonly #own: number | undefined;
  #limit = 0;
  #windowMs = 0;
  #refusal: string | undefined = "RatelimitStore: used before init: pass it to the library as `store`";
  #isGivenBack = false;

  constructor(options: RatelimitStoreOptions) {
    this.#core = new StoreCore("RatelimitStore", options, [...STORE, "limit"]);
    this.#own = options.limit === undefined ? undefined : integer("limit", options.limit, 0);
    this.prefix = options.prefix ?? "";
  }

  /** The library calls it with its options, once. */
  init(options: LibraryOptions): void {
    const limit = this.#own ?? options.limit ?? options.max;
    if (typeof limit === "function") {
      this.#refuse("limit: the library's is a function, and a store is not told what it gave: new RatelimitStore({ client, limit })");
    }
    // The library gives back failed responses, its own 429 included. A hit that was denied has charged nothing, and to
    // give it back would open the limit: so it is charged, too.
    const isGivenBack = options.skipFailedRequests === true || options.skipSuccessfulRequests === true;
    const isSame = this.#limit === limit && this.#windowMs === options.windowMs && this.#isGivenBack === isGivenBack;
    if (this.#windowMs > 0 && !isSame) this.#refuse("RatelimitStore: one store for two limiters that differ: make one for each, with its own prefix");
    this.#limit = integer("limit", limit, 0);
    this.#windowMs = integer("windowMs", options.windowMs, 1);
    this.#isGivenBack = isGivenBack;
    this.#refusal = undefined;
  }

  /** The library logs what `init` throws and goes on: so each hit says it, too. */
  #refuse(why: string): never {
    this.#refusal = why;
    throw new TypeError(why);
  }

  #hit = (): { limit: number; windowMs: number } => {
    if (this.#refusal !== undefined) throw new TypeError(this.#refusal);
    return { limit: this.#limit, windowMs: this.#windowMs };
  };

  async increment(key: string): Promise<ClientInfo> {
    const { limit, windowMs } = this.#hit();
    const count = await this.#core.hit(key, { limit, windowMs, force: this.#isGivenBack });
    // The library compares with its own limit, which is not known here where the store has another.
    return info(!count.allowed && this.#own !== undefined ? { ...count, hits: Number.MAX_SAFE_INTEGER } : count);
  }

  async decrement(key: string): Promise<void> {
    await this.#core.hit(key, { ...this.#hit(), cost: -1 });
  }

  async get(key: string): Promise<ClientInfo | undefined> {
    const count = await this.#core.peek(key, this.#hit());
    return count.hits === 0 ? undefined : info(count);
  }

  async resetKey(key: string): Promise<void> {
    await this.#core.reset(key);
  }
}

const info = ({ hits, waitMs }: Count): ClientInfo => ({ totalHits: hits, resetTime: new Date(Date.now() + waitMs) });
