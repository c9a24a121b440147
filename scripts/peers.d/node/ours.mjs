import { createLimiter } from "ratelimit-client";

/** The package's limiter, as each row has it. */
export const ours = (client, limit, windowMs, options = {}) =>
  createLimiter({ client, prefix: "ours", algorithm: "sliding", limits: { limit, window: `${windowMs}ms` }, ...options });
