// A verdict as fields of HTTP: X-RateLimit-*, Retry-After, and the RateLimit and RateLimit-Policy fields of the IETF
// draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers), which are lists: one item a limit.

import type { AllVerdict, LimitState, Verdict } from "./verdict.js";

const seconds = (ms: number): number => Math.ceil(ms / 1000); // rounded up: never an invitation to come too early
const quoted = (name: string): string => `"${name.replace(/["\\]/g, "\\$&")}"`;

export function rateLimitHeaders(verdict: Verdict | AllVerdict, now = Date.now()): Record<string, string> {
  if (verdict.error) return verdict.allowed ? {} : { "Retry-After": "1" }; // no numbers are known
  const limits: readonly LimitState[] = "keys" in verdict ? verdict.keys.flatMap((key) => key.limits) : verdict.limits;
  const headers: Record<string, string> = {
    "X-RateLimit-Limit": String(verdict.limit),
    "X-RateLimit-Remaining": String(verdict.remaining),
    "X-RateLimit-Reset": String(seconds(now + verdict.resetAfterMs)), // Unix time
    "RateLimit-Policy": limits
      .map(({ name, limit, windowSeconds }) => `${quoted(name)};q=${limit}${windowSeconds === undefined ? "" : `;w=${windowSeconds}`}`)
      .join(", "),
    RateLimit: limits.map(({ name, remaining, resetAfterMs }) => `${quoted(name)};r=${remaining};t=${seconds(resetAfterMs)}`).join(", "),
  };
  // -1: there is no use in trying again. A wait that was granted is not the caller's business.
  if (!verdict.allowed && verdict.retryAfterMs > 0) headers["Retry-After"] = String(seconds(verdict.retryAfterMs));
  return headers;
}

/** For `Access-Control-Expose-Headers`: without it a page of another origin cannot read these fields. */
export const EXPOSED = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Policy, RateLimit, Retry-After";
