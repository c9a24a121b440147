// The failure contract, by the table of failures.json, through the clients as they come.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { createLimiter } from "ratelimit-client";
import { AGAIN_MS, clients, clusters, limits, owner, PATIENT_MS, sentinels, SLACK_MS, TAG, timed, TIMEOUT_MS, up, used } from "./openers.js";
import { Proxy } from "./proxy.js";
import { port } from "./servers.js";

const { faults } = JSON.parse(readFileSync(new URL("failures.json", `file://${process.env.RATELIMIT_CLIENT_TESTS}/`), "utf8"));

for (const [name, open] of Object.entries({ ...clients, ...sentinels, ...clusters })) {
  describe(`${name}: faults`, { concurrency: name in clusters ? 3 : 6, timeout: 240_000 }, () => {
    for (const [index, fault] of faults.entries()) {
      const isFromStart = fault.fault === "refuse" || fault.fault === "silent";
      // What is told of at once has no need of a deadline, which a busy machine might miss.
      const isUntold = fault.failed && (fault.reason === "timeout" || fault.reason === undefined);
      for (const unavailable of ["open", "closed"]) {
        it(`${fault.fault} ${JSON.stringify(fault.bytes ?? "")}: ${unavailable}`, async (t) => {
          const to = name in clusters ? await owner() : port;
          const proxy = await Proxy.to(to);
          t.after(() => proxy.close());
          if (fault.fault === "refuse") await proxy.refuse(true);
          if (fault.fault === "silent") proxy.isSilent = true;
          const [client, close] = await open(proxy.port, to);
          t.after(close);
          const errors = [];
          const events = [];
          const api = createLimiter({ client, ...limits, timeoutMs: isUntold ? TIMEOUT_MS : PATIENT_MS, unavailable, onError: (error) => errors.push(error), onHit: (event) => events.push(event) });
          const key = `${TAG}failures:${name}:${index}:${unavailable}`;
          if (!isFromStart) await up(api, `${TAG}failures:warm`);
          errors.length = events.length = 0;

          const [verdict, ms] = await timed(() => {
            const answer = api.hit(key);
            if (!isFromStart) proxy.next = { ...fault, until: answer };
            return answer;
          });
          assert.ok(ms < TIMEOUT_MS + SLACK_MS, `${ms} ms`);
          assert.equal(verdict.error !== undefined, fault.failed, String(verdict.error));
          assert.equal(verdict.allowed, fault.failed ? unavailable === "open" : true);
          assert.equal(errors.length, fault.failed ? 1 : 0);
          assert.deepEqual(events.map(({ outcome }) => outcome), [fault.failed ? unavailable : "allowed"]);
          if (fault.failed) assert.match(events[0].reason, fault.reason === undefined ? /^(timeout|connection|server|refused)$/ : new RegExp(`^${fault.reason}$`));

          proxy.isSilent = false;
          if (fault.fault === "refuse") await proxy.refuse(false);
          // Sound again: hits are counted, and each has its own answer.
          await up(api, `${TAG}failures:sound`);
          assert.equal((await up(api, key, { cost: 0 })).remaining, 1000 - fault.charged);
          await pause(AGAIN_MS);
          assert.equal(await used(key, to), fault.charged);
        });
      }
    }
  });
}
