// Clients that speak REST, and the bridge to Redis that both use, in a process of its own.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { restClient } from "ratelimit-client/rest";
import { upstashDatabase } from "./upstash-database.mjs";

const TOKEN = "a-token-of-the-bench";

export async function rest({ port }) {
  const bridge = spawn(process.execPath, [new URL("./bridge.mjs", import.meta.url).pathname, port], { stdio: ["pipe", "pipe", "inherit"] });
  const [said] = await once(bridge.stdout.setEncoding("utf8"), "data");
  const url = `http://127.0.0.1:${Number(said)}`;
  return { ours: () => restClient({ url, token: TOKEN }), upstash: () => upstashDatabase({ url, token: TOKEN, retry: { retries: 0 } }) };
}
