// A database of @upstash/redis, for @upstash/ratelimit over any Redis: the library's scripts carry a flag that other servers
// than its vendor's refuse.

import { createHash } from "node:crypto";
import { Redis } from "@upstash/redis";

const sha1 = (text) => createHash("sha1").update(text).digest("hex");

export function upstashDatabase(options) {
  const redis = new Redis({ ...options, enableTelemetry: false, enableAutoPipelining: false });
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
