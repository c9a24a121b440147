export { hitAll, peekAll, type AllOptions, type Part } from "./all.js";
export { RefusedError, type Client, type Send } from "./client.js";
export { EXPOSED, rateLimitHeaders } from "./headers.js";
export { byAccount, byApiKey, byIp, byLogin, byUser, clientAddress, type From, type Trust } from "./identify.js";
export { createLeaser, type Lease, type Leaser, type LeaseOptions, type LeaserOptions } from "./lease.js";
export { createLimiter, type Limiter, type WaitOptions } from "./limiter.js";
export { rateLimit, refusalOf, refuse, setHeaders, withRateLimit, type NodeResponse, type Refusal } from "./middleware.js";
export type {
  BlockedCacheOptions,
  BucketLimit,
  CalendarWindow,
  Common,
  Connection,
  Deny,
  Duration,
  FixedLimit,
  HitOptions,
  LimiterOptions,
  Shape,
  SlidingLimit,
} from "./options.js";
export { presets } from "./presets.js";
export { spend, type Reservation, type SpendOptions, type Spent } from "./reservation.js";
export type { AllVerdict, LimitState, Numbers, Verdict } from "./verdict.js";
