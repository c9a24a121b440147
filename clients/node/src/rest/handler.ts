// Redis over HTTP for where only fetch exists, such as edge runtimes and workers: from Request to Response, by the
// protocol that @upstash/redis speaks. Nothing but what is allowed reaches Redis.

import { integer, members, text, wrong } from "../check.js";
import { refusal, type Client } from "../client.js";
import { Connection } from "../connection.js";
import { permission, type Role } from "./permission.js";
import { transactor, type Outcome } from "./transaction.js";

/** One, or several of which each is valid: so one can take another's place. A function is asked with each request. */
export type Tokens = string | readonly string[] | (() => string | readonly string[]);

/** What a handler of the REST protocol is made of. */
export interface RestHandlerOptions {
  readonly client: Client;
  /** Of an edge: charges, looks at and releases keys that start with `prefix`. At least 16 characters. */
  readonly token: Tokens;
  /** Administers: policies, deny lists, statistics, and any key. None by default. */
  readonly adminToken?: Tokens;
  /** What each key of an edge's starts with: `api:`. `""` for any key. */
  readonly prefix: string;
  /** What an edge may send besides, of keys that start so: `["DEL"]`. */
  readonly allow?: readonly string[];
  /** Where it is mounted: `/api/redis`. Default: `/`. */
  readonly basePath?: string;
  /** Default 1 MiB. */
  readonly maxBodyBytes?: number;
  /** Of all replies together. Default 1 MiB. Commands of a pipeline that come after it was reached are not run. */
  readonly maxReplyBytes?: number;
  /** Of a pipeline or a transaction. Default 1000. */
  readonly maxCommands?: number;
  /** How long Redis may take to answer. Default 1000. */
  readonly timeoutMs?: number;
}

/** An answer within the time given, or an error. Its timer keeps no process alive longer than that. */
async function within<T>(timeoutMs: number, answer: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([answer, late]);
  } finally {
    clearTimeout(timer);
  }
}

class Rejected extends Error {
  readonly status: number;
  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A code that no client takes for a refusal: another try may succeed. */
const away = (error: unknown): Rejected =>
  new Rejected(503, `UNAVAILABLE Redis could not be asked: ${error instanceof Error ? error.message : String(error)}`);

const digest = async (secret: string): Promise<Uint8Array> =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(secret)));

/** In the same time wherever they differ. */
const same = (one: Uint8Array, other: Uint8Array): boolean => one.reduce((seen, byte, index) => seen | (byte ^ (other[index] ?? 0)), 0) === 0;

async function read(request: Request, most: number): Promise<unknown> {
  const tooLarge = () => new Rejected(413, `ERR the body is larger than ${most} bytes`);
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  if (request.body === null) throw new Rejected(400, "ERR the body is empty: expected a command as a JSON array");
  const reader = request.body.getReader();
  const decoder = new TextDecoder();
  let body = "";
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.byteLength;
    if (size > most) {
      await reader.cancel().catch(() => undefined);
      throw tooLarge();
    }
    body += decoder.decode(value, { stream: true });
  }
  try {
    return JSON.parse(body + decoder.decode());
  } catch {
    throw new Rejected(400, "ERR the body is not JSON: expected a command as a JSON array");
  }
}

function command(given: unknown): string[] {
  if (!Array.isArray(given) || given.length === 0) throw new Rejected(400, "ERR expected a command as a JSON array of words");
  return given.map((word: unknown) => {
    if (typeof word === "string") return word;
    if (typeof word === "number" || typeof word === "boolean") return String(word);
    throw new Rejected(400, "ERR expected each word of a command as a text or a number");
  });
}

/** Maps of RESP3 as flat arrays, as RESP2 has them. */
function plain(reply: unknown): unknown {
  if (typeof reply === "bigint") return Number(reply);
  if (reply instanceof Uint8Array) return new TextDecoder().decode(reply);
  if (Array.isArray(reply)) return reply.map(plain);
  if (reply instanceof Map) return [...reply].flat().map(plain);
  if (typeof reply === "object" && reply !== null) return Object.entries(reply).flat().map(plain);
  return reply ?? null;
}

function base64(reply: unknown): unknown {
  if (Array.isArray(reply)) return reply.map(base64);
  if (typeof reply !== "string") return reply;
  return btoa(Array.from(new TextEncoder().encode(reply), (byte) => String.fromCharCode(byte)).join(""));
}

/** How large it will be, about; stops counting at `most`. */
function sizeOf(reply: unknown, most: number): number {
  if (typeof reply === "string") return reply.length * 2;
  if (reply instanceof Uint8Array) return reply.byteLength * 2;
  if (typeof reply !== "object" || reply === null) return 8;
  const items = Array.isArray(reply) ? reply : reply instanceof Map ? [...reply].flat() : Object.entries(reply).flat();
  let size = 2;
  for (const item of items) {
    size += 1 + sizeOf(item, most - size);
    if (size > most) break;
  }
  return size;
}

const MIN_TOKEN = 16;

/** The tokens' digests, made anew when the tokens have changed. */
function keyring(name: string, given: Tokens): () => Promise<readonly Uint8Array[]> {
  const read = (): readonly string[] => [typeof given === "function" ? given() : given].flat();
  const checked = (tokens: readonly string[]): readonly string[] => {
    if (tokens.length === 0) throw wrong(name, "a token or several", given);
    for (const token of tokens) if (text(name, token).length < MIN_TOKEN) throw new TypeError(`${name}: expected at least ${MIN_TOKEN} characters`);
    return tokens;
  };
  let known = checked(read());
  let digests = Promise.all(known.map(digest));
  return () => {
    if (typeof given !== "function") return digests;
    const now = read();
    if (now.length !== known.length || now.some((token, index) => token !== known[index])) {
      known = checked(now);
      digests = Promise.all(known.map(digest));
    }
    return digests;
  };
}

/** So many commands of a pipeline are at work at once: their replies are all that is held beyond `maxReplyBytes`. */
const AT_ONCE = 32;

/** Passes commands on to Redis, from Request to Response, as far as the token may. */
export function restHandler(options: RestHandlerOptions): (request: Request) => Promise<Response> {
  const known = ["client", "token", "adminToken", "allow", "prefix", "basePath", "maxBodyBytes", "maxReplyBytes", "maxCommands", "timeoutMs"];
  members("restHandler", options, known);
  const { prefix, client } = options;
  if (typeof prefix !== "string") throw wrong("prefix", 'what the keys of an edge start with ("" for any key)', prefix);
  const edge = keyring("token", options.token);
  const admin = options.adminToken === undefined ? undefined : keyring("adminToken", options.adminToken);
  const permitted = permission(prefix, options.allow ?? []);
  const base = (options.basePath ?? "").replace(/\/+$/, "");
  const maxBodyBytes = integer("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 1);
  const maxReplyBytes = integer("maxReplyBytes", options.maxReplyBytes ?? 1_048_576, 1);
  const maxCommands = integer("maxCommands", options.maxCommands ?? 1000, 1);
  const timeoutMs = integer("timeoutMs", options.timeoutMs ?? 1000, 1);
  const connection = Connection.of(client);
  const transaction = transactor(client);

  async function roleOf(request: Request): Promise<Role> {
    const [, token] = /^Bearer (.+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    const given = await digest(token ?? "");
    const holds = async (ring?: () => Promise<readonly Uint8Array[]>) =>
      ring !== undefined && (await ring()).reduce((found, own) => same(own, given) || found, false);
    const [isAdmin, isEdge] = [await holds(admin), await holds(edge)];
    if (token === undefined || !(isAdmin || isEdge)) throw new Rejected(401, "NOAUTH expected a valid token: Authorization: Bearer <token>");
    return isAdmin ? "admin" : "edge";
  }

  const allowed = (role: Role, words: string[], inTransaction = false): string[] => {
    const refused = permitted.refuses(role, words, inTransaction);
    if (refused !== undefined) throw new Rejected(403, refused);
    return words;
  };

  const tooLarge = (): Rejected => new Rejected(413, `ERR the reply is larger than ${maxReplyBytes} bytes`);

  const run = (words: string[]): Promise<Outcome> => {
    const read = (result: unknown): Outcome => ({ result });
    return connection.ask(words, permitted.keyOf(words), timeoutMs, read, (error) => {
      const refused = refusal(error);
      if (refused) return { error: refused.message };
      throw away(error);
    });
  };

  /** Of a pipeline: what is refused is an answer, and does not stop the others. */
  const one = async (role: Role, given: unknown): Promise<Outcome> => {
    try {
      return await run(allowed(role, command(given)));
    } catch (error) {
      if (error instanceof Rejected && error.status !== 503) return { error: error.message };
      throw error;
    }
  };

  const commands = (body: unknown): unknown[] => {
    if (!Array.isArray(body)) throw new Rejected(400, "ERR expected an array of commands");
    if (body.length > maxCommands) throw new Rejected(413, `ERR too many commands (maximum ${maxCommands})`);
    return body;
  };

  async function pipeline(role: Role, body: unknown): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    let size = 0;
    const given = commands(body);
    for (let start = 0; start < given.length; start += AT_ONCE) {
      const batch = given.slice(start, start + AT_ONCE);
      if (size > maxReplyBytes) {
        outcomes.push(...batch.map(() => ({ error: `${tooLarge().message}: not run` })));
        continue;
      }
      for (const outcome of await Promise.all(batch.map((words) => one(role, words)))) {
        size += sizeOf(outcome, maxReplyBytes - size);
        outcomes.push(size > maxReplyBytes ? { error: `${tooLarge().message}: run, and not shown` } : outcome);
      }
    }
    return outcomes;
  }

  async function answer(request: Request): Promise<Outcome | Outcome[]> {
    const role = await roleOf(request);
    const path = new URL(request.url).pathname.replace(/\/+$/, "");
    if (path !== base && path !== `${base}/pipeline` && path !== `${base}/multi-exec`) throw new Rejected(404, "ERR no such path");
    if (request.method !== "POST") throw new Rejected(405, "ERR expected POST");
    const body = await read(request, maxBodyBytes);
    if (path === `${base}/pipeline`) return pipeline(role, body);
    if (path === base) {
      const outcome = await run(allowed(role, command(body)));
      if (sizeOf(outcome, maxReplyBytes) > maxReplyBytes) throw tooLarge();
      return outcome;
    }
    if (!transaction) throw new Rejected(501, "ERR this client cannot send a transaction");
    const words = commands(body).map((given) => allowed(role, command(given), true));
    if (words.length === 0) return [];
    try {
      return await within(timeoutMs, transaction(words));
    } catch (error) {
      const refused = refusal(error);
      throw refused ? new Rejected(400, refused.message) : away(error);
    }
  }

  return async (request) => {
    const encode = request.headers.get("upstash-encoding") === "base64" ? base64 : (reply: unknown) => reply;
    const encoded = (outcome: Outcome) => {
      if ("error" in outcome) return outcome;
      return { result: outcome.result === "OK" ? "OK" : encode(plain(outcome.result)) };
    };
    try {
      const outcome = await answer(request);
      if (Array.isArray(outcome)) return Response.json(outcome.map(encoded));
      return Response.json(encoded(outcome), { status: "error" in outcome ? 400 : 200 });
    } catch (error) {
      if (!(error instanceof Rejected)) throw error;
      return Response.json({ error: error.message }, { status: error.status });
    }
  };
}
