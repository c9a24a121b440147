#!/usr/bin/env node
// ratelimit-rest: the handler beside it as a server. It speaks plain HTTP: put TLS in front of it.

import { readFileSync, statSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { Readable } from "node:stream";
import { parseArgs } from "node:util";
import type { Client } from "../client.js";
import { restHandler } from "./handler.js";

const USAGE = `usage: ratelimit-rest --prefix TEXT [options]
  --prefix TEXT         what each key of an edge starts with; '' for any key
  --allow NAMES         what an edge may send besides, with commas between them: DEL,RL.INFO
  --listen HOST:PORT    default 127.0.0.1:8079
  --timeout-ms N        how long Redis may take to answer; default 1000
  --redis URL           without a password; default redis://127.0.0.1:6379
Secrets, each by the environment, or as a file that is read again when it has changed:
  RATELIMIT_REST_TOKEN           --token-file FILE        tokens of edges, one a line, 16 characters at least
  RATELIMIT_REST_ADMIN_TOKEN     --admin-token-file FILE  tokens that administer too; none by default
  RATELIMIT_REST_REDIS_PASSWORD  --password-file FILE     of Redis, read at the start
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
async function connect(url: string, password: string | undefined): Promise<Connected> {
  const { createClient } = await import("redis").catch(() => ({ createClient: undefined }));
  const report = (error: Error) => console.error(`ratelimit-rest: Redis: ${error.message}`);
  const secret = password === undefined ? {} : { password };
  if (createClient) {
    let connected = false; // the first time it connects at once or not at all
    const reconnectStrategy = (retries: number, cause: Error) => (connected ? Math.min(50 * 2 ** retries, 2000) : cause);
    const client = createClient({ url, ...secret, disableOfflineQueue: true, socket: { reconnectStrategy } });
    client.on("error", report);
    await client.connect();
    connected = true;
    return { client: client as unknown as Client, close: () => client.destroy() };
  }
  const { Redis } = await import("ioredis").catch(() => ({ Redis: undefined }));
  if (!Redis) return fail("neither redis nor ioredis is installed");
  const client = new Redis(url, { ...secret, enableOfflineQueue: false, maxRetriesPerRequest: 0, lazyConnect: true });
  client.on("error", report);
  await client.connect();
  return { client, close: () => client.disconnect() };
}

const linesOf = (file: string): string[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#"));

/** From a file, read again when it has changed; one that cannot be used leaves the tokens as they were, and says so. */
function tokensOf(file: string): () => readonly string[] {
  const changed = () => {
    const { mtimeMs, ino, size } = statSync(file);
    return `${mtimeMs} ${ino} ${size}`;
  };
  const read = () => {
    const tokens = linesOf(file);
    if (tokens.length === 0 || tokens.some((token) => token.length < 16)) throw new Error("expected a token a line, of at least 16 characters");
    return tokens;
  };
  let version = changed();
  let tokens = read();
  let next = performance.now() + 1000;
  return () => {
    if (performance.now() < next) return tokens;
    next = performance.now() + 1000;
    try {
      const now = changed();
      if (now === version) return tokens;
      version = now;
      tokens = read();
      console.log(`ratelimit-rest: ${file}: ${tokens.length} tokens`);
    } catch (error) {
      console.error(`ratelimit-rest: ${file}: the tokens stay as they were: ${(error as Error).message}`);
    }
    return tokens;
  };
}

const toRequest = (req: IncomingMessage): Request => {
  const headers = new Headers();
  for (const [name, value] of Object.entries(req.headers)) headers.set(name, [value].flat().join(", "));
  const body = req.method === "GET" || req.method === "HEAD" ? null : (Readable.toWeb(req) as ReadableStream<Uint8Array>);
  return new Request(new URL(req.url ?? "/", "http://localhost"), { method: req.method ?? "GET", headers, body, duplex: "half" } as RequestInit);
};

let nextLine = 0;
/** Whoever it was need not have a token: a line a second, and nothing of a request's own beyond some letters. */
function unread(error: unknown): void {
  if (performance.now() < nextLine) return;
  nextLine = performance.now() + 1000;
  const text = error instanceof Error ? error.message : String(error);
  console.error(`ratelimit-rest: a request was not understood: ${JSON.stringify(text.slice(0, 100))}`);
}

async function respond(handler: (request: Request) => Promise<Response>, req: IncomingMessage, res: ServerResponse): Promise<void> {
  let response: Response;
  try {
    response = await handler(toRequest(req));
  } catch (error) {
    if (req.destroyed && !req.complete) return; // the caller is gone, or was too slow
    unread(error);
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
  "token-file": { type: "string" },
  "admin-token-file": { type: "string" },
  "password-file": { type: "string" },
  help: { type: "boolean" },
} as const;

function parsed() {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    return fail(`${(error as Error).message}\n${USAGE}`);
  }
}

/** A secret stands in the environment or in a file; on the command line everybody who may run `ps` reads it. */
function secretOf<T>(variable: string, option: string, file: string | undefined, read: (file: string) => T): string | T | undefined {
  const value = process.env[variable];
  if (file !== undefined && value !== undefined) return fail(`${variable} and --${option}: expected one of them`);
  if (file === undefined) return value;
  try {
    return read(file);
  } catch (error) {
    return fail(`--${option}: ${file}: ${(error as Error).message}`);
  }
}

async function main(): Promise<void> {
  const { redis, listen, prefix, allow, help, "timeout-ms": timeout, ...files } = parsed();
  if (help) {
    console.log(USAGE);
    return;
  }
  const [, host, port] = /^(.+):(\d{1,5})$/.exec(listen) ?? [];
  if (host === undefined || Number(port) > 65_535) return fail(`--listen: expected HOST:PORT, got ${listen}`);
  if (prefix === undefined) return fail(`--prefix: expected what the keys of an edge start with ('' for any key)\n${USAGE}`);
  const timeoutMs = Number(timeout);
  if (!Number.isSafeInteger(timeoutMs) || timeoutMs < 1) return fail(`--timeout-ms: expected an integer of at least 1, got ${timeout}`);
  if (/^[^/]*\/\/[^@/]*:[^@/]+@/.test(redis)) return fail("--redis: a password there is seen by all: RATELIMIT_REST_REDIS_PASSWORD, or --password-file");
  const password = secretOf("RATELIMIT_REST_REDIS_PASSWORD", "password-file", files["password-file"], (file) => linesOf(file)[0]);
  const token = secretOf("RATELIMIT_REST_TOKEN", "token-file", files["token-file"], tokensOf);
  if (token === undefined || token === "") return fail(`RATELIMIT_REST_TOKEN: expected at least 16 characters\n${USAGE}`);
  const adminToken = secretOf("RATELIMIT_REST_ADMIN_TOKEN", "admin-token-file", files["admin-token-file"], tokensOf);

  const connecting = connect(redis, password);
  const { client, close } = await connecting.catch((error: unknown) => fail(`${redis.replace(/\/\/.*@/, "//")}: ${String(error)}`));
  const handler = ((): ((request: Request) => Promise<Response>) => {
    try {
      return restHandler({
        client,
        token,
        prefix,
        timeoutMs,
        ...(adminToken === undefined ? {} : { adminToken }),
        ...(allow === undefined ? {} : { allow: allow.split(",").map((name) => name.trim()) }),
      });
    } catch (error) {
      return fail((error as Error).message.replace(/^token:/, "RATELIMIT_REST_TOKEN:").replace(/^adminToken:/, "RATELIMIT_REST_ADMIN_TOKEN:"));
    }
  })();
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
