// A storage for @nestjs/throttler 6:
//
//   ThrottlerModule.forRoot({ throttlers: [{ ttl: 60_000, limit: 10 }], storage: new RatelimitThrottlerStorage({ client }) })

import { StoreCore, type StoreOptions } from "./core.js";

/** What the library's guard is told. Times in seconds. */
export interface ThrottlerRecord {
  totalHits: number;
  timeToExpire: number;
  isBlocked: boolean;
  timeToBlockExpire: number;
}

const seconds = (ms: number): number => Math.ceil(ms / 1000);

/** A storage of @nestjs/throttler. */
export class RatelimitThrottlerStorage {
  readonly #core: StoreCore;

  constructor(options: StoreOptions) {
    this.#core = new StoreCore("RatelimitThrottlerStorage", options);
  }

  /** `ttl` and `blockDuration` in ms. A block as long as the window is the library's default, and is what the window does by itself. */
  async increment(key: string, ttl: number, limit: number, blockDuration: number, throttlerName: string): Promise<ThrottlerRecord> {
    const blockMs = blockDuration === ttl ? 0 : blockDuration;
    const count = await this.#core.hit(`${throttlerName}:${key}`, { limit, windowMs: ttl, blockMs });
    return {
      totalHits: count.hits,
      timeToExpire: seconds(count.allowed ? count.resetAfterMs : count.waitMs),
      isBlocked: !count.allowed,
      timeToBlockExpire: count.allowed ? 0 : seconds(count.waitMs),
    };
  }
}
