// A verdict as fields of HTTP: X-RateLimit-*, Retry-After, and the RateLimit and RateLimit-Policy fields of the IETF
// draft "RateLimit header fields for HTTP" (draft-ietf-httpapi-ratelimit-headers), which are lists: one item a limit.

import type { AllVerdict, LimitState, Verdict } from "./verdict.js";

const seconds = (ms: number): number => Math.ceil(ms / 1000); // rounded up: never an invitation to come too early
const quoted = (name: string): string => `"${/["\\]/.test(name) ? name.replace(/["\\]/g, "\\$&") : name}"`;

/** Anything that a limiter answers: of one key, or of several. */
export type AnyVerdict = Verdict | AllVerdict;

const limitsOf = (verdict: AnyVerdict): readonly LimitState[] => ("keys" in verdict ? verdict.keys.flatMap((key) => key.limits) : verdict.limits);

const policyItem = ({ name, limit, windowSeconds }: LimitState): string =>
  windowSeconds === undefined ? `${quoted(name)};q=${limit}` : `${quoted(name)};q=${limit};w=${windowSeconds}`;

/** When more becomes available is not known where the limiter does not ask for it, and of no use where it is never. */
const stateItem = ({ name, remaining, nextAfterMs = -1 }: LimitState): string =>
  nextAfterMs < 0 ? `${quoted(name)};r=${remaining}` : `${quoted(name)};r=${remaining};t=${seconds(nextAfterMs)}`;

const listed = (limits: readonly LimitState[], item: (limit: LimitState) => string): string =>
  limits.length === 1 ? item(limits[0] as LimitState) : limits.map(item).join(", ");

/** The fields of one verdict: `X-RateLimit-Limit`, `-Remaining`, `-Reset` (Unix time), `RateLimit-Policy`, `RateLimit` and, where denied, `Retry-After`. */
export function rateLimitHeaders(verdict: AnyVerdict, now = Date.now()): Record<string, string> {
  if (verdict.error) return verdict.allowed ? {} : { "Retry-After": "1" }; // no numbers are known
  const limits = limitsOf(verdict);
  const headers: Record<string, string> = {
    "X-RateLimit-Limit": String(verdict.limit),
    "X-RateLimit-Remaining": String(verdict.remaining),
    "X-RateLimit-Reset": String(seconds(now + verdict.resetAfterMs)), // Unix time
    "RateLimit-Policy": listed(limits, policyItem),
    RateLimit: listed(limits, stateItem),
  };
  // -1: there is no use in trying again. A wait that was granted is not the caller's business.
  if (!verdict.allowed && verdict.retryAfterMs > 0) headers["Retry-After"] = String(seconds(verdict.retryAfterMs));
  return headers;
}

/** For `Access-Control-Expose-Headers`: without it a page of another origin cannot read these fields. */
export const EXPOSED = "X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, RateLimit-Policy, RateLimit, Retry-After";

/** Fields that are lists, as Node looks them up: it makes a lower-case name of any other, which costs more than the look. */
const LISTS: { readonly [name: string]: string | undefined } = { "RateLimit-Policy": "ratelimit-policy", RateLimit: "ratelimit" };

/** Which fields a response has already (by their names in lower case), and how one is set: of fetch's Headers, and of Node's response. */
export interface Fields {
  get(name: string): string | undefined;
  set(name: string, value: string): void;
}

const append = (given: string | undefined, value: string): string => (given === undefined || given === "" ? value : `${given}, ${value}`);

/**
 * Adds the fields of a verdict to those of a response. Where another limiter's are there already, `RateLimit` and
 * `RateLimit-Policy` have the items of both, and `X-RateLimit-*` those of the one with the least remaining.
 *
 * @param isForeign whether a page of another origin may ask: then it is told which fields it may read
 */
export function addFields(fields: Fields, verdict: AnyVerdict, isForeign = true): void {
  const own = rateLimitHeaders(verdict);
  const known = fields.get("x-ratelimit-remaining");
  const isTighter = known === undefined || verdict.error !== undefined || verdict.remaining < Number(known) || !verdict.allowed;
  for (const name in own) {
    const value = own[name] as string;
    const list = LISTS[name];
    if (list !== undefined) fields.set(name, append(fields.get(list), value));
    else if (isTighter) fields.set(name, value);
  }
  if (!isForeign) return;
  const exposed = fields.get("access-control-expose-headers");
  if (!exposed?.includes(EXPOSED)) fields.set("Access-Control-Expose-Headers", append(exposed, EXPOSED));
}
