// The one place that knows Redis clients: how each is asked to send a command, and what its errors mean.

import { wrong } from "./check.js";

/** Sends one command. `key` is the key that decides on the node of a cluster. */
export type Send = (args: string[], key: string) => Promise<unknown>;

/** A client of node-redis, or a pool of them. */
export interface NodeRedisClient {
  sendCommand(args: string[]): Promise<unknown>;
}
/** A cluster of node-redis. */
export interface NodeRedisCluster {
  readonly masters: unknown;
  sendCommand(key: string, isReadonly: boolean, args: string[]): Promise<unknown>;
}
/** ioredis, a client or a cluster. */
export interface IoRedisClient {
  call(command: string, ...args: string[]): Promise<unknown>;
}
/** What speaks REST: @upstash/redis, or `restClient()` of this package. */
export interface RestClient {
  exec(command: [string, ...string[]]): Promise<unknown>;
}

export type Client = Send | NodeRedisClient | NodeRedisCluster | IoRedisClient | RestClient;

export function sender(client: Client): Send {
  if (typeof client === "function") return client;
  if (typeof client === "object" && client !== null) {
    // ioredis has a sendCommand too, which takes something else.
    if ("call" in client) return ([command, ...args]) => client.call(command as string, ...args);
    if ("masters" in client) return (args, key) => client.sendCommand(key, false, args);
    if ("sendCommand" in client) return (args) => client.sendCommand(args);
    if ("exec" in client) return (args) => client.exec(args as [string, ...string[]]);
  }
  throw wrong("client", "a client of node-redis, ioredis or @upstash/redis, or a function that sends a command", client);
}

/** What the server refused: a mistake in the call or in the set-up, which trying again does not mend. */
export class RefusedError extends Error {
  override readonly name = "RefusedError";
  /** `ERR`, `WRONGTYPE`, `NOPERM` ... */
  readonly code: string;
  constructor(message: string, code: string, cause: unknown) {
    super(message, { cause });
    this.code = code;
  }
}

const REFUSALS = new Set(["ERR", "WRONGTYPE", "CROSSSLOT", "NOPERM", "NOAUTH", "WRONGPASS", "EXECABORT", "MOVED"]);

/** The error as a refusal, or undefined where Redis is away, busy, loading or full: where another try may succeed. */
export function refusal(error: unknown): RefusedError | undefined {
  if (error instanceof RefusedError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = /^([A-Z]+) /.exec(message)?.[1];
  if (code === undefined || !REFUSALS.has(code) || message.startsWith("ERR max number of clients")) return undefined;
  return new RefusedError(message, code, error);
}

/** An answer within the time given, or an error. Its timer keeps no process alive longer than that. */
export async function within<T>(timeoutMs: number | false, answer: Promise<T>): Promise<T> {
  if (timeoutMs === false) return answer;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer from Redis within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

export interface Reach {
  readonly timeoutMs: number | false;
  /** Whether a hit is let through where Redis is away. */
  readonly open: boolean;
  readonly onError: (error: Error) => void;
}

/** The answer in time. A refusal is thrown; any other failure is told to `onError`, and `instead` stands for an answer. */
export async function answered<T>({ timeoutMs, onError }: Reach, answer: Promise<T>, instead: (error: Error) => T): Promise<T> {
  try {
    return await within(timeoutMs, answer);
  } catch (error) {
    const refused = refusal(error);
    if (refused) throw refused;
    const cause = error instanceof Error ? error : new Error(String(error));
    onError(cause);
    return instead(cause);
  }
}
