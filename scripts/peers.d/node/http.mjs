// Servers with a limiter in front of a handler that says "hello". Who asks them is a process of its own, whose CPU is not counted.

import { fork } from "node:child_process";
import { once } from "node:events";
import express from "express";
import { rateLimit as expressRateLimit } from "express-rate-limit";
import fastify from "fastify";
import fastifyRateLimit from "@fastify/rate-limit";
import { rateLimit } from "ratelimit-client";
import { RatelimitStore } from "ratelimit-client/express-rate-limit";
import { ratelimitStore } from "ratelimit-client/fastify";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { RedisStore } from "rate-limit-redis";
import { ours } from "./ours.mjs";

const keyOf = (req) => req.headers["x-key"];

/** What express-rate-limit sends: the fields of the draft and the older ones, as ours does. */
const FIELDS = { standardHeaders: "draft-8", legacyHeaders: true };

const onExpress = {
  bare: () => (req, res, next) => next(),
  package({ client }, limit, windowMs) {
    const limiter = ours(client, limit, windowMs);
    return rateLimit((req) => limiter.hit(keyOf(req)));
  },
  "express-rate-limit, our store": ({ client }, limit, windowMs) =>
    expressRateLimit({ windowMs, limit, ...FIELDS, keyGenerator: keyOf, store: new RatelimitStore({ client }) }),
  "express-rate-limit": ({ send }, limit, windowMs) =>
    expressRateLimit({ windowMs, limit, ...FIELDS, keyGenerator: keyOf, store: new RedisStore({ sendCommand: send }) }),
  "rate-limiter-flexible"({ client }, limit, windowMs) {
    const limiter = new RateLimiterRedis({ storeClient: client, points: limit, duration: windowMs / 1000 });
    // As its documentation does: the fields are the application's.
    return (req, res, next) => {
      const fields = ({ msBeforeNext, remainingPoints }) =>
        res.set({ "X-RateLimit-Limit": limit, "X-RateLimit-Remaining": remainingPoints, "X-RateLimit-Reset": Math.ceil((Date.now() + msBeforeNext) / 1000) });
      limiter.consume(keyOf(req)).then(
        (given) => {
          fields(given);
          next();
        },
        (denied) => {
          if (denied instanceof Error) return next(denied);
          fields(denied).set("Retry-After", Math.ceil(denied.msBeforeNext / 1000));
          res.status(429).send("Too Many Requests");
        },
      );
    };
  },
};

const onFastify = {
  bare: async () => undefined,
  async package(app, { client }, limit, windowMs) {
    const limiter = ours(client, limit, windowMs);
    const guard = rateLimit((req) => limiter.hit(keyOf(req)));
    app.addHook("onRequest", (request, reply, done) => void guard(request.raw, reply.raw, done));
  },
  "its own, our store": (app, { client }, max, timeWindow) =>
    app.register(fastifyRateLimit, { max, timeWindow, keyGenerator: keyOf, store: ratelimitStore({ client }) }),
  "its own": (app, { client }, max, timeWindow) => app.register(fastifyRateLimit, { max, timeWindow, keyGenerator: keyOf, redis: client }),
};

async function expressPort(guard) {
  const app = express();
  app.use(guard);
  app.get("/", (req, res) => res.type("text").send("hello"));
  const server = app.listen(0, "127.0.0.1");
  server.keepAliveTimeout = 0; // a machine that is busy for five seconds must not cost a connection, and so the row
  await once(server, "listening");
  return server.address().port;
}

async function fastifyPort(add, client, limit, windowMs) {
  const app = fastify({ keepAliveTimeout: 0 });
  await add(app, client, limit, windowMs);
  app.get("/", async () => "hello");
  await app.listen({ port: 0, host: "127.0.0.1" });
  return app.server.address().port;
}

const row = (connect, listen) => async (address) => {
  const client = await connect(address);
  const ports = new Map();
  const portOf = (limit, windowMs) => {
    const given = `${limit} ${windowMs}`;
    if (!ports.has(given)) ports.set(given, listen(client, limit, windowMs));
    return ports.get(given);
  };
  const caller = fork(new URL("./caller.mjs", import.meta.url));
  process.on("exit", () => caller.kill());
  caller.on("exit", () => process.exit(1)); // else nobody would ever answer
  return {
    async limiter(limit, windowMs) {
      const url = `http://127.0.0.1:${await portOf(limit, windowMs)}/`;
      return async (key) => {
        const answer = await fetch(url, { headers: { "x-key": key } });
        await answer.text();
        if (answer.status !== 200 && answer.status !== 429) throw new Error(`status ${answer.status}`);
        return answer.status === 200;
      };
    },
    async load({ limit, windowMs, ...asked }) {
      caller.send({ ...asked, port: await portOf(limit, windowMs) });
      const [allowed] = await once(caller, "message");
      return allowed;
    },
  };
};

export const http = (connect) => ({
  ...Object.fromEntries(
    Object.entries(onExpress).map(([name, make]) => [`express ${name}`, row(connect, (client, limit, windowMs) => expressPort(make(client, limit, windowMs)))]),
  ),
  ...Object.fromEntries(
    Object.entries(onFastify).map(([name, add]) => [`fastify ${name}`, row(connect, (client, limit, windowMs) => fastifyPort(add, client, limit, windowMs))]),
  ),
});
