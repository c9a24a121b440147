// The same hits through @upstash/ratelimit's MultiRegionRatelimit: each region's caller writes to every region's database.
//   node upstash.mjs <request.json    {"algorithm", "limit", "windowMs", "token", "hits": [[ms, region]], "urls": [[url per database] per region]}
// Prints "go" when the clock starts, then {"admitted": [ms], "failed", "latest", "repairs"}.

import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { MultiRegionRatelimit } from "@upstash/ratelimit";
import { upstashDatabase } from "./upstash-database.mjs";

const LEAD_MS = 500;
const request = JSON.parse(readFileSync(0, "utf8"));

const database = (url) => upstashDatabase({ url, token: request.token });

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
