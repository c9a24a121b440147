// Loaded before a file of @fastify/rate-limit's own tests (npm's package contains them), which then runs over our store: where it
// gives its plugin a Redis client, or nothing, the plugin gets the store. peers.test.js runs it.

const Module = require("node:module");
const { ratelimitStore } = require("ratelimit-client/fastify");

const port = Number(process.env.RATELIMIT_PORT);
const leftOut = JSON.parse(process.env.RATELIMIT_LEFT_OUT);
const { _load: load } = Module;
let many = 0;
setInterval(() => {}, 60_000); // a store keeps no process alive, and these tests open no port

function ours(plugin, IORedis) {
  const wrapped = (fastify, { redis, nameSpace, ...settings }) => {
    const client = redis ?? new IORedis({ port, db: 9, lazyConnect: true });
    const prefix = `${nameSpace ?? "fastify"}:${process.pid}:${(many += 1)}`;
    const store = ratelimitStore({ client, prefix, onError() {} });
    return plugin(fastify, "store" in settings ? settings : { ...settings, store });
  };
  return Object.assign(wrapped, plugin);
}

Module._load = function (request, parent, isMain) {
  const loaded = load.call(this, request, parent, isMain);
  if (!parent?.filename?.includes("/@fastify/rate-limit/test/")) return loaded;
  const IORedis = load.call(this, "ioredis", parent, false);
  if (/^(\.\.\/)+index$/.test(request)) return ours(loaded, IORedis);
  if (request === "ioredis") {
    return class extends IORedis {
      constructor(options) {
        super({ ...options, port, db: 9 });
      }
      flushall() {
        return this.flushdb();
      }
    };
  }
  if (request !== "node:test") return loaded;
  const test = (name, ...rest) => (leftOut[name] === undefined ? loaded.test(name, ...rest) : loaded.test(name, { skip: leftOut[name] }));
  // Their clock is ours: nothing else runs while it ticks.
  const timers = { enable() {}, reset() {}, tick: (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms) };
  return { ...loaded, test, describe: loaded.describe, mock: { timers } };
};
