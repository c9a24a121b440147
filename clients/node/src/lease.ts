// How many at once. A lease that is not released ends by itself after its ttl, so a crashed holder costs at most that.

import { integer, members, span, text } from "./check.js";
import { answered, sender, within, type Reach, type Send } from "./client.js";
import { CONNECTION, costWords, denyWords, reach, type Connection, type Deny, type Duration } from "./options.js";
import { unavailable, verdict, type Verdict } from "./verdict.js";

export interface LeaserOptions extends Connection {
  readonly limit: number;
  readonly ttl: Duration;
  readonly prefix?: string;
  readonly policy?: string;
}

export interface LeaseOptions {
  /** Of this holder. Default: a random one, made anew by each call. */
  readonly id?: string;
  readonly cost?: number;
  readonly deny?: Deny;
}

export interface Lease {
  readonly id: string;
  readonly verdict: Verdict;
}

export class Leaser {
  readonly #send: Send;
  readonly #reach: Reach;
  readonly #words: readonly string[];
  readonly #policy: readonly string[];
  readonly #prefix: string;
  readonly #name: string;

  constructor(options: LeaserOptions) {
    members("leaser", options, [...CONNECTION, "limit", "ttl", "prefix", "policy"]);
    this.#send = sender(options.client);
    this.#reach = reach(options, true);
    this.#words = [String(integer("limit", options.limit, 0)), span("ttl", options.ttl)];
    this.#policy = options.policy === undefined ? [] : ["POLICY", text("policy", options.policy)];
    this.#prefix = options.prefix === undefined ? "" : `${text("prefix", options.prefix)}:`;
    this.#name = options.prefix ?? "default";
  }

  /** Takes a lease, or with the id of one that is held renews it. */
  async acquire(key: string, options: LeaseOptions = {}): Promise<Lease> {
    members("options of a lease", options, ["id", "cost", "deny"]);
    const { id = crypto.randomUUID(), cost = 1, deny } = options;
    const full = this.#prefix + text("key", key);
    const args = ["RL.LEASE", full, ...this.#words, text("id", id), ...costWords(integer("cost", cost, 0)), ...this.#policy, ...denyWords(deny)];
    const asked = { described: [{ name: this.#name }], name: this.#name, cost, deny: deny !== undefined };
    const answer = this.#send(args, full).then((reply) => verdict(reply, asked));
    return { id, verdict: await answered(this.#reach, answer, (error) => unavailable(error, this.#reach.open)) };
  }

  /** Whether it was still held. */
  async release(key: string, id: string): Promise<boolean> {
    const full = this.#prefix + text("key", key);
    return Number(await within(this.#reach.timeoutMs, this.#send(["RL.RELEASE", full, text("id", id)], full))) === 1;
  }

  /** Runs `work` while a lease is held. A lease that cannot be released ends by itself; the work's result is kept. */
  async hold<T>(key: string, work: () => Promise<T>, options: LeaseOptions = {}): Promise<{ verdict: Verdict; result?: T }> {
    const { id, verdict } = await this.acquire(key, options);
    if (!verdict.allowed) return { verdict };
    try {
      return { verdict, result: await work() };
    } finally {
      if (!verdict.error) {
        await this.release(key, id).catch((error: unknown) =>
          this.#reach.onError(error instanceof Error ? error : new Error(String(error))),
        );
      }
    }
  }
}

/** @example const exports = createLeaser({ client, prefix: "export", limit: 3, ttl: "10m" }); */
export const createLeaser = (options: LeaserOptions): Leaser => new Leaser(options);
