// Limits by endpoint, and by plan. What stands here is the fallback: RL.POLICY SET changes a limit for the whole
// fleet at once, without a deploy.

import { limiter } from "./limiter.js";

export const endpoints = {
  login: ["SLIDING", [5, "15m"]],
  "password-reset": ["SLIDING", [3, "1h"]],
  api: ["SLIDING", [100, "15m"]],
  upload: ["SLIDING", [10, "1h"]],
  llm: ["SLIDING", [20, "1h"]],
};

/** One limiter for each endpoint; keys are told apart by its name. `limits.login("ip:203.0.113.9")` */
export function endpointLimiters(send) {
  const limiters = Object.entries(endpoints).map(([name, [algorithm, limits]]) => {
    const limit = limiter(send, algorithm, limits, { policy: name });
    return [name, (who, options) => limit(`${name}:${who}`, options)];
  });
  return Object.fromEntries(limiters);
}

export const plans = { free: [100, "15m"], pro: [1000, "15m"], enterprise: [10000, "15m"] };

/** Once, by whoever runs the service: `RL.POLICY SET plan-free SLIDING 100 15m` and so on. */
export async function definePlans(send) {
  for (const [plan, limits] of Object.entries(plans)) {
    await send(["RL.POLICY", "SET", `plan-${plan}`, "SLIDING", ...limits].map(String));
  }
}

/** The plan is looked up by name on the server, so an upgrade holds from the next request on, with usage kept. */
export function planLimiter(send) {
  const limit = limiter(send, "SLIDING", plans.free);
  return (userId, plan) => limit(`api:user:${userId}`, { policy: `plan-${plan}` });
}
