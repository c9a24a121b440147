// One call, one verdict. A limiter is a function (key, options) => Promise<verdict>; the other recipes wrap one
// and keep this shape, so they nest in any order.
//
// `send` is the only thing that knows the client:
//   node-redis            (args) => client.sendCommand(args)
//   node-redis, cluster   (args) => cluster.sendCommand(args[1], false, args)
//   ioredis, and cluster  ([command, ...args]) => client.call(command, ...args)

/**
 * @param {(args: string[]) => Promise<any>} send
 * @param {"FIXED" | "SLIDING" | "BUCKET"} algorithm
 * @param {(number | string)[]} limits  [100, "15m"], or [capacity, refill, interval] for a bucket; several in a row
 * @param {{ policy?: string }} [defaults]
 *
 * @example
 * const api = limiter(send, "SLIDING", [100, "15m"], { policy: "api" });
 * const { allowed, remaining, retryAfterMs } = await api(`user:${id}`);
 */
export function limiter(send, algorithm, limits, defaults = {}) {
  return async (key, options = {}) => {
    const { cost = 1, force = false, policy = defaults.policy, deny } = options;
    const args = [`RL.${algorithm}`, key, ...limits];
    if (cost !== 1) args.push("COST", cost);
    if (force) args.push("FORCE");
    if (policy) args.push("POLICY", policy);
    if (deny) args.push("DENY", ...deny); // [list, value, ...]: takes the rest of the line
    const reply = await send(args.map(String));
    const [allowed, limit, remaining, retryAfterMs, resetAfterMs] = reply;
    return {
      allowed: allowed === 1,
      limit,
      remaining,
      retryAfterMs, // 0: allowed. -1: this cost can never fit
      resetAfterMs,
      deniedValue: deny ? (reply.at(-1) ?? undefined) : undefined,
    };
  };
}
