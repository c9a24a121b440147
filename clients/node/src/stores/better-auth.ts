// better-auth 1.7: betterAuth({ rateLimit: { customStorage: ratelimitStorage({ client, prefix: "auth" }) } })

import { StoreCore, type StoreOptions } from "./core.js";

/** A `customStorage` of better-auth. */
export interface BetterAuthStorage {
  consume(key: string, rule: { window: number; max: number }): Promise<{ allowed: boolean; retryAfter: number | null }>;
}

/** One atomic command a request. `window` in seconds, as the library has it. */
export function ratelimitStorage(options: StoreOptions): BetterAuthStorage {
  const core = new StoreCore("ratelimitStorage", options);
  return {
    async consume(key, { window, max }) {
      const { allowed, waitMs } = await core.hit(key, { limit: max, windowMs: Math.round(window * 1000) });
      return { allowed, retryAfter: allowed ? null : Math.ceil(waitMs / 1000) };
    },
  };
}
