// Limits to begin with. As policies of the server they are changed for the whole fleet at once, without a deploy:
// RL.POLICY SET login SLIDING 10 15m

import type { Common, Shape } from "./options.js";

type Preset = Shape & Pick<Common, "prefix" | "policy" | "block" | "unavailable">;

/** @example const login = createLimiter({ client, ...presets.login }); */
export const presets = {
  login: {
    prefix: "login",
    policy: "login",
    algorithm: "sliding",
    limits: { limit: 5, window: "15m" },
    unavailable: "closed",
  },
  passwordReset: {
    prefix: "password-reset",
    policy: "password-reset",
    algorithm: "sliding",
    limits: { limit: 3, window: "1h" },
    unavailable: "closed",
  },
  api: { prefix: "api", policy: "api", algorithm: "sliding", limits: { limit: 100, window: "15m" } },
  upload: { prefix: "upload", policy: "upload", algorithm: "sliding", limits: { limit: 10, window: "1h" } },
  llm: { prefix: "llm", policy: "llm", algorithm: "sliding", limits: { limit: 20, window: "1h" } },
} as const satisfies Record<string, Preset>;
