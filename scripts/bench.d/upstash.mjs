// The same hits through @upstash/ratelimit's MultiRegionRatelimit: each region's caller writes to every region's database.
//   node upstash.mjs <request.json    {"algorithm", "limit", "windowMs", "token", "hits": [[ms, region]], "urls": [[url per database] per region]}
// Prints "go" when the clock starts, then {"admitted": [ms], "failed", "latest", "repairs"}.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { MultiRegionRatelimit } from "@upstash/ratelimit";
import { Redis } from "@upstash/redis";

const LEAD_MS = 500;
const request = JSON.parse(readFileSync(0, "utf8"));
const sha1 = (text) => createHash("sha1").update(text).digest("hex");

/** The scripts carry a flag that other servers than their vendor's refuse. */
function database(url) {
  const redis = new Redis({ url, token: request.token, enableTelemetry: false, enableAutoPipelining: false });
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

// Where one of several databases refuses, the package leaves that promise to nobody.
let failed = 0;
process.on("unhandledRejection", () => (failed += 1));

const limiter = MultiRegionRatelimit[request.algorithm](request.limit, `${request.windowMs} ms`);
const regions = request.urls.map((urls) => new MultiRegionRatelimit({ redis: urls.map(database), limiter, ephemeralCache: false, enableTelemetry: false }));
await Promise.all(regions.map((region) => region.limit("warm-up").then(({ pending }) => pending)));

const admitted = [];
let latest = 0;
let repairs = 0;
const underWay = [];
console.log("go");
const began = performance.now() + LEAD_MS;
for (const [at, region] of request.hits) {
  const wait = began + at - performance.now();
  if (wait > 0) await new Promise((resolve) => setTimeout(resolve, wait));
  latest = Math.max(latest, performance.now() - began - at);
  underWay.push(
    regions[region].limit("key").then(
      ({ success, pending }) => {
        if (success) admitted.push(Math.round(performance.now() - began));
        repairs += 1; // of the databases that lack something, one identifier after the other
        pending.catch(() => (failed += 1)).finally(() => (repairs -= 1));
      },
      () => (failed += 1),
    ),
  );
}
await Promise.all(underWay);
// It ends once all is written: a pipe takes 64 KiB at a time.
process.stdout.write(`${JSON.stringify({ admitted, failed, latest: Math.round(latest), repairs })}\n`, () => process.exit(0));
