// The failure contract beyond its table: what is promised of hits, of those with an id, and of leases.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import { Redis } from "ioredis";
import { createLeaser, createLimiter } from "ratelimit-client";
import { createClient } from "redis";
import { adminOf, AGAIN_MS, clients, limits, PATIENT_MS, SLACK_MS, timed, TIMEOUT_MS, up, used } from "./openers.js";
import { Proxy } from "./proxy.js";
import { clusterPort, ownServer, port, stop, until } from "./servers.js";

/** Held still by a test. */
const stalled = await ownServer();
after(() => stalled.end());

let admin;
before(async () => (admin = await adminOf(port)));

for (const [name, open] of Object.entries(clients)) {
  describe(`${name}: the promise`, { timeout: 240_000 }, () => {
    const limiter = (client, options) => createLimiter({ client, ...limits, prefix: `promise:${name}`, timeoutMs: TIMEOUT_MS, onError() {}, ...options });

    it("a server that is stopped: each hit in time, charged once at most, none of them later than it was sent", async (t) => {
      const [client, close] = await open(stalled.port);
      t.after(close);
      let asked = 0;
      const api = limiter(client, { prefix: `stopped:${name}`, onHit: () => (asked += 1) });
      await up(api, "k");
      await stop(stalled);
      try {
        for (let burst = 0; burst < 3; burst++) {
          const [verdicts, ms] = await timed(() => Promise.all(Array.from({ length: 100 }, () => api.hit("k"))));
          assert.ok(verdicts.every(({ allowed, error }) => allowed && error));
          assert.ok(ms < TIMEOUT_MS + SLACK_MS, `${ms} ms`);
        }
      } finally {
        process.kill(stalled.pid, "SIGCONT");
      }
      const own = await createClient({ socket: { port: stalled.port } }).connect();
      t.after(() => own.close());
      await pause(AGAIN_MS);
      const [, limit, remaining] = await own.sendCommand(["RL.PEEK", "FIXED", `stopped:${name}:k`, "1000", "3650d", "COST", "0"]);
      assert.ok(limit - remaining <= asked, `${limit - remaining} of ${asked} hits`);
    });

    it("asked while Redis is away: nothing is sent when it is back", async (t) => {
      const proxy = await Proxy.to(port);
      t.after(() => proxy.close());
      const [client, close] = await open(proxy.port);
      t.after(close);
      const api = limiter(client);
      await up(api, "away", { cost: 0 });
      await proxy.refuse(true);
      for (let hit = 0; hit < 50; hit++) {
        assert.ok((await api.hit("away")).error);
        if (hit % 10 === 0) await pause(20);
      }
      await proxy.refuse(false);
      await up(api, "away", { cost: 0 });
      await pause(AGAIN_MS);
      assert.equal(await used(`promise:${name}:away`), 0);
    });

    it("a cold start is no hole: the first hits of a process are counted, by a client that is not connected", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const api = limiter(client, { limits: { limit: 1, window: "3650d" }, timeoutMs: 60_000 });
      const verdicts = await Promise.all(Array.from({ length: 3000 }, () => api.hit("cold")));
      assert.equal(verdicts.filter(({ allowed }) => allowed).length, 1);
    });

    it("a stall of the application is no hole: the answer lies in the socket, and is read before it is called late", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const api = limiter(client, { limits: { limit: 1, window: "3650d" } });
      await up(api, "stall");
      for (const delay of [() => Promise.resolve(), () => new Promise((resolve) => setImmediate(resolve)), () => pause(5)]) {
        const answer = api.hit("stall");
        await delay();
        for (const until = performance.now() + 2 * TIMEOUT_MS; performance.now() < until; );
        const { allowed, error } = await answer;
        assert.deepEqual([allowed, error], [false, undefined]);
      }
    });

    it("30,000 hits at once, of which one is allowed", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const api = limiter(client, { limits: { limit: 1, window: "3650d" }, timeoutMs: 5000 });
      let allowed = 0;
      const errors = new Set();
      await Promise.all(Array.from({ length: 30_000 }, async () => {
        const verdict = await api.hit("burst");
        if (verdict.error) errors.add(verdict.error.message);
        else if (verdict.allowed) allowed += 1;
      }));
      assert.deepEqual([allowed, [...errors]], [1, []]);
    });

    it("10,000 hits leave no timer, no listener and no handle behind", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const api = limiter(client, { timeoutMs: PATIENT_MS }); // a timer for each hit would outlast what is waited for here
      assert.equal((await api.hit("left")).error, undefined);
      const counts = () => ({
        handles: process._getActiveHandles().length,
        timers: process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length,
        listeners: client.eventNames().reduce((sum, event) => sum + client.listenerCount(event), 0),
      });
      const isNoMore = (now, than) => Object.keys(now).every((kind) => now[kind] <= than[kind]);
      /** They come down to that, and stay. */
      const settle = async (than) => {
        let seen = 0;
        const settled = async () => {
          seen = isNoMore(counts(), than()) ? seen + 1 : 0;
          return seen > 10;
        };
        await until(settled, () => JSON.stringify({ now: counts(), before: than() }));
      };
      // What tests before this one closed is gone, and the application's own connection is made.
      let least = counts();
      await until(() => client.isReady || client.status === "ready");
      await settle(() => {
        const now = counts();
        if (!isNoMore(least, now)) least = now;
        return least;
      });
      const before = counts();
      for (let i = 0; i < 100; i++) await Promise.all(Array.from({ length: 100 }, () => api.hit("left")));
      await settle(() => before);
    });

    it("an application that closes its client is not kept alive, nor is one that only forgets to wait", async () => {
      for (const ending of ["await end()", ""]) {
        const code = `
          import { Redis } from "ioredis";
          import { createClient } from "redis";
          import { createLimiter } from "ratelimit-client";
          const port = ${port};
          ${name === "ioredis" ? "const client = new Redis(port); const end = () => client.quit();" : "const client = createClient({ socket: { port } }); await client.connect(); const end = () => client.close();"}
          const api = createLimiter({ client, algorithm: "fixed", limits: { limit: 1000, window: "3650d" } });
          const { allowed } = await api.hit("ending:" + process.pid);
          console.log(allowed);
          ${ending === "" ? (name === "ioredis" ? "client.disconnect()" : "client.destroy()") : ending};`;
        const child = spawn(process.execPath, ["--input-type=module", "--eval", code], { stdio: ["ignore", "pipe", "inherit"], timeout: 30_000 });
        let output = "";
        child.stdout.on("data", (data) => (output += data));
        const [exitCode] = await once(child, "exit");
        assert.deepEqual([exitCode, output], [0, "true\n"]);
      }
    });

    it("a client that was closed is said to be, and one that is opened again is used again", async (t) => {
      const [client, close] = await open(port);
      const api = limiter(client, { timeoutMs: 60_000 });
      assert.equal((await api.hit("closed")).error, undefined);
      close();
      let said;
      await until(async () => /the client was closed/.test((said = String((await api.hit("closed")).error))), () => said);
      await client.connect();
      t.after(close);
      assert.equal((await api.hit("closed")).error, undefined);
    });
  });

  describe(`${name}: a hit with an id`, { concurrency: 6, timeout: 240_000 }, () => {
    /** A limiter behind a proxy, its connection made, and what it told. */
    const behind = async (t, options) => {
      const proxy = await Proxy.to(port);
      t.after(() => proxy.close());
      const [client, close] = await open(proxy.port);
      t.after(close);
      const errors = [];
      const api = createLimiter({ client, ...limits, timeoutMs: PATIENT_MS, onError: (error) => errors.push(error.message), ...options });
      await up(api, "failures:warm");
      errors.length = 0;
      return { proxy, api, errors };
    };
    const sent = [
      { fault: "cut-after", isLost: true },
      { fault: "cut-middle", isLost: true },
      { fault: "cut-before", isLost: false },
      { fault: "reset-before", isLost: false },
      { fault: "error", bytes: "-LOADING Redis is loading the dataset in memory\r\n", isLost: false },
      { fault: "error", bytes: "-READONLY You can't write against a read only replica.\r\n", isLost: false },
    ];
    for (const [index, { isLost, ...fault }] of sent.entries()) {
      it(`${fault.fault} ${fault.bytes ?? ""}: sent again where asked, charged once, and nothing to tell`, async (t) => {
        const { proxy, api, errors } = await behind(t);
        const key = `ids:${name}:${index}`;
        proxy.next = fault;
        const { allowed, remaining, taken, repeated, error } = await api.hit(key, { id: "req-1", cost: 5, retry: 5 });
        assert.deepEqual([allowed, remaining, taken, repeated, error], [true, 995, 5, isLost, undefined]);
        assert.equal(proxy.next, undefined);
        assert.deepEqual(errors, []);
        assert.equal(await used(key), 5);
      });

      it(`${fault.fault} ${fault.bytes ?? ""}: not sent again where nobody asks; the caller's own second try is charged once`, async (t) => {
        const { proxy, api, errors } = await behind(t);
        const key = `ids:${name}:${index}:own`;
        proxy.next = fault;
        assert.ok((await api.hit(key, { id: "req-1", cost: 5 })).error);
        assert.equal(errors.length, 1);
        await pause(AGAIN_MS);
        assert.equal(await used(key), isLost ? 5 : 0);
        assert.equal((await up(api, key, { id: "req-1", cost: 5 })).repeated, isLost);
        assert.equal(await used(key), 5);
      });
    }

    it("what the server refuses is not asked again", async (t) => {
      const { proxy, api, errors } = await behind(t);
      proxy.next = { fault: "error", bytes: "-NOPERM this user has no permissions\r\n" };
      assert.match((await api.hit(`ids:${name}:noperm`, { id: "req-1", retry: 5 })).error.message, /NOPERM/);
      assert.equal(errors.length, 1);
      await pause(AGAIN_MS);
      assert.equal(await used(`ids:${name}:noperm`), 0);
    });

    it("more failures than tries: the last one is the verdict's, and told once", async (t) => {
      let asked = 0;
      const client = async () => {
        asked += 1;
        throw new Error(`LOADING ${asked}`);
      };
      const errors = [];
      const api = createLimiter({ client, ...limits, timeoutMs: PATIENT_MS, onError: (error) => errors.push(error.message) });
      assert.equal((await api.hit("k", { id: "req-1", retry: 2 })).error.message, "LOADING 3");
      assert.deepEqual([asked, errors], [3, ["LOADING 3"]]);
    });

    for (const how of ["refused", "silent"]) {
      it(`${how}: no try is made after the deadline`, async (t) => {
        const { proxy, api, errors } = await behind(t, { timeoutMs: TIMEOUT_MS });
        const key = `ids:${name}:${how}`;
        if (how === "refused") await proxy.refuse(true);
        else proxy.isSilent = true;
        const [{ error }, ms] = await timed(() => api.hit(key, { id: "req-1", retry: 10 }));
        assert.ok(error);
        assert.ok(ms < TIMEOUT_MS + SLACK_MS, `${ms} ms`);
        assert.equal(errors.length, 1);
        if (how === "refused") await proxy.refuse(false);
        proxy.isSilent = false;
        await up(api, "failures:sound");
        await pause(AGAIN_MS);
        assert.equal(await used(key), 0);
      });
    }
  });

  describe(`${name}: what an administrator does`, () => {
    it("a node without the right, without the module, in a cluster; another type: open, loud, and no exception", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      await admin.set(`admin:${name}`, "text");
      const errors = [];
      const api = createLimiter({ client, ...limits, timeoutMs: 60_000, onError: (error) => errors.push(error.code) });
      assert.equal((await api.hit(`admin:${name}`)).allowed, true);
      await admin.sendCommand(["ACL", "SETUSER", `some-${name}`, "on", ">secret", "~*", "+@all", "-rl.fixed"]);
      const restricted = name === "ioredis" ? new Redis({ port, username: `some-${name}`, password: "secret" }) : createClient({ username: `some-${name}`, password: "secret", socket: { port } });
      t.after(() => (restricted.disconnect ?? restricted.destroy).call(restricted));
      const closed = createLimiter({ client: restricted, ...limits, timeoutMs: 60_000, unavailable: "closed", onError: (error) => errors.push(error.code) });
      assert.equal((await closed.hit("k")).allowed, false);
      assert.deepEqual(errors, ["WRONGTYPE", "NOPERM"]);
    });
  });

  describe(`${name}: leases come back`, { concurrency: 12, timeout: 240_000 }, () => {
    const leaser = (client, options) => createLeaser({ client, prefix: `leases:${name}`, limit: 2, ttl: "10m", timeoutMs: TIMEOUT_MS, onError() {}, ...options });
    const held = async (key) => (await admin.exists(`leases:${name}:${key}`)) === 1;

    for (const fault of ["stall", "cut-after", "late", "swallow", "cut-before"]) {
      it(`${fault}: whoever was not answered holds nothing`, async (t) => {
        const proxy = await Proxy.to(port);
        t.after(() => proxy.close());
        const [client, close] = await open(proxy.port);
        t.after(close);
        const exports = leaser(client);
        await until(async () => !(await exports.acquire("warm", { cost: 0 })).verdict.error);
        const acquiring = exports.acquire(fault);
        proxy.next = { fault, until: acquiring };
        assert.ok((await acquiring).verdict.error);
        if (fault === "stall" || fault === "swallow") {
          await pause(100);
          proxy.cut(); // the connection is noticed to be dead
        }
        await until(async () => !(await held(fault)));
      });
    }

    it("three holders that timed out on a stopped server keep no slot", async (t) => {
      const [client, close] = await open(stalled.port);
      t.after(close);
      const exports = leaser(client, { prefix: `stopped-leases:${name}`, limit: 3 });
      await until(async () => !(await exports.acquire("k", { cost: 0 })).verdict.error);
      await stop(stalled);
      try {
        const answers = await Promise.all([1, 2, 3].map(() => exports.acquire("k")));
        assert.ok(answers.every(({ verdict }) => verdict.error));
      } finally {
        process.kill(stalled.pid, "SIGCONT");
      }
      await until(async () => {
        const { verdict } = await exports.acquire("k", { cost: 0 });
        return !verdict.error && verdict.remaining === 3;
      });
    });

    it("work that outlasts its ttl keeps its lease; it ends with the work, whichever way that ends", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const exports = leaser(client, { limit: 1, ttl: "3s", timeoutMs: 60_000 });
      let finish;
      const working = exports.hold("long", () => new Promise((resolve) => (finish = resolve)));
      for (const end = performance.now() + 7000; performance.now() < end; await pause(50)) {
        assert.equal((await exports.acquire("long", { cost: 1 })).verdict.allowed, false);
      }
      finish("done");
      const { result, lost } = await working;
      assert.deepEqual([result, lost, await held("long")], ["done", false, false]);
      await assert.rejects(exports.hold("long", () => Promise.reject(new Error("failed"))), /failed/);
      await assert.rejects(exports.hold("long", () => { throw new Error("thrown"); }), /thrown/);
      assert.equal(await held("long"), false);
    });

    it("a cancellation reaches the work, and the lease ends with it", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const exports = leaser(client, { timeoutMs: 60_000 });
      const controller = new AbortController();
      const work = (signal) => new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      const working = exports.hold("cancelled", work, { signal: controller.signal });
      await until(() => held("cancelled"));
      controller.abort();
      await assert.rejects(working, { name: "AbortError" });
      assert.equal(await held("cancelled"), false);
      await assert.rejects(exports.hold("cancelled", work, { signal: controller.signal }), { name: "AbortError" });
      // While the lease is being asked for: no work is begun that has missed its cancellation.
      const early = new AbortController();
      const asking = exports.hold("cancelled", work, { signal: early.signal });
      early.abort();
      await assert.rejects(asking, { name: "AbortError" });
      assert.equal(await held("cancelled"), false);
    });

    it("a lease that is lost is said to be, and its work is told", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const exports = leaser(client, { ttl: "600ms", timeoutMs: 60_000 });
      let error;
      await admin.sendCommand(["RL.DENY", "DROP", `lost-${name}`]);
      const working = exports.hold("lost", (signal) => new Promise((resolve) => signal.addEventListener("abort", () => resolve(signal.reason.name))), {
        deny: { list: `lost-${name}`, values: ["job"] },
        onLost: (lost) => (error = lost),
      });
      await until(() => held("lost"));
      await admin.sendCommand(["RL.DENY", "ADD", `lost-${name}`, "job"]); // a list stops renewals
      const { result, lost } = await working;
      assert.deepEqual([result, lost, error.name], ["LeaseLostError", true, "LeaseLostError"]);
    });

    it("whoever is denied is told to come back when a lease usually ends, and no later", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const { id } = await leaser(client, { limit: 1, timeoutMs: 60_000 }).acquire("typical");
      const retryAfterMs = async (options) => (await leaser(client, { limit: 1, timeoutMs: 60_000, ...options }).acquire("typical")).verdict.retryAfterMs;
      assert.ok((await retryAfterMs()) > 300_000);
      assert.equal(await retryAfterMs({ typicalMs: 500 }), 500);
      assert.ok((await retryAfterMs({ typicalMs: 3_600_000 })) <= 600_000);
      assert.equal((await leaser(client, { limit: 0, timeoutMs: 60_000, typicalMs: 500 }).acquire("never")).verdict.retryAfterMs, -1);
      await leaser(client, { limit: 1 }).release("typical", id);
      for (const typicalMs of [0, -1, 1.5, "1s"]) assert.throws(() => leaser(client, { typicalMs }), { name: "TypeError", message: /^typicalMs/ });
    });

    it("waits for a slot, and is let in when one is free", async (t) => {
      const [client, close] = await open(port);
      t.after(close);
      const exports = leaser(client, { limit: 1, timeoutMs: 60_000 });
      const { id } = await exports.acquire("wait");
      assert.equal((await exports.wait("wait", { timeoutMs: 50 })).verdict.allowed, false);
      const waiting = exports.wait("wait");
      await exports.release("wait", id);
      const { verdict, id: own } = await waiting;
      assert.equal(verdict.allowed, true);
      await exports.release("wait", own);
    });
  });
}

it("a client that cannot be made safe is refused, with what to set", async () => {
  const { createClientPool, createSentinel } = await import("redis");
  const { Redis: Upstash } = await import("@upstash/redis");
  const refused = (client, says) => assert.throws(() => createLimiter({ client, ...limits }), { name: "TypeError", message: says });
  refused(createClientPool({ socket: { port } }), /pool/);
  refused(createSentinel({ name: "main", sentinelRootNodes: [{ host: "127.0.0.1", port: clusterPort }] }), /sentinel/);
  refused(new Upstash({ url: "https://rest.test", token: "x" }), /retry: \{ retries: 0 \}/);
  createLimiter({ client: new Upstash({ url: "https://rest.test", token: "x", retry: { retries: 0 } }), ...limits });
});

it("the log has a line a second, with a count", async (t) => {
  const lines = [];
  t.mock.method(console, "error", (line) => lines.push(line));
  const api = createLimiter({ client: () => Promise.reject(new Error("away")), prefix: "loud", ...limits });
  const since = performance.now();
  while (performance.now() < since + 1100) await api.hit("k");
  const seconds = (performance.now() - since) / 1000;
  assert.ok(lines.length >= 2 && lines.length <= 1 + seconds, `${lines.length} lines in ${seconds} s`);
  assert.match(lines[0], /^rate limiter "loud": connection: away$/);
  assert.match(lines[1], /away \(and \d+ more since the last line\)$/);
});

it("a hook that throws is no failed hit", async (t) => {
  t.mock.method(console, "error", () => {});
  const hook = () => { throw new Error("hook"); };
  const api = createLimiter({ client: () => Promise.reject(new Error("away")), ...limits, onError: hook, onHit: hook });
  assert.equal((await api.hit("k")).allowed, true);
});

describe("a mistake is told when the limiter is made", () => {
  for (const window of ["1min", "15 m", "0s", "01s", "60", "1.5h", "", "4000d", "1mo@", "2mo", "5y", "1h@05:00", "@first", "1mo@first"]) {
    it(JSON.stringify(window), () => assert.throws(() => createLimiter({ client: async () => 1, algorithm: "fixed", limits: { limit: 1, window } }), /limits\[0\]\.window: expected a duration/));
  }
  for (const window of ["1ms", "15M", "3660d", "1w@thu", "1mo", "3mo", "1y", "1mo@15,13:45", "1d@Europe/Berlin", "1d@05:00,+02:00", "5h@first", "1w@18:00"]) {
    it(`${window} is one`, () => createLimiter({ client: async () => 1, algorithm: "fixed", limits: { limit: 1, window } }));
  }
});
