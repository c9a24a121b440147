// Real requests, by curl and by fetch, to real servers: plain http, a fetch handler, Express and Fastify.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { after, before, describe, it } from "node:test";
import { promisify } from "node:util";
import express from "express";
import Fastify from "fastify";
import { byIp, clientAddress, createLimiter, hitAll, hitOf, problemOf, rateLimit, withRateLimit } from "ratelimit-client";
import { createClient } from "redis";
import { port } from "./servers.js";

let client;
const limiter = (options) => createLimiter({ client, name: "api", algorithm: "sliding", limits: { limit: 5, window: "15m" }, timeoutMs: 60_000, next: true, ...options });
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const address = clientAddress({ proxies: ["127.0.0.0/8"] }); // curl stands for a proxy of ours
const guardNode = (prefix) => {
  const api = limiter({ prefix });
  return rateLimit((req) => api.hit(byIp(address({ headers: req.headers, peer: req.socket.remoteAddress }))));
};

/** What a fetch handler is given by Next.js, out of plain http: enough for these tests. */
const serveFetch = (handler) => async (req, res) => {
  const response = await handler(new Request(`http://${req.headers.host}${req.url}`, { headers: req.headers }));
  res.writeHead(response.status, Object.fromEntries(response.headers));
  res.end(await response.text());
};

/** As Node listens by default: on IPv6 too, where a peer of IPv4 is ::ffff:127.0.0.1. */
const listen = async (server) => {
  server.listen(0);
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}/`, close: () => server.close() };
};

const servers = {
  "plain http": () => {
    const guard = guardNode("http");
    return listen(createServer((req, res) => guard(req, res, () => res.end("hello"))));
  },
  "fetch handler": () => {
    const behind = clientAddress({ hops: 1 }); // such a handler has no peer's address
    const api = limiter({ prefix: "fetch" });
    const GET = withRateLimit((request) => api.hit(byIp(behind({ headers: request.headers }))), async () => new Response("hello"));
    return listen(createServer(serveFetch(GET)));
  },
  Express: () => listen(createServer(express().use(guardNode("express")).get("/", (req, res) => res.send("hello")))),
  Fastify: async () => {
    const guard = guardNode("fastify");
    const app = Fastify();
    app.addHook("onRequest", (request, reply, done) => guard(request.raw, reply.raw, done));
    app.get("/", async () => "hello");
    const url = await app.listen({ port: 0, host: "127.0.0.1" });
    return { url, close: () => app.close() };
  },
};

const curl = async (...args) => (await promisify(execFile)("curl", ["--silent", "--show-error", ...args])).stdout;

for (const [name, start] of Object.entries(servers)) {
  describe(name, () => {
    let server;
    before(async () => (server = await start()));
    after(() => server.close());
    const status = (ip) => curl("--output", "/dev/null", "--write-out", "%{http_code}", "--header", `X-Forwarded-For: ${ip}`, server.url);

    it("curl, six times, with 5 per window: 200 200 200 200 200 429", async () => {
      const statuses = [];
      for (let i = 0; i < 6; i++) statuses.push(await status("203.0.113.9"));
      assert.equal(statuses.join(" "), "200 200 200 200 200 429");
      assert.equal(await status("203.0.113.10"), "200"); // somebody else
      assert.equal(await status("198.51.100.1, 203.0.113.9"), "429"); // an invented hop on the left changes nothing
      assert.equal(await status("203.0.113.9:40001"), "429"); // nor does another port
    });

    it("every response carries the fields", async () => {
      const headers = { "X-Forwarded-For": "203.0.113.77", Origin: "https://page.example" };
      for (let hit = 1; hit <= 6; hit++) {
        const now = Math.floor(Date.now() / 1000);
        const response = await fetch(server.url, { headers });
        const field = (name) => response.headers.get(name);
        const remaining = Math.max(0, 5 - hit);
        assert.equal(response.status, hit <= 5 ? 200 : 429);
        assert.equal(field("X-RateLimit-Limit"), "5");
        assert.equal(field("X-RateLimit-Remaining"), String(remaining));
        const reset = Number(field("X-RateLimit-Reset")) - now;
        assert.ok(reset > 800 && reset <= 902, `X-RateLimit-Reset is ${reset} s away`);
        assert.equal(field("RateLimit-Policy"), '"api";q=5;w=900');
        assert.match(field("Access-Control-Expose-Headers"), /RateLimit-Policy/);
        assert.match(field("RateLimit"), new RegExp(`^"api";r=${remaining};t=(8\\d\\d|900)$`));
        if (hit <= 5) {
          assert.equal(field("Retry-After"), null);
          assert.equal(await response.text(), "hello");
        } else {
          assert.match(field("Retry-After"), /^(8\d\d|900)$/);
          assert.deepEqual(await response.json(), { error: "Too many requests" });
        }
      }
    });
  });
}

describe("middleware", () => {
  const broken = (options) => limiter({ client: async () => Promise.reject(new Error("away")), onError() {}, ...options });
  const ask = async (limit) => withRateLimit(limit, () => new Response("hello"))(new Request("http://x/"));

  it("open: 200 without fields; closed: 503", async () => {
    const opened = await ask(() => broken().hit("k"));
    assert.deepEqual([opened.status, opened.headers.get("X-RateLimit-Limit")], [200, null]);
    const closed = await ask(() => broken({ unavailable: "closed" }).hit("k"));
    assert.deepEqual([closed.status, closed.headers.get("Retry-After")], [503, "1"]);
  });

  it("a cost that never fits has no Retry-After; a deny-listed caller is forbidden", async () => {
    const never = await ask(() => limiter().hit("middleware:never", { cost: 6 }));
    assert.deepEqual([never.status, never.headers.get("Retry-After")], [429, null]);
    await client.sendCommand(["RL.DENY", "ADD", "middleware:deny", "192.0.2.7"]);
    const denied = await ask(() => limiter().hit("middleware:denied", { deny: { list: "middleware:deny", values: ["192.0.2.7"] } }));
    assert.equal(denied.status, 403);
  });

  it("the handler's own status, fields, body and context are kept", async () => {
    const POST = withRateLimit(
      () => limiter().hit("middleware:context"),
      async (request, { params }) => Response.json({ id: params.id }, { status: 201, headers: { "X-Own": "1", "Access-Control-Expose-Headers": "X-Own" } }),
    );
    const response = await POST(new Request("http://x/", { method: "POST" }), { params: { id: 7 } });
    assert.deepEqual([response.status, response.headers.get("X-Own"), await response.json()], [201, "1", { id: 7 }]);
    assert.equal(response.headers.get("X-RateLimit-Remaining"), "4");
    assert.match(response.headers.get("Access-Control-Expose-Headers"), /^X-Own, X-RateLimit-Limit, /);
  });

  it("preflights are not charged, HEAD is as GET, and what is skipped has no fields", async () => {
    const api = limiter({ prefix: "middleware:methods", limits: { limit: 2, window: "15m" } });
    const handle = withRateLimit(() => api.hit("k"), () => new Response("hello"), { skip: (request) => request.url.endsWith("/health") });
    const node = rateLimit(() => api.hit("k"));
    const status = async (method, path = "/") => (await handle(new Request(`http://x${path}`, { method }))).status;
    assert.deepEqual([await status("OPTIONS"), await status("GET", "/health"), await status("POST"), await status("OPTIONS"), await status("HEAD"), await status("POST")], [200, 200, 200, 200, 200, 429]);
    let passed = 0;
    await node({ method: "OPTIONS" }, {}, () => (passed += 1));
    assert.equal(passed, 1);
  });

  it("t is when more becomes available, not when all is", async () => {
    const [seconds] = await client.sendCommand(["TIME"]);
    const minutesAgo = (minutes) => (Number(seconds) - 60 * minutes) * 1000;
    const shape = { prefix: "middleware:next", limits: { limit: 3, window: "4h" } };
    const api = limiter(shape);
    await api.hit("k", { at: minutesAgo(150) });
    await api.hit("k", { at: minutesAgo(30) });
    const t = async (limit) => {
      const response = await withRateLimit(limit, () => new Response("hello"))(new Request("http://x/"));
      return Number(/^"api";r=1;t=(\d+)$/.exec(response.headers.get("RateLimit"))?.[1]);
    };
    const looking = { hit: (key, options) => api.hit(key, { ...options, cost: 0 }), refund: api.refund };
    for (const limit of [() => api.hit("k", { cost: 0 }), () => hitOf(looking, "k")]) {
      const seen = await t(limit);
      assert.ok(seen > 5300 && seen <= 5400, `${seen}: in 90 minutes`);
    }
    const all = await hitAll([{ limiter: api, key: "k", cost: 0 }, { limiter: limiter({ ...shape, next: false }), key: "other", cost: 0 }]);
    const [first, second] = all.keys.map(({ nextAfterMs }) => nextAfterMs);
    assert.ok(first > 5_300_000 && first <= 5_400_000 && second === 0, `${first}, ${second}`);
    const { nextAfterMs, limits } = await limiter({ ...shape, next: false }).hit("k", { cost: 0 });
    assert.deepEqual([nextAfterMs, limits[0].nextAfterMs], [undefined, undefined]);
  });

  it("two limiters in front of one handler: one item a limit, and the tightest in X-RateLimit", async () => {
    const wide = limiter({ prefix: "middleware:wide", name: "wide", limits: { limit: 100, window: "1h" } });
    const tight = limiter({ prefix: "middleware:tight", name: "tight", limits: { limit: 3, window: "1m" } });
    const check = (fields) => {
      assert.match(fields.get("RateLimit"), /^"(wide|tight)";r=\d+;t=\d+, "(wide|tight)";r=\d+;t=\d+$/);
      assert.match(fields.get("RateLimit-Policy"), /q=100;w=3600/);
      assert.match(fields.get("RateLimit-Policy"), /q=3;w=60/);
      assert.equal(fields.get("X-RateLimit-Limit"), "3");
      assert.equal(fields.get("Access-Control-Expose-Headers").split("RateLimit-Policy").length, 2);
    };
    for (const [outer, inner] of [[wide, tight], [tight, wide]]) {
      const handle = withRateLimit(() => outer.hit("k"), withRateLimit(() => inner.hit("k"), () => new Response("hello")));
      check((await handle(new Request("http://x/"))).headers);
    }
    const app = express().use(rateLimit(() => wide.hit("n"))).use(rateLimit(() => tight.hit("n"))).get("/", (req, res) => res.json(req.rateLimit));
    const server = await listen(createServer(app));
    try {
      const response = await fetch(server.url, { headers: { Origin: "https://page.example" } });
      check(response.headers);
      // Who is no page of another origin has no use for it.
      assert.equal((await fetch(server.url)).headers.get("Access-Control-Expose-Headers"), null);
      assert.equal((await response.json()).limit, 3); // req.rateLimit: the last one's
    } finally {
      server.close();
    }
  });

  it("a message, a handler and a problem of one's own", async () => {
    const never = () => limiter({ prefix: "middleware:own", limits: { limit: 0, window: "1h" } }).hit("k");
    const answer = async (options) => withRateLimit(never, () => new Response("hello"), options)(new Request("http://x/"));
    const said = await answer({ message: "Slow down" });
    assert.deepEqual([said.status, await said.text(), said.headers.get("X-RateLimit-Limit")], [429, "Slow down", "0"]);
    assert.deepEqual(await (await answer({ message: { code: "SLOW" } })).json(), { code: "SLOW" });
    const own = await answer({ handler: () => new Response("teapot", { status: 418 }) });
    assert.deepEqual([own.status, own.headers.get("X-RateLimit-Limit")], [418, "0"]);
    const problem = await answer({ handler: problemOf });
    assert.equal(problem.headers.get("Content-Type"), "application/problem+json");
    assert.equal((await problem.json()).status, 429);
    assert.equal(problem.headers.get("RateLimit").split(",").length, 1);
    await assert.rejects(async () => withRateLimit(never, () => new Response(""), { massage: "x" }), /unknown option "massage"/);
  });

  it("a login: what succeeded does not count, and a denied try opens nothing", async () => {
    const status = { right: 200, wrong: 401, broken: 500 };
    // What is left of 3 after a row of tries, by which of them count.
    for (const [options, tries, left, statuses] of [
      [{ skipSuccessfulRequests: true }, ["right", "right", "right", "right", "wrong", "wrong"], 1, [200, 200, 200, 200, 401, 401]],
      [{ skipSuccessfulRequests: true }, ["wrong", "wrong", "wrong", "right", "wrong"], 0, [401, 401, 401, 429, 429]],
      [{ skipFailedRequests: true }, ["wrong", "broken", "right", "right", "right", "right", "wrong", "right"], 0, [401, 500, 200, 200, 200, 429, 429, 429]],
      [{ skipSuccessfulRequests: true, skipFailedRequests: true }, ["wrong", "right", "right", "wrong", "right"], 3, [401, 200, 200, 401, 200]],
    ]) {
      for (const kind of ["fetch", "express"]) {
        const login = limiter({ prefix: `middleware:login:${kind}:${JSON.stringify(options)}:${tries}`, limits: { limit: 3, window: "15m" } });
        const app = express().use(rateLimit(() => hitOf(login, "k"), options)).get("/:how", (req, res) => res.status(status[req.params.how]).end());
        const server = await listen(createServer(app));
        const handle = withRateLimit(() => hitOf(login, "k"), (request) => new Response(null, { status: status[new URL(request.url).pathname.slice(1)] }), options);
        const seen = [];
        try {
          for (const how of tries) {
            const before = (await login.peek("k", { cost: 0 })).remaining;
            const response = kind === "fetch" ? await handle(new Request(`http://x/${how}`)) : await fetch(`${server.url}${how}`);
            seen.push(response.status);
            const isBack = response.status !== 429 && (response.status < 400 ? options.skipSuccessfulRequests : options.skipFailedRequests);
            // Express gives back once the response is out.
            if (isBack) while ((await login.peek("k", { cost: 0 })).remaining !== before);
          }
          assert.deepEqual(seen, statuses);
          assert.equal((await login.peek("k", { cost: 0 })).remaining, left);
        } finally {
          server.close();
        }
      }
    }
    await assert.rejects(withRateLimit(() => limiter().hit("k"), () => new Response(""), { skipFailedRequests: true })(new Request("http://x/")), /hitOf/);
  });

  it("a mistake of the application's goes to Express's error handler; what the server refuses does not", async () => {
    let reached;
    await rateLimit(() => limiter().hit(undefined))({}, {}, (error) => (reached = error));
    assert.equal(reached.name, "TypeError");
    await client.set("middleware:text", "text");
    assert.equal((await ask(() => limiter({ onError() {} }).hit("middleware:text"))).status, 200);
    assert.equal((await ask(() => limiter({ unavailable: "closed", onError() {} }).hit("middleware:text"))).status, 503);
  });
});
