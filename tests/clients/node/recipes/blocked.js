// A local cache of blocked identifiers: who was told to come back in 900 s is told so by this process until then, and
// costs no round trip. Only denials are kept; what is allowed is always counted by the server.
//
// maxMs bounds how long this process may not notice that a limit was raised, usage given back or the key deleted.

/**
 * @param {Function} limit  a limiter
 * @param {{ maxEntries?: number, maxMs?: number, now?: () => number }} [options]  now: milliseconds of a clock that
 *   never steps
 */
export function withBlockedCache(limit, { maxEntries = 10_000, maxMs = 60_000, now = () => performance.now() } = {}) {
  const blocked = new Map(); // key => { since, until, cost, verdict }, the oldest first

  return async (key, options = {}) => {
    const { cost = 1, force = false } = options;
    const entry = blocked.get(key);
    if (entry && now() >= entry.until) blocked.delete(key);
    else if (entry && cost >= entry.cost && !force) {
      // A cost that does not fit is as good as denied for every greater one too.
      const elapsedMs = now() - entry.since;
      const left = (ms) => (ms < 0 ? ms : Math.max(0, Math.ceil(ms - elapsedMs)));
      const { retryAfterMs, resetAfterMs } = entry.verdict;
      return { ...entry.verdict, retryAfterMs: left(retryAfterMs), resetAfterMs: left(resetAfterMs) };
    }

    const since = now();
    const verdict = await limit(key, options);
    const keep =
      !verdict.allowed &&
      !verdict.error && // nothing was learnt
      verdict.deniedValue === undefined && // blames another value, not this key
      cost > 0 &&
      !force;
    if (keep) {
      if (blocked.size >= maxEntries) blocked.delete(blocked.keys().next().value);
      const waitMs = verdict.retryAfterMs < 0 ? maxMs : Math.min(verdict.retryAfterMs, maxMs);
      blocked.set(key, { since, until: since + waitMs, cost, verdict });
    } else if (cost < 0) {
      blocked.delete(key); // something was given back
    }
    return verdict;
  };
}
