// Messages of a WebSocket, by ws, over real sockets.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import { connect } from "node:net";
import { after, before, describe, it } from "node:test";
import { createLimiter, limitMessages } from "ratelimit-client";
import { createClient } from "redis";
import { WebSocket, WebSocketServer } from "ws";
import { port, until } from "./servers.js";

let client;
before(async () => (client = await createClient({ socket: { port } }).connect()));
after(() => client.close());
const limiter = (prefix, options = {}) =>
  createLimiter({ client, prefix: `messages:${prefix}:${Date.now()}`, algorithm: "sliding", limits: { limit: 3, window: "1h" }, timeoutMs: 60_000, ...options });

/** A server whose sockets are served by `serve`; how each ended is in `ends`. */
async function serving(t, serve) {
  const server = createServer();
  const sockets = new WebSocketServer({ server });
  const ends = [];
  const accepted = [];
  sockets.on("connection", (socket) => {
    accepted.push(socket);
    ends.push(serve(socket).then(() => "over", (error) => error.message));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.after(() => {
    for (const socket of accepted) socket.terminate();
    server.close();
  });
  return { port: server.address().port, ends, accepted };
}

async function calling(t, { port }) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`);
  t.after(() => socket.terminate());
  const heard = [];
  const closed = once(socket, "close").then(([code, reason]) => [code, String(reason)]);
  socket.on("message", (data) => heard.push(String(data)));
  await once(socket, "open");
  return { socket, heard, closed };
}

const echo = (api, options) => async (socket) => {
  for await (const { data, isBinary } of limitMessages(socket, () => api.hit("k"), options)) socket.send(`${isBinary ? "bytes" : "text"} ${data}`);
};

describe("messages of a WebSocket", () => {
  it("are let through in order, and one too many closes", async (t) => {
    const server = await serving(t, echo(limiter("closes")));
    const { socket, heard, closed } = await calling(t, server);
    for (const text of ["a", Buffer.from("b"), "c", "d", "e"]) socket.send(text);
    assert.deepEqual(await closed, [1013, "Too many requests"]);
    assert.deepEqual(heard, ["text a", "bytes b", "text c"]);
    assert.equal(await server.ends[0], "over");
    assert.equal(server.accepted[0].listenerCount("message"), 0);
  });

  it("are refused for good where trying again is of no use", async (t) => {
    const server = await serving(t, echo(limiter("never", { limits: { limit: 0, window: "1h" } })));
    const { socket, closed } = await calling(t, server);
    socket.send("a");
    assert.deepEqual(await closed, [1008, "Too many requests"]);
  });

  it("are dropped, and the socket stays, where the application says so", async (t) => {
    const api = limiter("drops");
    const server = await serving(t, async (socket) => {
      const denied = ({ retryAfterMs }, { data }) => socket.send(`no ${data} ${retryAfterMs > 0}`);
      for await (const { data } of limitMessages(socket, () => api.hit("k"), { denied })) {
        if (String(data) === "c") await api.reset("k");
        socket.send(String(data));
      }
    });
    const { socket, heard, closed } = await calling(t, server);
    for (const text of ["a", "b", "c", "d", "e", "f", "g", "h"]) socket.send(text);
    await until(() => heard.length === 8);
    assert.deepEqual(heard, ["a", "b", "c", "d", "e", "f", "no g true", "no h true"]);
    socket.close(1000);
    await closed;
    assert.equal(await server.ends[0], "over");
  });

  it("that come too fast are not read, and none is lost", async (t) => {
    const api = limiter("held", { limits: { limit: 10_000, window: "1h" } });
    let release;
    const held = new Promise((resolve) => (release = resolve));
    const server = await serving(t, async (socket) => {
      const limit = async () => {
        await held;
        return api.hit("k");
      };
      for await (const { data } of limitMessages(socket, limit)) socket.send(data.subarray(0, 4));
    });
    const { socket, heard } = await calling(t, server);
    const message = (n) => Buffer.alloc(64 * 1024).fill(String(n).padStart(4, "0"), 0, 4);
    for (let n = 0; n < 2; n++) socket.send(message(n));
    await until(() => server.accepted[0]?.isPaused);
    for (let n = 2; n < 1000; n++) socket.send(message(n));
    let left;
    await until(() => left === (left = socket.bufferedAmount) && left > 0); // what the system holds is full
    release();
    await until(() => heard.length === 1000);
    assert.deepEqual(heard, Array.from({ length: 1000 }, (_, n) => String(n).padStart(4, "0")));
  });

  it("wait for their turn, which goes back when the caller has gone", async (t) => {
    const api = limiter("turn", { algorithm: "bucket", limits: { capacity: 1, refill: 1, interval: "1h" } });
    const server = await serving(t, async (socket) => {
      for await (const { data } of limitMessages(socket, (_, signal) => api.wait("k", { timeoutMs: 7_200_000, signal }))) socket.send(data);
    });
    const { socket, heard } = await calling(t, server);
    socket.send("a");
    socket.send("b");
    await until(async () => heard.length === 1 && (await api.peek("k")).retryAfterMs > 3_600_000); // b has its place
    socket.terminate();
    assert.equal(await server.ends[0], "over");
    await until(async () => (await api.peek("k")).retryAfterMs <= 3_600_000);
  });

  it("end with a mistake of the application's, which is thrown", async (t) => {
    const api = limiter("mistake");
    const server = await serving(t, async (socket) => {
      for await (const _ of limitMessages(socket, () => api.hit(undefined)));
    });
    const { socket, closed } = await calling(t, server);
    socket.send("a");
    assert.equal((await closed)[0], 1011);
    assert.match(await server.ends[0], /^key: expected a non-empty string/);
  });

  it("that are none end the socket, and nothing else", async (t) => {
    const server = await serving(t, echo(limiter("stranger")));
    const stranger = connect(server.port, "127.0.0.1");
    t.after(() => stranger.destroy());
    stranger.write("GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
    await once(stranger, "data");
    stranger.write(Buffer.from([0xff, 0xff, 0xff, 0xff])); // reserved bits, and no such opcode
    await until(() => server.ends.length === 1);
    assert.equal(await server.ends[0], "over");
  });

  it("of what cannot pause are refused, and options that are none", () => {
    const socket = { on() {}, pause() {} };
    const limit = async () => ({ allowed: true });
    assert.throws(() => limitMessages({ on() {} }, limit), /^TypeError: socket: expected a WebSocket of ws, which can pause, got an object/);
    assert.throws(() => limitMessages(socket, undefined), /^TypeError: limit: expected a function/);
    assert.throws(() => limitMessages(socket, limit, { denied: "close" }), /^TypeError: denied: expected a function/);
    assert.throws(() => limitMessages(socket, limit, { onDenied: limit }), TypeError);
  });
});
