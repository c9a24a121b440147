// The stores under the libraries as they come from npm, in real applications, on a real server.

import "reflect-metadata";
import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import fastifyRateLimit from "@fastify/rate-limit";
import { Controller, Get, Module } from "@nestjs/common";
import { APP_GUARD, NestFactory } from "@nestjs/core";
import { ThrottlerGuard, ThrottlerModule } from "@nestjs/throttler";
import { betterAuth } from "better-auth";
import express from "express";
import { rateLimit } from "express-rate-limit";
import Fastify from "fastify";
import { Hono } from "hono";
import { rateLimiter } from "hono-rate-limiter";
import { ratelimitStorage } from "ratelimit-client/better-auth";
import { RatelimitStore } from "ratelimit-client/express-rate-limit";
import { ratelimitStore } from "ratelimit-client/fastify";
import { RatelimitThrottlerStorage } from "ratelimit-client/nestjs";
import { RateLimiterNative, RateLimiterRes } from "ratelimit-client/rate-limiter-flexible";
import { createClient } from "redis";
import { port } from "./servers.js";

let client;
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const MINUTE = 60_000;
const options = (prefix, more) => ({ client, prefix: `stores:${prefix}`, timeoutMs: MINUTE, ...more });
const statuses = async (ask, many) => {
  const seen = [];
  for (let i = 0; i < many; i++) seen.push(await ask(i));
  return seen;
};
const away = () => Promise.reject(new Error("away"));

/** Each of the two libraries over the one store, with an endpoint that answers with the status asked for. */
const libraries = {
  async "express-rate-limit"(store, given) {
    const app = express().use(rateLimit({ windowMs: MINUTE, limit: 3, keyGenerator: () => "k", ...given, store }));
    app.get("/:status", (req, res) => res.status(Number(req.params.status)).end());
    const server = createServer(app).listen(0, "127.0.0.1");
    await once(server, "listening");
    const ask = async (status) => (await fetch(`http://127.0.0.1:${server.address().port}/${status}`)).status;
    return [ask, () => server.close()];
  },
  async "hono-rate-limiter"(store, given) {
    const app = new Hono();
    app.use(rateLimiter({ windowMs: MINUTE, limit: 3, keyGenerator: () => "k", ...given, store }));
    app.get("/:status", (c) => c.body(null, Number(c.req.param("status"))));
    return [async (status) => (await app.request(`/${status}`)).status, () => {}];
  },
};

for (const [name, open] of Object.entries(libraries)) {
  describe(name, () => {
    const using = async (t, store, given) => {
      const [ask, close] = await open(store, given);
      t.after(close);
      return ask;
    };

    it("three of five", async (t) => {
      const ask = await using(t, new RatelimitStore(options(name)));
      assert.deepEqual(await statuses(() => ask(200), 5), [200, 200, 200, 429, 429]);
    });

    for (const skipFailedRequests of [false, true]) {
      for (const skipSuccessfulRequests of [false, true]) {
        it(`a login, skipFailedRequests ${skipFailedRequests}, skipSuccessfulRequests ${skipSuccessfulRequests}: never more than the limit`, async (t) => {
          const store = new RatelimitStore(options(`${name}:${skipFailedRequests}:${skipSuccessfulRequests}`));
          const ask = await using(t, store, { skipFailedRequests, skipSuccessfulRequests });
          const used = async () => (await store.get("k"))?.totalHits ?? 0;
          const counts = (status) => (status < 400 ? !skipSuccessfulRequests : !skipFailedRequests);
          let counted = 0;
          for (const wish of [401, 200, 401, 200, 401, 401, 401, 200, 200, 200, 200, 401, 200]) {
            const status = await ask(wish);
            assert.equal(status, counted < 3 ? wish : 429);
            if (status !== 429 && counts(status)) counted += 1;
            // Given back once the response is out.
            for (const end = performance.now() + 10_000; Math.min(await used(), 3) !== Math.min(counted, 3); ) assert.ok(performance.now() < end, `${await used()} of ${counted}`);
          }
        });
      }
    }

    it("a policy of the server decides, whatever limit the library has", async (t) => {
      for (const [limit, expected] of [["1", [200, 429, 429, 429, 429]], ["4", [200, 200, 200, 200, 429]]]) {
        await client.sendCommand(["RL.POLICY", "SET", `stores-${name}-${limit}`, "SLIDING", limit, "1m"]);
        const ask = await using(t, new RatelimitStore(options(`${name}:policy`, { policy: `stores-${name}-${limit}`, prefix: `stores:${name}:policy:${limit}` })));
        assert.deepEqual(await statuses(() => ask(200), 5), expected);
      }
    });

    it("whoever has an empty key shares one limit", async (t) => {
      const ask = await using(t, new RatelimitStore(options(`${name}:nobody`)), { keyGenerator: () => "" });
      assert.deepEqual(await statuses(() => ask(200), 5), [200, 200, 200, 429, 429]);
    });
    it("Redis away: open by default, or closed", async (t) => {
      const open = await using(t, new RatelimitStore({ client: away, onError() {} }));
      assert.deepEqual(await statuses(() => open(200), 5), [200, 200, 200, 200, 200]);
      const closed = await using(t, new RatelimitStore({ client: away, onError() {}, unavailable: "closed" }));
      assert.equal(await closed(200), 429);
    });
  });
}

it("a limit that is a function is refused, and so is a misspelt option", async (t) => {
  const refused = { name: "TypeError", message: /limit: the library's is a function/ };
  const store = new RatelimitStore(options("function"));
  assert.throws(() => store.init({ windowMs: MINUTE, limit: () => 5 }), refused);
  await assert.rejects(store.increment("k"), refused); // the library logs the first one, and goes on
  const [ask, close] = await libraries["express-rate-limit"](new RatelimitStore(options("function", { limit: 2 })), { limit: () => 100 });
  t.after(close);
  assert.deepEqual(await statuses(() => ask(200), 4), [200, 200, 429, 429]);
  assert.throws(() => new RatelimitStore(options("misspelt", { windw: 1 })), /unknown option "windw"/);
  assert.throws(() => new RatelimitStore({}), /client: expected/);
});

it("@nestjs/throttler: two throttlers, one of which blocks", async (t) => {
  class Hello {
    hello() {
      return "hello";
    }
  }
  Reflect.decorate([Get()], Hello.prototype, "hello", Object.getOwnPropertyDescriptor(Hello.prototype, "hello"));
  Reflect.decorate([Controller()], Hello);
  class App {}
  const throttlers = [{ name: "short", ttl: MINUTE, limit: 3, blockDuration: 10 * MINUTE }, { name: "long", ttl: 60 * MINUTE, limit: 100 }];
  Reflect.decorate([Module({
    imports: [ThrottlerModule.forRoot({ throttlers, storage: new RatelimitThrottlerStorage(options("nestjs")) })],
    controllers: [Hello],
    providers: [{ provide: APP_GUARD, useClass: ThrottlerGuard }],
  })], App);
  const app = await NestFactory.create(App, { logger: false });
  await app.listen(0, "127.0.0.1");
  t.after(() => app.close());
  const ask = () => fetch(`http://127.0.0.1:${app.getHttpServer().address().port}/`);
  assert.deepEqual(await statuses(async () => (await ask()).status, 5), [200, 200, 200, 429, 429]);
  const retry = Number((await ask()).headers.get("Retry-After-short"));
  assert.ok(retry > 500 && retry <= 600, `${retry}`); // the block's
});

it("better-auth: its own limiter by one command a request", async () => {
  const auth = betterAuth({
    baseURL: "http://auth.test", secret: "a secret that is long enough for it", emailAndPassword: { enabled: true },
    rateLimit: { enabled: true, window: 60, max: 3, customRules: { "/ok": { window: 60, max: 3 } }, customStorage: ratelimitStorage(options("better-auth")) },
    advanced: { ipAddress: { ipAddressHeaders: ["x-forwarded-for"] } }, logger: { disabled: true },
  });
  const ask = (ip) => auth.handler(new Request("http://auth.test/api/auth/ok", { headers: { "x-forwarded-for": ip } }));
  assert.deepEqual(await statuses(async () => (await ask("203.0.113.9")).status, 5), [200, 200, 200, 429, 429]);
  assert.ok(Number((await ask("203.0.113.9")).headers.get("X-Retry-After")) > 50);
  assert.equal((await ask("203.0.113.10")).status, 200);
});

it("@fastify/rate-limit: a global limit, a route's own, and a look that does not count", async (t) => {
  const app = Fastify();
  t.after(() => app.close());
  await app.register(fastifyRateLimit, { max: 3, timeWindow: "1m", store: ratelimitStore(options("fastify")) });
  app.get("/", async () => "hello");
  app.get("/own", { config: { rateLimit: { max: 1, timeWindow: 1000 * 60 } } }, async () => "own");
  const ask = async (url) => (await app.inject(url)).statusCode;
  assert.deepEqual(await statuses(() => ask("/"), 5), [200, 200, 200, 429, 429]);
  assert.deepEqual(await statuses(() => ask("/own"), 2), [200, 429]);
  const denied = await app.inject("/");
  assert.equal(denied.headers["x-ratelimit-limit"], "3");
  assert.ok(Number(denied.headers["retry-after"]) > 50);
  for (const wrong of [{ ban: 2 }, { continueExceeding: true }, { exponentialBackoff: true }]) {
    const Store = ratelimitStore(options("fastify"));
    assert.throws(() => new Store(wrong), { name: "TypeError" });
  }
});

describe("rate-limiter-flexible's API", () => {
  const limiter = (more) => {
    const { client: storeClient, prefix: keyPrefix, ...rest } = options("flexible", {});
    return new RateLimiterNative({ storeClient, keyPrefix, points: 3, duration: 60, ...rest, ...more });
  };
  it("consumes, and rejects with what is left and when", async () => {
    const own = limiter();
    const first = await own.consume("a");
    assert.deepEqual([first.remainingPoints, first.consumedPoints, first.isFirstInDuration], [2, 1, true]);
    assert.deepEqual([(await own.consume("a", 2)).remainingPoints], [0]);
    const denied = await own.consume("a").catch((answer) => answer);
    assert.ok(denied instanceof RateLimiterRes);
    assert.deepEqual([denied.remainingPoints, denied.consumedPoints], [0, 4]);
    assert.ok(denied.msBeforeNext > 50_000 && denied.msBeforeNext <= 60_000);
  });
  it("penalty, reward, get, set, delete", async () => {
    const own = limiter();
    assert.equal(await own.get("b"), null);
    assert.equal((await own.penalty("b", 2)).consumedPoints, 2);
    assert.equal((await own.reward("b", 1)).consumedPoints, 1);
    assert.equal((await own.reward("b", 9)).consumedPoints, 0); // no credit
    await own.set("b", 2);
    assert.equal((await own.get("b")).consumedPoints, 2);
    await own.set("b", 3);
    assert.equal((await own.get("b")).consumedPoints, 4); // more than there are: the next one is rejected
    await assert.rejects(own.consume("b"), (answer) => answer instanceof RateLimiterRes);
    assert.deepEqual([await own.delete("b"), await own.delete("b")], [true, false]);
  });
  it("block: shut out with points left, the later end wins, and delete lets in", async () => {
    const own = limiter();
    await own.consume("shut");
    const { remainingPoints, msBeforeNext, consumedPoints } = await own.block("shut", 600);
    assert.deepEqual([remainingPoints, consumedPoints], [0, 4]);
    assert.ok(msBeforeNext > 500_000 && msBeforeNext <= 600_000, `${msBeforeNext}`);
    const later = await own.block("shut", 1.5);
    assert.ok(later.msBeforeNext > 500_000, `${later.msBeforeNext}`);
    const denied = await own.consume("shut").catch((answer) => answer);
    assert.ok(denied instanceof RateLimiterRes);
    assert.ok(denied.msBeforeNext > 500_000 && denied.msBeforeNext <= 600_000, `${denied.msBeforeNext}`);
    assert.ok((await own.get("shut")).msBeforeNext > 500_000);
    assert.equal(await own.delete("shut"), true);
    assert.equal((await own.consume("shut")).remainingPoints, 2);
    for (const wrong of [0, -1, NaN, "10"]) await assert.rejects(own.block("shut", wrong), TypeError);
    await assert.rejects(limiter({ storeClient: away, onError() {} }).block("shut", 1), { message: "away" });
  });
  it("takes what its users say beside the client, and names its keys", async () => {
    const own = limiter({ keyPrefix: "named", useRedisPackage: true });
    await own.delete(7);
    await own.consume(7);
    assert.equal(own.getKey(7), "named:7");
    assert.equal(await client.exists(own.getKey(7)), 1);
    assert.equal(limiter({ keyPrefix: "" }).getKey("x"), "x");
  });
  it("blocks whoever is denied, and fails as it is told", async () => {
    const blocking = limiter({ blockDuration: 600 });
    await blocking.consume("c", 3);
    const { msBeforeNext } = await blocking.consume("c").catch((answer) => answer);
    assert.ok(msBeforeNext > 500_000, `${msBeforeNext}`);
    assert.equal((await limiter({ storeClient: away, onError() {} }).consume("d")).remainingPoints, 0);
    await assert.rejects(limiter({ storeClient: away, onError() {}, unavailable: "closed" }).consume("d"), { message: "away" });
    for (const wrong of [{ execEvenly: true }, { inMemoryBlockOnConsumed: 5 }, { duration: 0 }, { pionts: 1 }]) assert.throws(() => limiter(wrong), TypeError);
  });
});
