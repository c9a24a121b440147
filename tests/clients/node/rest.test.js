// Redis over HTTP: the command that serves it, asked by @upstash/redis and @upstash/ratelimit as they come from npm,
// from Node, from an edge runtime and from workerd; and by those who mean no good.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, describe, it } from "node:test";
import { Redis as UpstashRedis } from "@upstash/redis";
import { EdgeRuntime } from "edge-runtime";
import { build } from "esbuild";
import { Redis as IoRedis } from "ioredis";
import { Miniflare } from "miniflare";
import { createLimiter } from "ratelimit-client";
import { restClient, restHandler } from "ratelimit-client/rest";
import { createClient } from "redis";
import { limited } from "./edge.js";
import { ownServer, port, stop } from "./servers.js";

/** Held still by a test. */
const stalled = await ownServer();
after(() => stalled.end());

const TOKEN = "a token of more than 16 characters";
const ADMIN = "the token of an administrator";
const PATIENCE_MS = 60_000; // of tests that are not about a deadline, on a busy machine
const serveFile = fileURLToPath(new URL("serve.js", import.meta.resolve("ratelimit-client/rest")));

/** The command, on a port of its own. */
async function serve(t, args = [], env = {}) {
  const child = spawn(process.execPath, [serveFile, "--redis", `redis://127.0.0.1:${port}`, "--listen", "127.0.0.1:0", "--prefix", "rest:", "--timeout-ms", String(PATIENCE_MS), ...args], {
    env: { ...process.env, RATELIMIT_REST_TOKEN: TOKEN, RATELIMIT_REST_ADMIN_TOKEN: ADMIN, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  const listening = new Promise((resolve, reject) => {
    const read = (data) => {
      output += data;
      const found = /listening on ([\d.]+):(\d+)/.exec(output);
      if (found) resolve({ url: `http://${found[1]}:${found[2]}`, port: Number(found[2]) });
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.once("exit", (code) => reject(Object.assign(new Error(output), { code })));
  });
  t.after(async () => {
    if (child.exitCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return { ...(await listening), child };
}

let client;
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());

const handlerOf = (options) => restHandler({ client, token: TOKEN, adminToken: ADMIN, prefix: "rest:", timeoutMs: PATIENCE_MS, ...options });
const asAdmin = { headers: { Authorization: `Bearer ${ADMIN}` } };
const post = (handler, body, { path = "/", headers, method = "POST" } = {}) =>
  handler(new Request(`http://x${path}`, {
    method,
    headers: { Authorization: `Bearer ${TOKEN}`, ...headers },
    ...(method === "GET" ? {} : { body: typeof body === "string" || body instanceof ReadableStream ? body : JSON.stringify(body), duplex: "half" }),
  }));
const answered = async (response) => [response.status, await response.json()];

describe("limiting over HTTP", () => {
  const two = [[true, 1], [true, 0], [false, 0]];
  const expected = { library: two, own: two };
  let bundle;
  before(async () => {
    const file = fileURLToPath(new URL("edge.js", import.meta.url));
    const { outputFiles } = await build({ entryPoints: [file], bundle: true, write: false, format: "iife", globalName: "edge", platform: "browser", conditions: ["worker"], target: "es2022" });
    bundle = outputFiles[0].text;
  });

  it("from Node", async (t) => {
    const { url } = await serve(t);
    assert.deepEqual(await limited({ url, token: TOKEN, prefix: "rest:node" }), expected);
  });

  it("from the edge runtime of Next.js", async (t) => {
    const { url } = await serve(t);
    const given = JSON.stringify({ url, token: TOKEN, prefix: "rest:edge" });
    const runtime = new EdgeRuntime({ initialCode: `${bundle}; addEventListener("fetch", (event) => event.respondWith(edge.answer(${given})))` });
    assert.deepEqual(await answered(await runtime.dispatchFetch("http://localhost/")), [200, expected]);
  });

  it("from a worker (workerd)", async (t) => {
    const { url } = await serve(t);
    const given = JSON.stringify({ url, token: TOKEN, prefix: "rest:worker" });
    const worker = new Miniflare({ modules: true, script: `${bundle}; export default { fetch: () => edge.answer(${given}) }`, compatibilityDate: "2025-09-01" });
    t.after(() => worker.dispose());
    assert.deepEqual(await answered(await worker.dispatchFetch("http://localhost/")), [200, expected]);
  });

  it("3,000 requests of 50 at a time are all answered, and the limit is kept", async (t) => {
    const { url } = await serve(t);
    const api = createLimiter({ client: restClient({ url, token: TOKEN }), prefix: "rest", algorithm: "fixed", limits: { limit: 1234, window: "3650d" }, timeoutMs: false, onError() {} });
    let allowed = 0;
    let failed = 0;
    let left = 3000;
    await Promise.all(Array.from({ length: 50 }, async () => {
      while (left-- > 0) {
        let verdict;
        // On a machine so busy that a request takes seconds to arrive it is refused; it may have been counted.
        while ((verdict = await api.hit("flood")).error) failed += 1;
        if (verdict.allowed) allowed += 1;
      }
    }));
    assert.ok(allowed <= 1234 && allowed >= 1234 - failed, `${allowed} were allowed, ${failed} failed`);
    assert.equal((await api.peek("flood", { cost: 0 })).remaining, 0);
  });
});

describe("the protocol of @upstash/redis", () => {
  const clients = {
    "node-redis": async () => [client, () => {}],
    "node-redis RESP2": async () => {
      const own = await createClient({ RESP: 2, socket: { port } }).connect();
      return [own, () => own.close()];
    },
    ioredis: async () => {
      const own = new IoRedis({ port });
      return [own, () => own.quit()];
    },
  };
  for (const [name, open] of Object.entries(clients)) {
    it(`${name}: commands, pipelines, transactions and errors, with base64 and without`, async (t) => {
      const [own, close] = await open();
      t.after(close);
      const handler = restHandler({ client: own, token: TOKEN, timeoutMs: PATIENCE_MS, prefix: "rest:", allow: ["RL.INFO", "RL.POLICY", "SET", "GET", "DEL"] });
      const key = `rest:protocol:${name} ключ 鍵`;
      for (const responseEncoding of ["base64", false]) {
        const redis = new UpstashRedis({ url: "https://rest.test", token: TOKEN, responseEncoding, retry: false, automaticDeserialization: false });
        t.mock.method(globalThis, "fetch", (url, init) => handler(new Request(url, init)));
        assert.equal(await redis.exec(["SET", key, "OK"]), "OK");
        assert.equal(await redis.exec(["GET", key]), "OK");
        assert.equal(await redis.exec(["GET", `${key}:none`]), null);
        await assert.rejects(redis.exec(["RL.FIXED", key, "5", "1h"]), /WRONGTYPE/);
        assert.equal(await redis.del(key), 1);
        const transaction = redis.multi().set(key, "text 鍵").get(key).del(key);
        assert.deepEqual(await transaction.exec(), ["OK", "text 鍵", 1]);
        const mixed = redis.pipeline();
        mixed.get(key);
        mixed.incr(key); // not allowed
        assert.deepEqual((await mixed.exec({ keepErrors: true })).map(({ error }) => error?.replace(/ .*/, "")), [undefined, "NOPERM"]);
        const info = `${key}:info`;
        await redis.exec(["RL.FIXED", info, 5, "1h"]);
        const flat = await redis.exec(["RL.INFO", info]);
        assert.deepEqual(flat.slice(0, 2), ["algorithm", "fixed"]); // flat, as RESP2 has it
        t.mock.restoreAll();
      }
    });
  }

  it("a command of a transaction that fails is told, and the others are kept", async () => {
    await client.set("rest:multi:text", "text");
    const body = [["RL.FIXED", "rest:multi", "5", "1h"], ["RL.FIXED", "rest:multi:text", "5", "1h"]];
    const [status, [first, second]] = await answered(await post(handlerOf(), body, { path: "/multi-exec" }));
    assert.deepEqual([status, first.result.slice(0, 3)], [200, [1, 5, 4]]);
    assert.match(second.error, /^WRONGTYPE/);
    const ioredis = new IoRedis({ port });
    await ioredis.ping();
    assert.match((await answered(await post(restHandler({ client: ioredis, token: TOKEN, prefix: "rest:", timeoutMs: PATIENCE_MS }), body, { path: "/multi-exec" })))[1][1].error, /^WRONGTYPE/);
    ioredis.disconnect();
    const cannot = await post(restHandler({ client: async () => 1, token: TOKEN, prefix: "" }), body, { path: "/multi-exec" });
    assert.equal(cannot.status, 501);
  });

  it("mounted below a path", async () => {
    const handler = handlerOf({ basePath: "/api/redis/" });
    const hit = ["RL.FIXED", "rest:mounted", "5", "1h"];
    assert.equal((await post(handler, hit, { path: "/api/redis" })).status, 200);
    assert.equal((await post(handler, [hit], { path: "/api/redis/pipeline" })).status, 200);
    for (const path of ["/", "/pipeline", "/api/redis/other", "/api/redisx"]) assert.equal((await post(handler, hit, { path })).status, 404, path);
  });
});

describe("what is not allowed", () => {
  it("a wrong, missing or short token", async () => {
    const handler = handlerOf();
    for (const authorization of ["", "Bearer", "Bearer ", `Bearer ${TOKEN}x`, `Bearer ${TOKEN.slice(1)}`, `Basic ${TOKEN}`, TOKEN, "Bearer é"]) {
      const [status, { error }] = await answered(await post(handler, ["RL.FIXED", "rest:token", "5", "1h"], { headers: { Authorization: authorization } }));
      assert.equal(status, 401, authorization);
      assert.match(error, /^NOAUTH/);
    }
    assert.equal(await client.exists("rest:token"), 0);
    assert.equal((await post(handlerOf({ token: ["another token that is long", TOKEN] }), ["RL.FIXED", "rest:token", "5", "1h"])).status, 200);
    assert.throws(() => handlerOf({ token: "short" }), /at least 16/);
    assert.throws(() => handlerOf({ token: [] }), /token/);
    assert.throws(() => handlerOf({ tokens: [TOKEN] }), /unknown option "tokens"/);
  });

  it("commands that are not an edge's, however they are written, also in pipelines and transactions", async () => {
    const handler = handlerOf();
    const forbidden = [
      ["FLUSHALL"], ["flushall"], ["CONFIG", "GET", "*"], ["GET", "rest:k"], ["EVAL", "return 1", "0"], ["RL.APPLY", "k"], ["RL.FIXED\r\nFLUSHALL"],
      [" RL.FIXED"], ["RL.FIXED\u0000"], ["RL.ſTATS"], ["MULTI"], ["SUBSCRIBE", "x"], ["DEBUG", "SLEEP", "10"], ["SHUTDOWN"],
      ["DEL", "rest:a"], ["UNLINK", "rest:a"],
      ["RL.POLICY", "SET", "api", "FIXED", "0", "1h"], ["rl.policy", "LIST"], ["RL.DENY", "ADD", "bad", "0.0.0.0/0"], ["RL.STATS", "RESET"], ["RL.INFO", "rest:a"], ["RL.RESET", "rest:a"],
      // Keys of others, wherever a command names one.
      ["RL.FIXED", "other", "5", "1h"], ["RL.SLIDING", "other", "5", "1h", "COST", "-100"], ["RL.LEASE", "other", "5", "1h", "id"], ["RL.RELEASE", "other", "id"],
      ["RL.PEEK", "FIXED", "other", "5", "1h"], ["RL.ALL", "2", "rest:a", "other", "FIXED", "5", "1h", "FIXED", "5", "1h"], ["RL.PEEKALL", "1", "other", "FIXED", "5", "1h"],
      ["RL.FIXED", "rest", "5", "1h"],
    ];
    for (const words of forbidden) {
      assert.equal((await post(handler, words)).status, 403, words.join(" "));
      assert.equal((await post(handler, [["RL.FIXED", "rest:none", "5", "1h"], words], { path: "/multi-exec" })).status, 403, words.join(" "));
      const [, [{ error }]] = await answered(await post(handler, [words], { path: "/pipeline" }));
      assert.match(error, /^NOPERM/);
    }
    assert.equal(await client.exists("rest:none"), 0);
    assert.equal(await client.exists("other"), 0);
    // A number of keys that the server does not read as one: it finds no keys, and refuses.
    for (const count of ["+1", "01", "1e0", "17", "99"]) {
      assert.equal((await post(handler, ["RL.ALL", count, "other", "FIXED", "5", "1h"])).status >= 400, true, count);
    }
    assert.equal(await client.exists("other"), 0);
    // More by `allow`, of its own keys; all by the administrator's token.
    const more = handlerOf({ allow: ["DEL", "rl.info"] });
    assert.equal((await post(more, ["del", "rest:a", "rest:b"])).status, 200);
    assert.equal((await post(more, ["DEL", "rest:a", "other"])).status, 403);
    assert.throws(() => handlerOf({ allow: ["FLUSHALL"] }), /allow\[0\]: expected one of RL\.FIXED/);
    assert.equal((await post(handler, ["RL.POLICY", "LIST"], asAdmin)).status, 200);
    assert.equal((await post(handler, ["DEL", "other"], asAdmin)).status, 200);
    assert.equal((await post(handler, ["FLUSHALL"], asAdmin)).status, 403);
    assert.equal((await post(handlerOf({ adminToken: undefined }), ["RL.POLICY", "LIST"], asAdmin)).status, 401);
    assert.throws(() => handlerOf({ prefix: undefined }), { name: "TypeError", message: /^prefix: / });
  });

  it("replies beyond a bound: what is run is said, and what is not", async () => {
    const handler = handlerOf({ maxReplyBytes: 2000 });
    const names = Array.from({ length: 100 }, (_, i) => `rest-large-${i}`);
    await client.sendCommand(["RL.DENY", "ADD", "rest-large", ...names]);
    const entries = ["RL.DENY", "ENTRIES", "rest-large", "0", "COUNT", "1000"];
    const [status, { error }] = await answered(await post(handler, entries, asAdmin));
    assert.deepEqual([status, error], [413, "ERR the reply is larger than 2000 bytes"]);
    const [, outcomes] = await answered(await post(handler, [...Array(40).fill(entries), ...Array(40).fill(["RL.FIXED", "rest:large", "99", "1h"])], { ...asAdmin, path: "/pipeline" }));
    assert.equal(outcomes.length, 80);
    assert.match(outcomes[0].error, /run, and not shown/);
    assert.match(outcomes[79].error, /not run/);
    assert.equal(await client.exists("rest:large"), 0);
    assert.equal((await post(handler, [entries], { ...asAdmin, path: "/multi-exec" })).status, 403);
  });

  it("tokens that change: the new one and the old one, then the new one alone", async () => {
    let tokens = [TOKEN];
    const handler = handlerOf({ token: () => tokens });
    const hit = async (token) => (await post(handler, ["RL.FIXED", "rest:rotate", "99", "1h"], { headers: { Authorization: `Bearer ${token}` } })).status;
    const next = "the next token, a long one";
    assert.deepEqual([await hit(TOKEN), await hit(next)], [200, 401]);
    tokens = [TOKEN, next];
    assert.deepEqual([await hit(TOKEN), await hit(next)], [200, 200]);
    tokens = [next];
    assert.deepEqual([await hit(TOKEN), await hit(next)], [401, 200]);
  });

  it("bodies that are too large, or no command", async () => {
    const handler = handlerOf({ maxBodyBytes: 1000, maxCommands: 3 });
    const endless = new ReadableStream({ pull: (controller) => controller.enqueue(new Uint8Array(100)) });
    assert.equal((await post(handler, endless)).status, 413);
    assert.equal((await post(handler, "x".repeat(1001))).status, 413);
    assert.equal((await post(handler, Array(4).fill(["RL.FIXED"]), { path: "/pipeline" })).status, 413);
    for (const body of ["", "nonsense", "[", "{}", "[]", "null", "1", '"RL.STATS"', "[[]]", "[null]", "[{}]", '["RL.FIXED",{"toString":1}]', '["RL.FIXED",null]', "\uffff", "[".repeat(900)]) {
      assert.equal((await post(handler, body)).status, 400, body);
      if (body !== "[]" && body !== "[[]]" && body !== "[null]" && body !== "[{}]" && !body.startsWith('["RL')) assert.equal((await post(handler, body, { path: "/pipeline" })).status, 400, body);
    }
    assert.equal((await post(handler, undefined, { method: "GET" })).status, 405);
    const [, inPipeline] = await answered(await post(handler, [null, 5, []], { path: "/pipeline" }));
    assert.deepEqual(inPipeline.map(({ error }) => error.slice(0, 4)), ["ERR ", "ERR ", "ERR "]);
    assert.equal((await post(handlerOf(), `[${"[".repeat(500_000)}`)).status, 400);
  });

  it("a Redis that does not answer: 503 in time", async (t) => {
    const own = await createClient({ socket: { port: stalled.port } }).connect();
    t.after(() => own.destroy());
    const handler = restHandler({ client: own, token: TOKEN, prefix: "rest:", timeoutMs: 50 });
    try {
      await stop(stalled);
      const hit = ["RL.FIXED", "rest:away", "5", "1h"];
      for (const [path, body] of [["/", hit], ["/pipeline", [hit]], ["/multi-exec", [hit]]]) {
        const [status, { error }] = await answered(await post(handler, body, { path }));
        assert.equal(status, 503);
        assert.match(error, /^UNAVAILABLE Redis could not be asked: no /);
      }
      // To a limiter behind it that is Redis being away, and no mistake.
      t.mock.method(globalThis, "fetch", (url, init) => handler(new Request(url, init)));
      const rest = restClient({ url: "https://rest.test/", token: TOKEN, fetch: globalThis.fetch });
      const limits = { algorithm: "fixed", limits: { limit: 5, window: "1h" }, timeoutMs: PATIENCE_MS, onError() {} };
      assert.equal((await createLimiter({ client: rest, ...limits }).hit("rest:k")).allowed, true);
      assert.equal((await createLimiter({ client: rest, ...limits, unavailable: "closed" }).hit("rest:k")).allowed, false);
    } finally {
      process.kill(stalled.pid, "SIGCONT");
    }
  });
});

describe("the command", () => {
  /** Sends raw bytes and resolves with all that came until the connection was closed. */
  const raw = (port, text) => new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(text));
    let received = "";
    socket.on("data", (data) => (received += data));
    socket.on("error", reject);
    socket.on("close", () => resolve(received));
  });
  const headers = `Host: x\r\nAuthorization: Bearer ${TOKEN}\r\n`;

  it("survives what is no HTTP, what stops half-way and what lies about its length", async (t) => {
    const { url, port } = await serve(t);
    assert.match(await raw(port, "\x16\x03\x01 no HTTP\r\n\r\n"), /^HTTP\/1\.1 400/);
    assert.match(await raw(port, `POST / HTTP/1.1\r\n${headers}X: ${"x".repeat(20_000)}\r\n\r\n`), /^HTTP\/1\.1 431/);
    assert.match(await raw(port, `POST / HTTP/1.1\r\n${headers}Content-Length: 99999999\r\n\r\n[`), /^HTTP\/1\.1 413/);
    assert.match(await raw(port, `POST http://[ HTTP/1.1\r\n${headers}Connection: close\r\nContent-Length: 2\r\n\r\n[]`), /^HTTP\/1\.1 4\d\d/);
    assert.match(await raw(port, `OPTIONS * HTTP/1.1\r\n${headers}Connection: close\r\n\r\n`), /^HTTP\/1\.1 4\d\d/);
    // Slower than it may be: ended after 10 s, while others are served.
    const slow = raw(port, `POST / HTTP/1.1\r\n${headers}Content-Length: 100\r\n\r\n[`);
    assert.ok(Array.isArray(await restClient({ url, token: TOKEN }).exec(["RL.FIXED", "rest:beside", "5", "1h"])));
    assert.match(await slow, /^HTTP\/1\.1 408|^$/);
    assert.ok(Array.isArray(await restClient({ url, token: TOKEN }).exec(["RL.FIXED", "rest:beside", "5", "1h"])));
  });

  it("reads its tokens again when their file has changed, and Redis' password from a file; nobody learns of a stack", async (t) => {
    const directory = await mkdtemp(join(tmpdir(), "ratelimit-rest-"));
    t.after(() => rm(directory, { recursive: true }));
    const [tokens, password] = [join(directory, "tokens"), join(directory, "password")];
    await client.sendCommand(["ACL", "SETUSER", "rest", "on", ">a secret of Redis", "~*", "+@all"]);
    await writeFile(tokens, `# edges\n${TOKEN}\n`);
    await writeFile(password, "a secret of Redis\n");
    const { url, port: own, child } = await serve(t, ["--redis", `redis://rest@127.0.0.1:${port}`, "--token-file", tokens, "--password-file", password], { RATELIMIT_REST_TOKEN: undefined });
    let output = "";
    child.stderr.on("data", (data) => (output += data));
    const hit = async (token) => (await fetch(url, { method: "POST", headers: { Authorization: `Bearer ${token}` }, body: JSON.stringify(["RL.FIXED", "rest:file", "999", "1h"]) })).status;
    const next = "the next token, a long one";
    assert.deepEqual([await hit(TOKEN), await hit(next)], [200, 401]);
    await writeFile(tokens, "short\n"); // cannot be used: the others stay
    while (!output.includes("the tokens stay as they were")) assert.equal(await hit(TOKEN), 200);
    await writeFile(tokens, `${next}\n`);
    while ((await hit(next)) !== 200) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(await hit(TOKEN), 401);
    await raw(own, "POST http://[ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n[]");
    while (!output.includes("was not understood")) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.doesNotMatch(output, /\n\s+at /);
  });

  it("ends when told to, and says what is wrong with its options", async (t) => {
    const { child } = await serve(t);
    child.kill("SIGTERM");
    assert.deepEqual(await once(child, "exit"), [0, null]);
    for (const [args, env, says] of [
      [[], { RATELIMIT_REST_TOKEN: "" }, /RATELIMIT_REST_TOKEN: expected at least 16/],
      [["--listen", "nowhere"], {}, /--listen: expected HOST:PORT/],
      [["--port", "1"], {}, /--port/],
      [["--timeout-ms", "soon"], {}, /--timeout-ms: expected an integer/],
      [["--redis", "redis://127.0.0.1:1"], { RATELIMIT_REST_REDIS_PASSWORD: "secret" }, /ECONNREFUSED/],
      [["--redis", "redis://user:secret@127.0.0.1:1"], {}, /--redis: a password there is seen by all/],
      [["--token-file", "/nowhere"], { RATELIMIT_REST_TOKEN: undefined }, /--token-file: \/nowhere: ENOENT/],
      [["--token-file", "/nowhere"], {}, /RATELIMIT_REST_TOKEN and --token-file: expected one of them/],
      [["--allow", "FLUSHALL"], {}, /allow\[0\]: expected one of/],
    ]) {
      await assert.rejects(serve(t, args, env), (error) => {
        assert.equal(error.code, 2);
        assert.doesNotMatch(error.message, /secret/);
        return says.test(error.message) || assert.fail(error.message);
      });
    }
  });
});
