// Waiting until ready: sleep for as long as the server said, ask again. No polling, for retryAfterMs is exact: asking
// earlier is denied for sure.

import { setTimeout as sleep } from "node:timers/promises";

/**
 * @param {Function} limit  a limiter
 * @param {string} key
 * @param {{ cost?: number, timeoutMs?: number, signal?: AbortSignal }} [options]
 * @returns the last verdict: denied at once where the wait would outlast timeoutMs, or where the cost can never fit
 */
export async function untilReady(limit, key, { cost = 1, timeoutMs = 60_000, signal } = {}) {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const verdict = await limit(key, { cost });
    const { allowed, retryAfterMs } = verdict;
    if (allowed || !(retryAfterMs > 0) || performance.now() + retryAfterMs > deadline) return verdict;
    await sleep(retryAfterMs + 1, undefined, { signal }); // + 1: a timer of Node may fire up to 1 ms early
  }
}
