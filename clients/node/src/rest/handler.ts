// Redis over HTTP for where only fetch exists, such as edge runtimes and workers: from Request to Response, by the
// protocol that @upstash/redis speaks. Nothing but what is allowed reaches Redis.

import { integer, members, text, wrong } from "../check.js";
import { refusal, sender, within, type Client } from "../client.js";
import { transactor, type Outcome } from "./transaction.js";

/** What may be sent unless `allow` says otherwise: the commands of the module that applications send. */
export const RL_COMMANDS = [
  "RL.FIXED",
  "RL.SLIDING",
  "RL.BUCKET",
  "RL.LEASE",
  "RL.RELEASE",
  "RL.ALL",
  "RL.PEEK",
  "RL.PEEKALL",
  "RL.INFO",
  "RL.RESET",
  "RL.POLICY",
  "RL.DENY",
  "RL.STATS",
] as const;

export interface RestHandlerOptions {
  readonly client: Client;
  /** Whoever has one of these may send what is allowed. At least 16 characters each. */
  readonly token: string | readonly string[];
  /** Names of commands. Default: `RL_COMMANDS`. An edge that only counts needs `["RL.SLIDING"]`. */
  readonly allow?: readonly string[];
  /** DEL is allowed for keys that start so, and for no others. */
  readonly prefix?: string;
  /** Where it is mounted: `/api/redis`. Default: `/`. */
  readonly basePath?: string;
  readonly maxBodyBytes?: number;
  /** Of a pipeline or a transaction. */
  readonly maxCommands?: number;
  readonly timeoutMs?: number;
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

export function restHandler(options: RestHandlerOptions): (request: Request) => Promise<Response> {
  members("restHandler", options, ["client", "token", "allow", "prefix", "basePath", "maxBodyBytes", "maxCommands", "timeoutMs"]);
  const tokens = typeof options.token === "string" ? [options.token] : options.token;
  if (!Array.isArray(tokens) || tokens.length === 0) throw wrong("token", "a token or several", options.token);
  for (const token of tokens) if (text("token", token).length < 16) throw new TypeError("token: expected at least 16 characters");
  const digests = Promise.all(tokens.map(digest));
  const allowed = new Set((options.allow ?? RL_COMMANDS).map((name) => text("allow", name).toUpperCase()));
  const prefix = options.prefix === undefined ? undefined : text("prefix", options.prefix);
  const base = (options.basePath ?? "").replace(/\/+$/, "");
  const maxBodyBytes = integer("maxBodyBytes", options.maxBodyBytes ?? 1_048_576, 1);
  const maxCommands = integer("maxCommands", options.maxCommands ?? 1000, 1);
  const timeoutMs = integer("timeoutMs", options.timeoutMs ?? 1000, 1);
  const send = sender(options.client);
  const transaction = transactor(options.client);

  async function authorize(request: Request): Promise<void> {
    const [, token] = /^Bearer (.+)$/i.exec(request.headers.get("authorization") ?? "") ?? [];
    const given = await digest(token ?? "");
    const known = (await digests).reduce((found, own) => same(own, given) || found, false);
    if (token === undefined || !known) throw new Rejected(401, "NOAUTH expected a valid token: Authorization: Bearer <token>");
  }

  function permitted(words: string[]): string[] {
    // ASCII alone: "ſ" is an upper-case S too.
    const name = (words[0] as string).replace(/[a-z]/g, (letter) => letter.toUpperCase());
    if (name === "DEL" && !allowed.has("DEL")) {
      if (prefix === undefined) throw new Rejected(403, "NOPERM DEL is not allowed here");
      const foreign = words.slice(1).find((key) => !key.startsWith(prefix));
      if (foreign !== undefined) throw new Rejected(403, `NOPERM DEL is allowed for keys that start with '${prefix}'`);
    } else if (!allowed.has(name)) {
      throw new Rejected(403, "NOPERM this command is not allowed here");
    }
    return words;
  }

  const run = async (words: string[]): Promise<Outcome> => {
    try {
      // What decides on the node of a cluster: the first key, which in RL.ALL stands behind its number.
      const second = /^RL\.(PEEK|ALL|PEEKALL)$/i.test(words[0] as string);
      return { result: await within(timeoutMs, send(words, words[second ? 2 : 1] ?? "")) };
    } catch (error) {
      const refused = refusal(error);
      if (refused) return { error: refused.message };
      throw away(error);
    }
  };

  const one = async (given: unknown): Promise<Outcome> => {
    try {
      return await run(permitted(command(given)));
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

  async function answer(request: Request): Promise<Outcome | Outcome[]> {
    await authorize(request);
    const path = new URL(request.url).pathname.replace(/\/+$/, "");
    if (path !== base && path !== `${base}/pipeline` && path !== `${base}/multi-exec`) throw new Rejected(404, "ERR no such path");
    if (request.method !== "POST") throw new Rejected(405, "ERR expected POST");
    const body = await read(request, maxBodyBytes);
    if (path === `${base}/pipeline`) return Promise.all(commands(body).map(one));
    if (path === base) return run(permitted(command(body)));
    if (!transaction) throw new Rejected(501, "ERR this client cannot send a transaction");
    const words = commands(body).map((given) => permitted(command(given)));
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
