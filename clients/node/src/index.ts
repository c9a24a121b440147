export {
  createAdmin,
  type Admin,
  type AdminOptions,
  type Counts,
  type KeyInfo,
  type KeyLimit,
  type LeaseLimit,
  type Policy,
  type PolicyState,
  type Statistics,
  type TotalStatistics,
} from "./admin.js";
export type { Recent, Row, Top } from "./admin-replies.js";
export { hitAll, peekAll, type AllOptions, type Part } from "./all.js";
export { RefusedError, type Client, type Send } from "./client.js";
export { EXPOSED, rateLimitHeaders, type AnyVerdict } from "./headers.js";
export {
  byAccount,
  byApiKey,
  byIp,
  byLogin,
  byUser,
  clientAddress,
  type From,
  type IdentityOptions,
  type IpOptions,
  type LoginIdentity,
  type Trust,
} from "./identify.js";
export {
  createLeaser,
  LeaseLostError,
  type Held,
  type HoldOptions,
  type Lease,
  type Leaser,
  type LeaseOptions,
  type LeaserOptions,
  type WaitForLeaseOptions,
} from "./lease.js";
export { createLogin, type Login, type LoginOptions } from "./login.js";
export { createLimiter, type Limiter, type WaitOptions } from "./limiter.js";
export {
  hitOf,
  problemOf,
  rateLimit,
  refusalOf,
  refuse,
  setHeaders,
  withRateLimit,
  type Counted,
  type FetchOptions,
  type MiddlewareOptions,
  type NodeOptions,
  type NodeResponse,
  type Refusal,
} from "./middleware.js";
export { limitMessages, type Message, type MessageOptions, type MessageSocket } from "./messages.js";
export type {
  BlockedCacheOptions,
  PrefetchOptions,
  BucketLimit,
  CalendarWindow,
  Common,
  ConnectionOptions,
  Deny,
  Duration,
  FixedLimit,
  HitOptions,
  LimiterOptions,
  Shape,
  SlidingLimit,
} from "./options.js";
export type { HitEvent, Reason } from "./report.js";
export { presets } from "./presets.js";
export { spend, type Reservation, type SpendOptions, type Spent } from "./reservation.js";
export type { AllVerdict, LimitState, Numbers, Verdict } from "./verdict.js";
