// A login has two callers: the address that it comes from, and the account that it is for. Both are charged with one
// command, and both get back what a right password was charged.

import { hitAll } from "./all.js";
import { members, text } from "./check.js";
import { byAccount, byIp, type IdentityOptions, type LoginIdentity } from "./identify.js";
import type { Limiter } from "./limiter.js";
import type { Counted } from "./middleware.js";

/** What a login is limited by. */
export interface LoginOptions extends IdentityOptions {
  /** Who tries many accounts. On a cluster both prefixes have one hash tag: `{login}:address`, `{login}:account`. */
  readonly perAddress: Limiter;
  /** Who tries one account from many addresses. Wider than `perAddress`: whoever knows an e-mail address can use it up. */
  readonly perAccount: Limiter;
}

/** Limits a login by its address and its account, with one command where they share a slot. */
export interface Login {
  /**
   * Counts a try of both, or of neither. `refund` gives both back, once the password was right: what `rateLimit` and
   * `withRateLimit` do with `skipSuccessfulRequests`. The address is as `clientAddress` gives it.
   */
  hit(login: Pick<LoginIdentity, "address" | "email">): Promise<Counted>;
}

/**
 * @example
 * const login = createLogin({ perAddress, perAccount });
 * app.post("/login", rateLimit((req) => login.hit({ address: address(req), email: req.body.email }), { skipSuccessfulRequests: true }), handle);
 */
export function createLogin(options: LoginOptions): Login {
  const { perAddress, perAccount, ...identity } = members("login", options, ["perAddress", "perAccount", "identitySecret"]) as unknown as LoginOptions;
  return {
    async hit(login) {
      const { address, email } = members("a login", login, ["address", "email"]);
      const parts = [
        { limiter: perAddress, key: byIp(text("address", address)) },
        { limiter: perAccount, key: await byAccount(text("email", email), identity) },
      ];
      const verdict = await hitAll(parts, { stamp: true, next: true });
      return {
        verdict,
        async refund() {
          const { chargedAt = 0 } = verdict; // 0: denied, or Redis was away. Nothing was charged, and nothing is given back
          if (chargedAt > 0) await hitAll(parts.map((part) => ({ ...part, cost: -1 })), { at: chargedAt, next: false });
        },
      };
    },
  };
}
