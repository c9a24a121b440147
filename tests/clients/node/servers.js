// The servers that scripts/test-clients started.

import { readFileSync } from "node:fs";

const number = (name) => {
  const value = Number(process.env[name]);
  if (!(value > 0)) throw new Error(`${name} is not set: run scripts/test-clients`);
  return value;
};

export const port = number("RATELIMIT_PORT");
export const clusterPort = number("RATELIMIT_CLUSTER_PORT");
/** A server that a test may hold still with SIGSTOP: as slow as a server can be. */
export const stalled = { port: number("RATELIMIT_STALLED_PORT"), pid: number("RATELIMIT_STALLED_PID") };
export const { scenarios } = JSON.parse(readFileSync(process.env.RATELIMIT_SCENARIOS, "utf8"));
