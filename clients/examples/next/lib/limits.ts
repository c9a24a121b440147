import { clientAddress, createLimiter, presets } from "ratelimit-client";
import { send } from "./redis";

// How many proxies stand in front of `next start`. Next.js tells no peer's address, and with none in front whoever asks
// writes X-Forwarded-For: then this is as good as no limit per address.
const hops = Number(process.env.TRUSTED_HOPS ?? 1);
export const addressOf = clientAddress({ hops });

export const perAddress = createLimiter({
  client: send,
  prefix: "address",
  policy: "address",
  algorithm: "sliding",
  limits: { limit: 100, window: "1m" },
  next: true, // its verdicts become fields of HTTP
});

export const perUser = createLimiter({
  client: send,
  prefix: "clicks",
  policy: "clicks",
  algorithm: "sliding",
  limits: { limit: 5, window: "1m" },
});

/** Tokens a day. Plans are policies: RL.POLICY SET tokens:pro FIXED 500000 1d */
export const tokens = createLimiter({
  client: send,
  prefix: "tokens",
  policy: "tokens",
  algorithm: "fixed",
  limits: { limit: 2000, window: "1d" },
  next: true,
});
export const planPolicies = (plan: string): string[] => [`tokens:${plan}`, "tokens"];

/** Who guesses is out for 15 minutes, then for an hour, then for a day. Closed while Redis is away. */
export const login = createLimiter({ client: send, ...presets.login, block: ["15m", "1h", "1d"] });
