// Clients that speak REST, and the bridge to Redis that both use, in a process of its own.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Redis } from "@upstash/redis";
import { restClient } from "ratelimit-client/rest";

const TOKEN = "a-token-of-the-bench";
const sha1 = (text) => createHash("sha1").update(text).digest("hex");

export async function rest({ port }) {
  const bridge = spawn(process.execPath, [new URL("./bridge.mjs", import.meta.url).pathname, port], { stdio: ["pipe", "pipe", "inherit"] });
  const [said] = await once(bridge.stdout.setEncoding("utf8"), "data");
  const url = `http://127.0.0.1:${Number(said)}`;
  return { ours: () => restClient({ url, token: TOKEN }), upstash: () => database(url) };
}

/** The library's scripts carry a flag that other servers than its vendor's refuse. */
function database(url) {
  const redis = new Redis({ url, token: TOKEN, enableTelemetry: false, enableAutoPipelining: false, retry: { retries: 0 } });
  const shas = new Map();
  const { eval: run, evalsha: runSha } = redis;
  redis.evalsha = (sha, keys, args) => {
    if (!shas.has(sha)) throw new Error("NOSCRIPT");
    return runSha(shas.get(sha), keys, args);
  };
  redis.eval = (script, keys, args) => {
    const plain = script.replace(/^#!lua flags=allow-key-locking\n/, "#!lua\n");
    shas.set(sha1(script), sha1(plain));
    return run(plain, keys, args);
  };
  return redis;
}
