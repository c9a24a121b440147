// The servers that scripts/test-clients started.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";

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

/** Waits for what must happen, however busy the machine is. */
export async function until(condition, seen = () => "") {
  for (const end = performance.now() + 30_000; !(await condition()); await pause(20)) {
    assert.ok(performance.now() < end, `never happened: ${condition} ${seen()}`);
  }
}

/** Holds a server still, and returns when it is. SIGCONT lets it go on. */
export async function stop({ pid }) {
  process.kill(pid, "SIGSTOP");
  await until(() => readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].startsWith("T"));
}
