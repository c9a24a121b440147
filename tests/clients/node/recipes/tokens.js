// LLM tokens: reserve an estimate before the call, settle with what it really used. Concurrent calls cannot overspend
// by more than their estimates were wrong.

import { limiter } from "./limiter.js";

/** Tokens a day (UTC) by plan. As policies: `RL.POLICY SET tokens-paid FIXED 500000 1d`. */
export const dailyTokens = { free: 50_000, paid: 500_000 };

export function dailyBudget(send, plan) {
  return limiter(send, "FIXED", [dailyTokens[plan], "1d"], { policy: `tokens-${plan}` });
}

/**
 * @param {Function} budget  a limiter whose cost is in tokens
 * @param {string} key
 * @param {number} estimate  tokens: the prompt's, and the most that the answer may have
 * @param {() => Promise<{ tokens: number }>} call  asks the model; `tokens` is the usage that it reports
 * @returns the verdict, and the call's result where it was allowed
 */
export async function spendTokens(budget, key, estimate, call) {
  const verdict = await budget(key, { cost: estimate });
  if (!verdict.allowed) return { verdict };
  let used = 0; // a call that failed is given back whole
  try {
    const result = await call();
    used = result.tokens;
    return { verdict, result };
  } finally {
    // FORCE: what was spent is spent, even beyond the budget.
    if (used !== estimate) await budget(key, { cost: used - estimate, force: true });
  }
}
