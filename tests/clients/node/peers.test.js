// What the libraries' own tests ask of a store, asked of ours. @fastify/rate-limit's package contains its tests, which are run as
// they are; of the others the cases are here in words of our own. What is left out, and why, stands in clients/PEERS.md.

import "reflect-metadata";
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createServer, request as httpRequest } from "node:http";
import { after, before, describe, it } from "node:test";
import { setTimeout as pause } from "node:timers/promises";
import fastifyRateLimit from "@fastify/rate-limit";
import { serve } from "@hono/node-server";
import { Controller, Get, Module } from "@nestjs/common";
import { APP_GUARD, NestFactory } from "@nestjs/core";
import { SkipThrottle, Throttle, ThrottlerGuard, ThrottlerModule } from "@nestjs/throttler";
import express from "express";
import { rateLimit } from "express-rate-limit";
import Fastify from "fastify";
import { Hono } from "hono";
import { rateLimiter } from "hono-rate-limiter";
import { RatelimitStore } from "ratelimit-client/express-rate-limit";
import { ratelimitStore } from "ratelimit-client/fastify";
import { RatelimitThrottlerStorage } from "ratelimit-client/nestjs";
import { RateLimiterNative, RateLimiterRes } from "ratelimit-client/rate-limiter-flexible";
import { createClient } from "redis";
import { port, until } from "./servers.js";

let client;
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const MINUTE = 60_000;
let made = 0;
const options = (more) => ({ client, prefix: `peers:${process.pid}:${(made += 1)}`, timeoutMs: MINUTE, ...more });
const times = async (many, ask) => {
  const seen = [];
  for (let i = 0; i < many; i++) seen.push(await ask(i));
  return seen;
};

describe("@fastify/rate-limit's own tests, over our store", () => {
  const DENIED = "a denied request is not counted, nor does it lengthen the wait: the option is refused";
  const AWAY = "Redis away is `unavailable`'s to decide, and an ended client ends the store's connection when it is seen";
  const MINUTE_LONG = "takes a minute";
  const STILL = "wants a clock that stands still: a ttl of the whole window to the millisecond";
  const leftOut = {
    "redis-rate-limit": {
      "With redis store (ban)": DENIED,
      "When continue exceeding is on (Redis)": DENIED,
      "When continue exceeding is off under route (Redis)": DENIED,
      "Redis with continueExceeding should not always return the timeWindow as ttl": DENIED,
      "With redis store and exponential backoff": DENIED,
      "Route-specific exponential backoff with redis store": DENIED,
      "Throw on redis error": AWAY,
      "Skip on redis error": AWAY,
      "With { increment: false } it throws on redis error": AWAY,
    },
    "global-rate-limit": {
      "With ban": DENIED,
      "With onBanReach option": DENIED,
      "When continue exceeding is on (Local)": DENIED,
      "With enabled IETF Draft Spec": STILL,
      "When passing NaN to the timeWindow property then the timeWindow should be the default value - 60 seconds": MINUTE_LONG,
    },
    "route-rate-limit": {
      "With ban": DENIED,
      "When continue exceeding is on (Local)": DENIED,
      "With NaN in subroute config": MINUTE_LONG,
    },
    "group-rate-limit": {},
    "create-rate-limit": {
      "With global rate limit options": STILL,
      "With custom rate limit options": DENIED,
      "With { increment: false } it reads the state without consuming it": STILL,
      "With { increment: false } and continueExceeding the peek mirrors the active window": DENIED,
      "With { increment: false } and exponentialBackoff the peek reports the base window without escalating it": DENIED,
    },
    "not-found-handler-rate-limited": {},
  };
  const home = new URL("./node_modules/@fastify/rate-limit/test/", import.meta.url);

  /** The names of those that passed, failed and were left out. */
  async function run(file, only = []) {
    const left = leftOut[file];
    const patterns = only.map((name) => `--test-name-pattern=^${name.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&")}$`);
    const { NODE_TEST_CONTEXT, ...env } = process.env;
    const child = spawn(process.execPath, ["--require", "./fastify-suite.cjs", "--test-force-exit", "--test-reporter=tap", ...patterns, new URL(`${file}.test.js`, home).pathname], {
      env: { ...env, RATELIMIT_LEFT_OUT: JSON.stringify(left) }, stdio: ["ignore", "pipe", "inherit"],
    });
    let report = "";
    for await (const piece of child.stdout) report += piece;
    const results = { passed: [], failed: [], left: [], report };
    for (const [, not, name, skipped] of report.matchAll(/^ *(not )?ok \d+ - (.*?)( # SKIP.*)?$/gm)) {
      if (/^ *# Subtest: /.test(name) || ["Global rate limit", "Route rate limit"].includes(name)) continue;
      results[skipped ? "left" : not ? "failed" : "passed"].push(name.replaceAll("\\", ""));
    }
    return results;
  }

  const many = { "redis-rate-limit": 4, "global-rate-limit": 29, "route-rate-limit": 35, "group-rate-limit": 5, "create-rate-limit": 2, "not-found-handler-rate-limited": 2 };
  const suites = {};
  for (const [file, expected] of Object.entries(many)) {
    it(`${file}: ${expected} tests`, async () => {
      for (const each of Object.keys(many)) suites[each] ??= run(each); // side by side
      const { passed, left } = await suites[file];
      let { failed, report } = await suites[file];
      assert.equal(passed.length + failed.length, expected, report);
      assert.deepEqual(new Set(left.filter((name) => !name.startsWith("limit reset per Local"))), new Set(Object.keys(leftOut[file])));
      // Their windows are a second long, which a busy machine may sleep through.
      for (let tries = 0; tries < 3 && failed.length > 0; tries++) {
        ({ failed, report } = await run(file, failed));
      }
      assert.deepEqual(failed, [], report);
    });
  }
});

/** Each library under its own framework's server: `/as/401` answers so once the gate is open, `/crash` throws. */
const servers = {
  async "express-rate-limit"(given) {
    const gate = { open: Promise.resolve() };
    const seen = [];
    const app = express().use(rateLimit({ windowMs: MINUTE, limit: 3, keyGenerator: (req) => req.headers["x-key"] ?? "k", logger: { error() {}, warn() {} }, ...given }));
    app.get("/as/:status", async (req, res) => {
      seen.push(req.rateLimit);
      await gate.open;
      res.status(Number(req.params.status)).end();
    });
    app.get("/crash", () => Promise.reject(new Error("crash")));
    app.use((error, req, res, next) => res.status(500).end()); // eslint-disable-line no-unused-vars
    const server = createServer(app).listen(0, "127.0.0.1");
    await once(server, "listening");
    return { server, gate, seen };
  },
  async "hono-rate-limiter"(given) {
    const gate = { open: Promise.resolve() };
    const seen = [];
    const app = new Hono();
    app.use(rateLimiter({ windowMs: MINUTE, limit: 3, keyGenerator: (c) => c.req.header("x-key") ?? "k", ...given }));
    app.get("/as/:status", async (c) => {
      seen.push(c.get("rateLimit"));
      await gate.open;
      return c.body(null, Number(c.req.param("status")));
    });
    app.get("/crash", () => Promise.reject(new Error("crash")));
    app.onError((error, c) => c.body(null, 500));
    const server = serve({ fetch: app.fetch, port: 0, hostname: "127.0.0.1" });
    if (!server.listening) await once(server, "listening");
    return { server, gate, seen };
  },
};

for (const [name, start] of Object.entries(servers)) {
  describe(`${name}: what its tests ask of a store`, () => {
    async function using(t, given) {
      const store = given.store ?? new RatelimitStore(options());
      const { server, ...rest } = await start({ ...given, store });
      t.after(() => server.closeAllConnections());
      t.after(() => server.close());
      const origin = `http://127.0.0.1:${server.address().port}`;
      const ask = async (path, key = "k") => (await fetch(origin + path, { headers: { "x-key": key } })).status;
      const used = async (key = "k") => (await store.get(key))?.totalHits ?? 0;
      return { store, ask, used, origin, ...rest };
    }

    it("counts each key by itself, says what is used, and forgets by resetKey", async (t) => {
      const { store, ask, used, seen } = await using(t, {});
      assert.deepEqual(await times(4, () => ask("/as/200")), [200, 200, 200, 429]);
      assert.equal(await ask("/as/200", "other"), 200);
      assert.deepEqual(seen.map(({ limit, used, remaining }) => [limit, used, remaining]), [[3, 1, 2], [3, 2, 1], [3, 3, 0], [3, 1, 2]]);
      for (const { resetTime } of seen) assert.ok(resetTime.getTime() > Date.now() && resetTime.getTime() <= Date.now() + MINUTE, `${resetTime}`);
      await store.resetKey("k");
      assert.deepEqual([await used(), await used("other")], [0, 1]);
      assert.equal(await ask("/as/200"), 200);
    });

    it("a limit of 0 lets nobody in", async (t) => {
      const { ask } = await using(t, { limit: 0, validate: false });
      assert.deepEqual(await times(2, () => ask("/as/200")), [429, 429]);
    });

    it("lets in again once the window is over", async (t) => {
      const { ask } = await using(t, { windowMs: 300, limit: 1 });
      assert.equal(await ask("/as/200"), 200);
      await until(async () => (await ask("/as/200")) === 200);
    });

    // A login under attack: all at once, and none has been answered when the last one comes.
    for (const skipFailedRequests of [false, true]) {
      for (const skipSuccessfulRequests of [false, true]) {
        it(`thirty logins at once, skipFailedRequests ${skipFailedRequests}, skipSuccessfulRequests ${skipSuccessfulRequests}: three get in`, async (t) => {
          const { ask, used, gate } = await using(t, { skipFailedRequests, skipSuccessfulRequests });
          // express-rate-limit takes its own 429 for a failure, hono-rate-limiter for a success: it has no status yet.
          const areDenialsSkipped = name === "express-rate-limit" ? skipFailedRequests : skipSuccessfulRequests;
          for (const status of [401, 200]) {
            const isSkipped = status === 401 ? skipFailedRequests : skipSuccessfulRequests;
            const key = `at once ${status}`;
            const counted = (isSkipped ? 0 : 3) + (areDenialsSkipped || !(skipFailedRequests || skipSuccessfulRequests) ? 0 : 27);
            for (let round = 1; round <= 3; round++) {
              let open;
              gate.open = new Promise((resolve) => (open = resolve));
              const expected = round === 1 || counted === 0 ? 3 : 0;
              const statuses = [];
              const asked = Promise.all(Array.from({ length: 30 }, () => ask(`/as/${status}`, key).then((one) => statuses.push(one))));
              await until(() => statuses.length >= 30 - expected, () => `${statuses}`); // the denied ones
              assert.ok(statuses.every((one) => one === 429), `${status}, round ${round}: ${statuses}`);
              open();
              await asked;
              assert.equal(statuses.filter((one) => one === status).length, expected, `${status}, round ${round}: ${statuses}`);
              // What is skipped is given back, and nothing else is.
              await until(async () => (await used(key)) === (counted > 0 ? 4 : 0), () => `${status}, round ${round}`);
            }
          }
        });
      }
    }

    it("a crash, a caller who hangs up: given back where failures are skipped, kept where they are not", async (t) => {
      for (const skipFailedRequests of [true, false]) {
        const { ask, used, gate, seen, origin } = await using(t, { skipFailedRequests, limit: 5 });
        const left = skipFailedRequests ? 0 : 1;
        assert.equal(await ask("/crash"), 500);
        await until(async () => (await used()) === left);
        if (name !== "express-rate-limit") continue; // Hono's does not see it
        let open;
        gate.open = new Promise((resolve) => (open = resolve));
        const hanging = httpRequest(`${origin}/as/200`, { headers: { "x-key": "gone" } }).on("error", () => {}).end();
        await until(() => seen.length === 1);
        assert.equal(await used("gone"), 1);
        hanging.destroy();
        await until(async () => (await used("gone")) === left);
        open();
        assert.equal(await ask("/as/200", "gone"), 200);
        await until(async () => (await used("gone")) === left + 1);
      }
    });

    it("what counts as a success is the application's to say, also later", async (t) => {
      const { ask, used } = await using(t, {
        skipSuccessfulRequests: true, limit: 2,
        requestWasSuccessful: async (one, response) => (response?.statusCode ?? one.res.status) === 401,
      });
      assert.deepEqual(await times(5, () => ask("/as/401")), [401, 401, 401, 401, 401]);
      await until(async () => (await used()) === 0);
      assert.deepEqual(await times(3, () => ask("/as/200")), [200, 200, 429]);
    });

    it("one store for two limiters that differ is refused, loudly; for two that do not, it is not", async (t) => {
      const store = new RatelimitStore(options());
      await using(t, { store, skipFailedRequests: true });
      const again = await using(t, { store, skipFailedRequests: true });
      assert.equal(await again.ask("/as/200"), 200);
      const refused = { name: "TypeError", message: /one store for two limiters/ };
      assert.throws(() => store.init({ windowMs: MINUTE, limit: 3 }), refused);
      await assert.rejects(store.increment("k"), refused);
      assert.equal(await again.ask("/as/200"), 500);
    });
  });
}

it("express-rate-limit: what ends after its window gives nothing back", async (t) => {
  const store = new RatelimitStore(options());
  const { server, gate, seen } = await servers["express-rate-limit"]({ store, windowMs: 400, limit: 5, skipSuccessfulRequests: true });
  t.after(() => server.close());
  const ask = (status) => fetch(`http://127.0.0.1:${server.address().port}/as/${status}`, { headers: { connection: "close" } });
  let open;
  gate.open = new Promise((resolve) => (open = resolve));
  const late = ask(200);
  await until(() => seen.length === 1);
  await until(async () => (await store.get("k")) === undefined); // its window is over
  gate.open = Promise.resolve();
  assert.equal((await ask(401)).status, 401);
  const decrements = [];
  const { decrement } = store;
  store.decrement = (key) => decrements.push(key) && decrement.call(store, key);
  open();
  await late;
  await pause(50);
  assert.deepEqual(decrements, []);
});

describe("@nestjs/throttler: what its end-to-end tests ask of a storage", () => {
  const decorate = (decorators, target, name) =>
    name === undefined ? Reflect.decorate(decorators, target) : Reflect.decorate(decorators, target.prototype, name, Object.getOwnPropertyDescriptor(target.prototype, name));
  const answers = (...names) => {
    class Answers {}
    for (const name of names) Object.defineProperty(Answers.prototype, name, { value: { [name]: () => ({ success: true }) }[name], writable: true, configurable: true });
    return Answers;
  };
  async function using(t, throttlers, controller) {
    class App {}
    const imports = [ThrottlerModule.forRoot({ throttlers, storage: new RatelimitThrottlerStorage(options()) })];
    decorate([Module({ imports, controllers: [controller], providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }] })], App);
    const app = await NestFactory.create(App, { logger: false });
    await app.listen(0, "127.0.0.1");
    t.after(() => app.close());
    return async (path) => {
      const response = await fetch(`http://127.0.0.1:${app.getHttpServer().address().port}${path}`);
      return [response.status, Object.fromEntries(response.headers)];
    };
  }

  it("a class' limit, a method's own, a method that is left out: each counts by itself, and says so", async (t) => {
    const Limited = answers("plain", "higher", "free");
    decorate([Get()], Limited, "plain");
    decorate([Get("higher"), Throttle({ default: { limit: 5, ttl: MINUTE, blockDuration: 10 * MINUTE } })], Limited, "higher");
    decorate([Get("free"), SkipThrottle()], Limited, "free");
    decorate([Throttle({ default: { limit: 2, ttl: MINUTE, blockDuration: 3 * MINUTE } }), Controller("limit")], Limited);
    const ask = await using(t, [{ ttl: MINUTE, limit: 100 }], Limited);
    for (const [path, limit, block] of [["/limit", 2, 180], ["/limit/higher", 5, 600]]) {
      for (let i = 1; i <= limit; i++) {
        const [status, headers] = await ask(path);
        assert.deepEqual([status, headers["x-ratelimit-limit"], headers["x-ratelimit-remaining"]], [200, `${limit}`, `${limit - i}`]);
        assert.match(headers["x-ratelimit-reset"], /^(60|59|58)$/);
      }
      for (let i = 0; i < 2; i++) {
        const [status, headers] = await ask(path);
        assert.equal(status, 429);
        const wait = Number(headers["retry-after"]);
        assert.ok(wait > block - 60 && wait <= block, `${wait}`);
      }
    }
    const [status, headers] = await ask("/limit/free");
    assert.deepEqual([status, headers["x-ratelimit-limit"]], [200, undefined]);
  });

  it("is let in again when the block is over, with everything to use anew", async (t) => {
    const Blocking = answers("blocking");
    decorate([Get()], Blocking, "blocking");
    decorate([Controller()], Blocking);
    const ask = await using(t, [{ ttl: MINUTE, limit: 2, blockDuration: 500 }], Blocking);
    assert.deepEqual(await times(3, async () => (await ask("/"))[0]), [200, 200, 429]);
    let headers;
    await until(async () => {
      const [status, given] = await ask("/");
      headers = given;
      return status === 200;
    });
    assert.equal(headers["x-ratelimit-remaining"], "1");
  });

  it("three throttlers: the first that is full says which it is, and a route leaves some out", async (t) => {
    const Many = answers("all", "skipShort", "skipOthers");
    decorate([Get()], Many, "all");
    decorate([Get("skip-short"), SkipThrottle({ short: true })], Many, "skipShort");
    decorate([Get("skip-others"), SkipThrottle({ default: true, long: true })], Many, "skipOthers");
    decorate([Controller()], Many);
    const ask = await using(t, [{ ttl: 10 * MINUTE, limit: 4 }, { name: "long", ttl: 60 * MINUTE, limit: 5 }, { name: "short", ttl: 1000, limit: 1 }], Many);
    const [first, headers] = await ask("/");
    assert.deepEqual([first, headers["x-ratelimit-remaining"], headers["x-ratelimit-remaining-long"], headers["x-ratelimit-remaining-short"]], [200, "3", "4", "0"]);
    await until(async () => (await ask("/"))[1]["retry-after"] !== undefined); // by the default one, when the short one has let enough in
    const left = await times(5, async () => (await ask("/skip-short"))[0]);
    assert.deepEqual(left, [200, 200, 200, 200, 429]);
    const [status, others] = await ask("/skip-others");
    assert.deepEqual([status, others["x-ratelimit-remaining-short"], others["x-ratelimit-remaining"], others["x-ratelimit-remaining-long"]], [200, "0", undefined, undefined]);
  });

  it("keys do not block one another", async () => {
    const storage = new RatelimitThrottlerStorage(options());
    const hit = (key) => storage.increment(key, MINUTE, 2, 10 * MINUTE, "default");
    const seen = [];
    for (const key of ["a", "a", "a", "b", "b", "b", "a", "c"]) seen.push((({ totalHits, isBlocked }) => [key, totalHits, isBlocked])(await hit(key)));
    assert.deepEqual(seen, [["a", 1, false], ["a", 2, false], ["a", 3, true], ["b", 1, false], ["b", 2, false], ["b", 3, true], ["a", 3, true], ["c", 1, false]]);
  });
});

describe("rate-limiter-flexible: what its tests for Redis ask", () => {
  const limiter = (more = {}) => {
    const { client: storeClient, prefix: keyPrefix, timeoutMs } = options();
    return new RateLimiterNative({ storeClient, keyPrefix, timeoutMs, points: 2, duration: 60, ...more });
  };
  const rejected = (promise) => promise.then(() => assert.fail("was let in"), (reason) => reason);
  const isDenied = async (promise) => assert.ok((await rejected(promise)) instanceof RateLimiterRes);

  it("one point, more than there are, none at all", async () => {
    assert.equal((await limiter().consume("k")).consumedPoints, 1);
    await isDenied(limiter({ points: 1 }).consume("k", 2));
    const none = await rejected(limiter({ points: 0 }).consume("k"));
    assert.deepEqual([none.remainingPoints, none.msBeforeNext >= 0], [0, true]);
  });

  it("decimals and texts are refused", async () => {
    for (const points of [1.1, "2.0", "2", NaN, -1]) await assert.rejects(limiter().consume("k", points), TypeError);
    assert.equal((await limiter().consume("k", 2.0)).consumedPoints, 2);
  });

  it("penalties and rewards, many times", async () => {
    const own = limiter();
    await own.consume("k");
    assert.deepEqual(await times(3, async () => (await own.penalty("k")).consumedPoints), [2, 3, 3]); // more than there are: how many more is not said
    assert.deepEqual(await times(5, async () => (await own.reward("k")).consumedPoints), [2, 2, 1, 0, 0]);
    assert.equal(await own.get("k"), null);
  });

  it("a block ends, and what was consumed before it is forgotten", async () => {
    const own = limiter({ points: 1, blockDuration: 0.5 });
    await own.consume("k");
    const denied = await rejected(own.consume("k"));
    assert.ok(denied.msBeforeNext > 0 && denied.msBeforeNext <= 500, `${denied.msBeforeNext}`);
    let consumed;
    await until(() => own.consume("k").then((res) => (consumed = res.consumedPoints), () => false));
    assert.equal(consumed, 1);
  });

  it("more points at once than there ever are start no block", async () => {
    const own = limiter({ points: 1, blockDuration: 600 });
    await isDenied(own.consume("k", 2));
    assert.equal((await own.consume("k")).consumedPoints, 1);
  });

  it("one that is blocked by hand is shut out, with nothing left, and delete lets in", async () => {
    const own = limiter();
    await own.block("k", 600);
    const { msBeforeNext, remainingPoints } = await rejected(own.consume("k"));
    assert.ok(msBeforeNext > 500_000 && remainingPoints === 0);
    assert.equal(await own.delete("k"), true);
    assert.equal(await own.delete("k"), false);
    assert.equal((await own.consume("k")).consumedPoints, 1);
  });

  it("get: null before the first, then what is consumed; set: so many, as if now", async () => {
    const own = limiter({ points: 20 });
    assert.equal(await own.get("k"), null);
    await own.consume("k");
    assert.equal((await own.get("k")).consumedPoints, 1);
    await own.set("k", 12);
    assert.equal((await own.get("k")).consumedPoints, 12);
    await own.set("k", 21);
    await isDenied(own.consume("k"));
  });

  // As its guide protects a login: look, try the password, count what failed. Who is over must show in the look.
  for (const more of [{}, { blockDuration: 600 }, { policy: "lower" }, { policy: "higher" }]) {
    it(`a login that looks before it counts: it is denied, with ${JSON.stringify(more)}`, async (t) => {
      const own = limiter({ points: 5, ...more, ...(more.policy && { policy: `peers-${more.policy}` }) });
      const limit = { lower: 3, higher: 8 }[more.policy] ?? 5;
      if (more.policy) {
        await client.sendCommand(["RL.POLICY", "SET", `peers-${more.policy}`, "SLIDING", `${limit}`, "1m"]);
        t.after(() => client.sendCommand(["RL.POLICY", "DEL", `peers-${more.policy}`]));
      }
      let guesses = 0;
      for (let i = 0; i < 20; i++) {
        const look = await own.get("k");
        if (look !== null && look.consumedPoints > own.points) {
          assert.ok(look.msBeforeNext > 0 && look.remainingPoints === 0);
          continue;
        }
        guesses += 1;
        await own.consume("k").catch((reason) => assert.ok(reason instanceof RateLimiterRes));
      }
      assert.equal(guesses, more.blockDuration ? limit + 1 : limit); // the last one starts the block
      if (more.blockDuration) assert.ok((await own.get("k")).msBeforeNext > 500_000);
    });
  }

  it("a duration of its own for one call is refused, not forgotten", async () => {
    const own = limiter();
    for (const call of [() => own.consume("k", 1, { customDuration: 1 }), () => own.penalty("k", 1, { customDuration: 1 }), () => own.reward("k", 1, { customDuration: 1 }), () => own.set("k", 1, 3600)]) {
      await assert.rejects(call(), { name: "TypeError", message: /Duration: expected the limiter's/ });
    }
    assert.equal(await own.get("k"), null);
    await own.consume("k", 1, {});
    await own.set("k", 2, 60);
    for (const duration of [0, -1]) assert.throws(() => limiter({ duration }), TypeError);
    await assert.rejects(own.block("k", 0), TypeError); // "for ever"
  });

  it("prefixes keep keys apart, and one name is one key", async () => {
    const [first, second] = [limiter(), limiter()];
    await first.consume("k", 2);
    assert.equal((await second.consume("k")).consumedPoints, 1);
    await isDenied(limiter({ keyPrefix: first.keyPrefix }).consume("k"));
  });

  it("Redis away: each call by `unavailable`, and what changes nothing else rejects", async () => {
    const away = { storeClient: () => Promise.reject(new Error("away")), onError() {} };
    assert.equal((await limiter(away).consume("k")).consumedPoints, 0);
    for (const call of [(own) => own.consume("k"), (own) => own.get("k"), (own) => own.penalty("k"), (own) => own.reward("k")]) {
      await assert.rejects(call(limiter({ ...away, unavailable: "closed" })), { message: "away" });
    }
    for (const call of [(own) => own.delete("k"), (own) => own.block("k", 1), (own) => own.set("k", 1)]) await assert.rejects(call(limiter(away)), { message: "away" });
    for (const refused of ["execEvenly", "insuranceLimiter", "inMemoryBlockOnConsumed", "inMemoryBlockDuration", "rejectIfRedisNotReady", "customIncrTtlLuaScript"]) {
      assert.throws(() => limiter({ [refused]: 1 }), { name: "TypeError", message: new RegExp(refused) });
    }
  });
});

it("@fastify/rate-limit: a login that looks before it counts, and guesses no more than it may", async (t) => {
  const app = Fastify();
  t.after(() => app.close());
  await app.register(fastifyRateLimit, { global: false, store: ratelimitStore(options()) });
  const limit = app.createRateLimit({ max: 3, timeWindow: MINUTE });
  let guesses = 0;
  app.get("/", async (request) => {
    if ((await limit(request, { increment: false })).isExceeded) return "denied";
    guesses += 1;
    await limit(request);
    return "wrong";
  });
  assert.deepEqual(await times(6, async () => (await app.inject("/")).body), ["wrong", "wrong", "wrong", "denied", "denied", "denied"]);
  assert.equal(guesses, 3);
});
