#!/usr/bin/env node
// ratelimit-rest: the handler beside it as a server. It speaks plain HTTP: put TLS in front of it.

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { parseArgs } from "node:util";
import type { Client } from "../client.js";
import { restHandler } from "./handler.js";

const USAGE = `usage: RATELIMIT_REST_TOKEN=<at least 16 characters> ratelimit-rest [options]
  --redis URL       default redis://127.0.0.1:6379
  --listen HOST:PORT  default 127.0.0.1:8079
  --prefix TEXT     DEL is allowed for keys that start so
  --allow NAMES     commands, with commas between them; default: the module's own
  --timeout-ms N    how long Redis may take to answer; default 1000
Needs one of the packages redis and ioredis.`;

const fail = (message: string): never => {
  console.error(`ratelimit-rest: ${message}`);
  process.exit(2);
};

interface Connected {
  readonly client: Client;
  close(): unknown;
}

/** Nothing is queued while Redis is away: it would be counted later. */
async function connect(url: string): Promise<Connected> {
  const { createClient } = await import("redis").catch(() => ({ createClient: undefined }));
  const report = (error: Error) => console.error(`ratelimit-rest: Redis: ${error.message}`);
  if (createClient) {
    let connected = false; // the first time it connects at once or not at all
    const reconnectStrategy = (retries: number, cause: Error) => (connected ? Math.min(50 * 2 ** retries, 2000) : cause);
    const client = createClient({ url, disableOfflineQueue: true, socket: { reconnectStrategy } });
    client.on("error", report);
    await client.connect();
    connected = true;
    return { client: client as unknown as Client, close: () => client.destroy() };
  }
  const { Redis } = await import("ioredis").catch(() => ({ Redis: undefined }));
  if (!Redis) return fail("neither redis nor ioredis is installed");
  const client = new Redis(url, { enableOfflineQueue: false, maxRetriesPerRequest: 0, lazyConnect: true });
  client.on("error", report);
  await client.connect();
  return { client, close: () => client.disconnect() };
}

const toRequest = (req: IncomingMessage): Request => {
  const headers = new Headers();
  for (const [name, value] of Object.entries(req.headers)) headers.set(name, [value].flat().join(", "));
  const body = req.method === "GET" || req.method === "HEAD" ? null : (Readable.toWeb(req) as ReadableStream<Uint8Array>);
  return new Request(new URL(req.url ?? "/", "http://localhost"), { method: req.method ?? "GET", headers, body, duplex: "half" } as RequestInit);
};

async function respond(handler: (request: Request) => Promise<Response>, req: IncomingMessage, res: ServerResponse): Promise<void> {
  let response: Response;
  try {
    response = await handler(toRequest(req));
  } catch (error) {
    if (req.destroyed && !req.complete) return; // the caller is gone, or was too slow
    console.error("ratelimit-rest:", error);
    response = Response.json({ error: "ERR not understood" }, { status: 400 });
  }
  // What was not read of a body must not be taken for the next request.
  if (!req.complete) res.setHeader("Connection", "close");
  res.writeHead(response.status, { "Content-Type": "application/json" });
  res.end(await response.text());
}

const options = {
  redis: { type: "string", default: "redis://127.0.0.1:6379" },
  listen: { type: "string", default: "127.0.0.1:8079" },
  prefix: { type: "string" },
  allow: { type: "string" },
  "timeout-ms": { type: "string", default: "1000" },
  help: { type: "boolean" },
} as const;

function parsed() {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return fail(`${(error as Error).message}\n${USAGE}`);
  }
}

async function main(): Promise<void> {
  const { redis, listen, prefix, allow, help, "timeout-ms": timeout } = parsed();
  if (help) {
    console.log(USAGE);
    return;
  }
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(listen) ?? [];
  if (host === undefined || Number(port) > 65_535) return fail(`--listen: expected HOST:PORT, got ${listen}`);
  const timeoutMs = Number(timeout);
  if (!Number.isSafeInteger(timeoutMs) || timeoutMs < 1) return fail(`--timeout-ms: expected an integer of at least 1, got ${timeout}`);
  const token = process.env.RATELIMIT_REST_TOKEN ?? "";
  if (token.length < 16) return fail(`RATELIMIT_REST_TOKEN: expected at least 16 characters\n${USAGE}`);

  const { client, close } = await connect(redis).catch((error: unknown) => fail(`${redis.replace(/\/\/.*@/, "//")}: ${String(error)}`));
  const handler = restHandler({
    client,
    token,
    timeoutMs,
    ...(prefix === undefined ? {} : { prefix }),
    ...(allow === undefined ? {} : { allow: allow.split(",").map((name) => name.trim()) }),
  });
  // A caller who sends slowly holds a connection for so long at most, and no other caller up.
  const limits = { headersTimeout: 5000, requestTimeout: 10_000, connectionsCheckingInterval: 1000, maxHeaderSize: 16_384 };
  const server = createServer(limits, (req, res) => void respond(handler, req, res));
  const stop = () => {
    server.close(() => void close());
    server.closeIdleConnections();
  };
  process.once("SIGTERM", stop).once("SIGINT", stop);
  server.on("error", (error) => fail(error.message));
  server.listen(Number(port), host.replace(/^\[|\]$/g, ""), () => {
    const { address, port } = server.address() as AddressInfo;
    console.log(`ratelimit-rest: listening on ${address}:${port}`);
  });
}

await main();
