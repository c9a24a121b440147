// What is compared in Node. A row makes, for a limit and a window, a function that counts one hit of a key and says whether
// it was allowed. Each library is used as its documentation shows, with the client's defaults.

import { Ratelimit } from "@upstash/ratelimit";
import { Redis as IoRedis } from "ioredis";
import { RatelimitStore } from "ratelimit-client/express-rate-limit";
import { RateLimiterNative } from "ratelimit-client/rate-limiter-flexible";
import { RateLimiterRedis } from "rate-limiter-flexible";
import { RedisStore } from "rate-limit-redis";
import { createClient } from "redis";
import { http } from "./http.mjs";
import { ours } from "./ours.mjs";
import { rest } from "./rest.mjs";

const overIoredis = ({ port, host }) => {
  const client = new IoRedis(port, host);
  return { client, send: (...args) => client.call(...args), flexible: { storeClient: client } };
};
const overNodeRedis = async ({ port, host }) => {
  const client = await createClient({ socket: { port, host } }).connect();
  return { client, send: (...args) => client.sendCommand(args), flexible: { storeClient: client, useRedisPackage: true } };
};

/** Whether a library that rejects who is denied allowed it. */
const consumed = (promise) =>
  promise.then(
    () => true,
    (denied) => {
      if (denied instanceof Error) throw denied;
      return false;
    },
  );

/** A store of express-rate-limit's, asked as the library asks. */
async function stored(store, limit, windowMs) {
  await store.init?.({ windowMs, limit });
  return async (key) => (await store.increment(key)).totalHits <= limit;
}

const flexible = ({ flexible: given }, limit, windowMs, options = {}) => {
  const limiter = new RateLimiterRedis({ ...given, keyPrefix: "rlflx", points: limit, duration: windowMs / 1000, ...options });
  return (key) => consumed(limiter.consume(key));
};

const native = ({ client }, limit, windowMs) => {
  const limiter = new RateLimiterNative({ storeClient: client, points: limit, duration: windowMs / 1000 });
  return (key) => consumed(limiter.consume(key));
};

const hitting = (limiter) => async (key) => (await limiter.hit(key)).allowed;

/** How a row is made of a client. */
const ways = {
  bare: ({ send }, limit, windowMs) => async (key) => (await send("RL.SLIDING", `bare:${key}`, String(limit), `${windowMs}ms`))[0] === 1,
  package: ({ client }, limit, windowMs) => hitting(ours(client, limit, windowMs)),
  coalesced: ({ client }, limit, windowMs) => hitting(ours(client, limit, windowMs, { coalesce: true })),
  remembered: ({ client }, limit, windowMs) => hitting(ours(client, limit, windowMs, { blockedCache: true })),
  "express store": ({ client }, limit, windowMs) => stored(new RatelimitStore({ client }), limit, windowMs),
  "flexible's words": native,
  "rate-limit-redis": ({ send }, limit, windowMs) => stored(new RedisStore({ sendCommand: send }), limit, windowMs),
  "rate-limiter-flexible": flexible,
  "rate-limiter-flexible's block": (given, limit, windowMs) =>
    flexible(given, limit, windowMs, { inMemoryBlockOnConsumed: limit, inMemoryBlockDuration: windowMs / 1000 }),
};

const over = (connect, make) => async (address) => {
  const client = await connect(address);
  return { limiter: (limit, windowMs) => make(client, limit, windowMs) };
};

const upstash = (algorithm, options = {}) => async (address) => {
  const redis = (await rest(address)).upstash();
  return {
    limiter(limit, windowMs) {
      const limiter = new Ratelimit({ redis, limiter: Ratelimit[algorithm](limit, `${windowMs} ms`), ephemeralCache: false, ...options });
      return async (key) => (await limiter.limit(key)).success;
    },
  };
};

export const rows = {
  ...Object.fromEntries(Object.entries(ways).map(([name, make]) => [`ioredis ${name}`, over(overIoredis, make)])),
  ...Object.fromEntries(Object.entries(ways).map(([name, make]) => [`node-redis ${name}`, over(overNodeRedis, make)])),
  "rest package": async (address) => {
    const client = (await rest(address)).ours();
    return { limiter: (limit, windowMs) => hitting(ours(client, limit, windowMs)) };
  },
  "rest upstash sliding": upstash("slidingWindow"),
  "rest upstash fixed": upstash("fixedWindow"),
  "rest upstash remembered": upstash("slidingWindow", { ephemeralCache: new Map() }),
  ...http(overIoredis),
};
