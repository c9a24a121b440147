// What all stores are made of: "count this hit, by these limits". Every decision is the server's; a store only says in
// its library's words what the server answered.

import { integer, members, oneOf, text, wrong } from "../check.js";
import { CONNECTION, metered, reach, told, type ConnectionOptions, type Reach } from "../options.js";
import { integerOf, unavailable, verdict, type Verdict, type Writable } from "../verdict.js";

export interface StoreOptions extends ConnectionOptions {
  /** Default `sliding`: in no window more than the limit. `fixed` windows begin with the clock's. */
  readonly algorithm?: "sliding" | "fixed";
  /** Stands before each key, with a colon. */
  readonly prefix?: string;
  /** A policy of the server, whose limits replace the library's for the whole fleet, without a deploy. */
  readonly policy?: string;
}

export const STORE = [...CONNECTION, "algorithm", "prefix", "policy"] as const;

export interface Hit {
  readonly limit: number;
  readonly windowMs: number;
  readonly cost?: number;
  /** Charged whether or not it fits: for libraries that give back a hit without saying which. */
  readonly force?: boolean;
  /** A denied hit starts a block of so long. */
  readonly blockMs?: number;
}

export interface Count extends Verdict {
  /**
   * For libraries that compare with the limit that they know: above that one where it was denied, and not above it where
   * it was allowed, whatever limit a policy of the server has set.
   */
  readonly hits: number;
  /** Until it may try again, or, where it was allowed, until nothing is counted any more. */
  readonly waitMs: number;
}

/** What a hit says behind its key, and how its reply is read. The same for one hit after the other, so it is kept. */
interface Asking extends Required<Hit> {
  readonly words: readonly string[];
  readonly read: (reply: unknown) => Count;
  readonly failed: (error: Error) => Count;
}

const failing = (error: Error): never => {
  throw error;
};

export class StoreCore {
  readonly #reach: Reach;
  readonly #algorithm: "SLIDING" | "FIXED";
  readonly #prefix: string;
  readonly #policy: readonly string[];
  readonly #name: string;
  #last: Asking | undefined;

  constructor(name: string, options: StoreOptions, known: readonly string[] = STORE) {
    members(name, options, known);
    this.#algorithm = oneOf("algorithm", options.algorithm ?? "sliding", ["sliding", "fixed"]) === "sliding" ? "SLIDING" : "FIXED";
    this.#prefix = options.prefix === undefined ? "" : `${text("prefix", options.prefix)}:`;
    this.#policy = options.policy === undefined ? [] : ["POLICY", text("policy", options.policy)];
    this.#name = options.prefix ?? name;
    this.#reach = reach(options, true, this.#name);
  }

  hit(key: string, hit: Hit): Promise<Count> {
    return this.#ask([`RL.${this.#algorithm}`], key, hit);
  }

  /**
   * What is counted; changes nothing. Whoever looks before they count asks `hits > limit`, which a denied hit makes true
   * in the libraries' own stores. Here that one is not counted, so it is true as soon as the next one would be denied;
   * with a block only once that has begun, or whoever looks first would never begin it.
   */
  async peek(key: string, hit: Pick<Hit, "limit" | "windowMs" | "blockMs">): Promise<Count> {
    const { limit, windowMs, blockMs = 0 } = hit;
    const look = (cost: number) => this.#ask(["RL.PEEK", this.#algorithm], key, { limit, windowMs, cost });
    const now = await look(0);
    return now.allowed && now.remaining === 0 && blockMs === 0 && !now.error ? look(1) : now;
  }

  /** The libraries' own stores take an empty key, which all share who have no other. */
  #full(key: string): string {
    if (typeof key !== "string") throw wrong("key", "a string", key);
    return this.#prefix + key;
  }

  async reset(key: string): Promise<boolean> {
    const full = this.#full(key);
    return this.#reach.connection.ask(["DEL", full], full, this.#reach.timeoutMs, (reply) => Number(reply) === 1, failing);
  }

  /** What is left, in ms: an earlier block may end later. */
  async block(key: string, ms: number): Promise<number> {
    const full = this.#full(key);
    return this.#reach.connection.ask(["RL.BLOCK", full, `${ms}ms`], full, this.#reach.timeoutMs, integerOf, failing);
  }

  #ask(command: readonly string[], key: string, hit: Hit): Promise<Count> {
    const full = this.#full(key);
    const { cost, words, read, failed } = this.#asking(hit);
    const { connection, timeoutMs } = this.#reach;
    const answer = connection.ask([...command, full, ...words], full, timeoutMs, read, failed);
    return cost > 0 && command.length === 1 ? metered(this.#reach, this.#name, answer) : answer;
  }

  #asking({ limit, windowMs, cost = 1, force = false, blockMs = 0 }: Hit): Asking {
    const last = this.#last;
    if (last?.limit === limit && last.windowMs === windowMs && last.cost === cost && last.force === force && last.blockMs === blockMs) return last;
    const words = [
      String(integer("limit", limit, 0)),
      `${integer("window in ms", windowMs, 1)}ms`,
      ...(cost === 1 ? [] : ["COST", String(integer("cost", cost))]),
      ...(force && cost > 0 ? ["FORCE"] : []),
      ...(blockMs > 0 ? ["BLOCK", `${Math.ceil(blockMs)}ms`] : []),
      ...this.#policy,
    ];
    const asked = { described: [{ name: this.#name }], name: this.#name, cost, force };
    const counted = (answer: Verdict): Count => {
      const count = answer as Writable<Count>; // this hit's own
      const { allowed, error, retryAfterMs, resetAfterMs } = answer;
      if (error) count.limit = limit;
      const used = error ? 1 : count.limit - count.remaining;
      count.hits = allowed ? Math.min(used, limit) : limit + 1;
      count.waitMs = allowed ? resetAfterMs : retryAfterMs < 0 ? windowMs : retryAfterMs;
      return count;
    };
    const read = (reply: unknown) => counted(verdict(reply, asked));
    const failed = (error: Error) => counted(unavailable(told(this.#reach, error), this.#reach.open));
    return (this.#last = { limit, windowMs, cost, force, blockMs, words, read, failed });
  }
}

/** Refuses what a store cannot do, when it is made and never at a hit. */
export const cannot = (name: string, instead: string): never => {
  throw new TypeError(`${name}: ${instead}`);
};
