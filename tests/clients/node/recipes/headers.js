// A verdict as HTTP fields: X-RateLimit-*, Retry-After, and the RateLimit and RateLimit-Policy fields of the
// IETF draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers).

const seconds = (ms) => Math.ceil(ms / 1000); // rounded up: never an invitation to come too early

/**
 * @param {object} verdict  of a limiter
 * @param {{ name?: string, windowSeconds?: number }} [policy]  windowSeconds: leave it out where a POLICY of the
 *   server may replace the window, for the reply tells the limit in force but not its window
 * @returns {Record<string, string>}
 */
export function rateLimitHeaders(verdict, { name = "default", windowSeconds } = {}, now = Date.now()) {
  if (verdict.error) return verdict.allowed ? {} : { "Retry-After": "1" }; // no numbers are known
  const window = windowSeconds === undefined ? "" : `;w=${windowSeconds}`;
  const headers = {
    "X-RateLimit-Limit": String(verdict.limit),
    "X-RateLimit-Remaining": String(verdict.remaining),
    "X-RateLimit-Reset": String(seconds(now + verdict.resetAfterMs)), // Unix time
    "RateLimit-Policy": `"${name}";q=${verdict.limit}${window}`,
    RateLimit: `"${name}";r=${verdict.remaining};t=${seconds(verdict.resetAfterMs)}`,
  };
  if (verdict.retryAfterMs > 0) headers["Retry-After"] = String(seconds(verdict.retryAfterMs)); // -1: no use in retrying
  return headers;
}
