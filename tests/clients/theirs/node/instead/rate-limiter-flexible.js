import { RateLimiterNative } from "ratelimit-client/rate-limiter-flexible";

export default class RateLimiterRedis extends RateLimiterNative {
  constructor(options) {
    super({ timeoutMs: 60_000, ...options });
  }
}
