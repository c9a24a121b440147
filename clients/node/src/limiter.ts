// A limiter: its limits, its client, and what is done where Redis is away.

import { BlockedCache } from "./blocked.js";
import { flag, integer, members, oneOf, span } from "./check.js";
import { Coalescer } from "./coalesce.js";
import { Fallback, type Charge, type Question } from "./fallback.js";
import {
  checked,
  costWords,
  denyWords,
  described,
  fullKey,
  metered,
  nextWords,
  plan,
  prefetched,
  blockWords,
  policyWords,
  reach,
  shares,
  told,
  type ConnectionOptions,
  type Duration,
  type HitOptions,
  type LimiterOptions,
  type Plan,
  type Reach,
} from "./options.js";
import { Prefetcher } from "./prefetch.js";
import { Reservation } from "./reservation.js";
import { sleep } from "./sleep.js";
import { integerOf, unavailable, verdict, type Asked, type Verdict } from "./verdict.js";

/** How long to wait for a turn. */
export interface WaitOptions {
  readonly cost?: number;
  /** The longest wait. Default 60,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

const NO_OPTIONS: HitOptions = {};
const failing = (error: Error): never => {
  throw error;
};

/** One limiter for all keys. A hit is charged once at most, answered within its deadline, and never rejects. */
export class Limiter {
  /** For `hitAll`. */
  readonly plan: Plan;
  readonly reach: Reach;
  /** What goes on while Redis is away, and its part of the limits. */
  readonly fallback: Fallback | undefined;
  readonly share: readonly string[];
  readonly #blocked: BlockedCache | undefined;
  readonly #coalescer: Coalescer | undefined;
  readonly #prefetcher: Prefetcher | undefined;
  // Of a hit without options: what it says, and what is known of its reply. Made once.
  readonly #command: string;
  readonly #words: readonly string[];
  readonly #asked: Asked;

  constructor(options: LimiterOptions) {
    this.plan = plan(options);
    const ahead = prefetched(options, this.plan);
    const { unavailable, instances, maxKeys, ...rest } = options;
    const isLocal = unavailable === "local";
    if (unavailable !== undefined) oneOf("unavailable", unavailable, ["open", "closed", "local"]);
    if (!isLocal && (instances ?? maxKeys) !== undefined) throw new TypeError('instances, maxKeys: expected only with unavailable: "local"');
    const reaching: ConnectionOptions = isLocal ? { ...rest, unavailable: "closed" } : (options as ConnectionOptions);
    this.reach = reach(reaching, this.plan.block.length === 0, this.plan.name);
    this.share = shares(this.plan, integer("instances", instances ?? 1, 1));
    this.fallback = isLocal ? Fallback.of(this.reach, integer("maxKeys", maxKeys ?? 100_000, 1)) : undefined;
    const { blockedCache = false, coalesce = false } = options;
    flag("coalesce", coalesce);
    this.#blocked = blockedCache === false ? undefined : new BlockedCache(blockedCache === true ? {} : blockedCache);
    this.#command = `RL.${this.plan.algorithm}`;
    this.#words = [...this.plan.limits, ...nextWords(this.plan.next), ...blockWords(this.plan), ...policyWords(this.plan, NO_OPTIONS)];
    this.#asked = asked(this.plan, NO_OPTIONS);
    this.#coalescer = coalesce ? new Coalescer((key, count) => this.#several(key, count)) : undefined;
    this.#prefetcher = ahead && new Prefetcher(ahead, (key, units) => this.#several(key, units, true), (key, units, at) => this.#giveBack(key, units, at));
  }

  /**
   * Counts one hit, or says why not. Charged once at most. Rejects only where an option is wrong (`TypeError`): whatever
   * Redis does or does not, there is a verdict, within `timeoutMs`.
   */
  hit(key: string, options: HitOptions = NO_OPTIONS): Promise<Verdict> {
    if (options !== NO_OPTIONS || this.#blocked) return this.#hitWith(key, options);
    try {
      const full = fullKey(this.plan, key);
      return metered(this.reach, this.plan.name, this.#plain(full));
    } catch (mistake) {
      return Promise.reject(mistake);
    }
  }

  #plain(full: string): Promise<Verdict> {
    if (this.#prefetcher) return this.#prefetcher.hit(full);
    if (this.#coalescer && !this.fallback?.isDoubtful) return this.#coalescer.hit(full);
    return this.#send([this.#command, full, ...this.#words], full, this.#asked);
  }

  #several(full: string, count: number, stamp = false): Promise<Verdict> {
    const words = [...(count === 1 ? [] : ["COST", String(count), "MIN", "1"]), ...(stamp ? ["STAMP"] : [])];
    const { limits } = this.plan;
    return this.#send([this.#command, full, ...limits, ...words, ...this.#words.slice(limits.length)], full, { ...this.#asked, cost: count, min: count > 1, stamp });
  }

  async #giveBack(full: string, units: number, at: number): Promise<void> {
    const words = ["COST", String(-units), "AT", String(at), ...policyWords(this.plan, NO_OPTIONS)];
    await this.#send([this.#command, full, ...this.plan.limits, ...words], full, { ...this.#asked, cost: -units, next: false });
  }

  /**
   * Of a limiter with `prefetch`, when the process is about to end: gives back what was taken ahead, and waits until Redis
   * has it. From then on each hit is a command. What a process holds that is killed stays charged.
   */
  async close(): Promise<void> {
    await this.#prefetcher?.close();
  }

  async #hitWith(key: string, options: HitOptions): Promise<Verdict> {
    const full = fullKey(this.plan, key);
    checked(options);
    const { cost = 1, min, force = false, stamp = false, at, id, retry } = options;
    // A hit that takes what fits, or that goes on another policy, says nothing of the next one and learns nothing from it.
    const cache = min === undefined && options.policy === undefined ? this.#blocked : undefined;
    // Whoever repeats what was let through is let through, also while others are not.
    const known = id === undefined ? cache?.find(full, cost, force) : undefined;
    if (known) return known;
    const since = performance.now();
    const words = () => [
      ...costWords(cost),
      ...(min === undefined ? [] : ["MIN", String(min)]),
      ...(force ? ["FORCE"] : []),
      ...(at === undefined ? [] : ["AT", String(at)]),
      ...(stamp ? ["STAMP"] : []),
      ...(id === undefined ? [] : ["ID", id]),
    ];
    const answer = await (options === NO_OPTIONS ? metered(this.reach, this.plan.name, this.#plain(full)) : this.#ask(full, words(), options, undefined, retry));
    cache?.learn(full, cost, force, since, answer);
    return answer;
  }

  /** What a hit would be answered now. Changes nothing. */
  async peek(key: string, options: Pick<HitOptions, "cost" | "min" | "policy" | "next" | "deny"> = {}): Promise<Verdict> {
    members("options of a peek", options, ["cost", "min", "policy", "next", "deny"]);
    checked(options);
    const { cost = 1, min } = options;
    const words = [...costWords(cost), ...(min === undefined ? [] : ["MIN", String(min)])];
    return this.#ask(fullKey(this.plan, key), words, options, ["RL.PEEK", this.plan.algorithm]);
  }

  /**
   * Gives back a hit that was made with `stamp`: what it was charged, at the time that it was. Nothing where it was denied
   * or failed open, so that no limit is opened by what was never counted. Of a hit with an id, which may have been repeated,
   * with an id of its own: it is given back once. Rejects only where an option is wrong.
   */
  async refund(key: string, charged: Pick<Verdict, "chargedAt"> & { readonly taken?: number }, options: Pick<HitOptions, "id" | "retry"> = {}): Promise<void> {
    members("options of a refund", options, ["id", "retry"]);
    const { chargedAt = 0, taken = 1 } = charged;
    if (chargedAt > 0 && taken > 0) await this.hit(key, { ...options, cost: -taken, at: chargedAt });
  }

  /** Charges an estimate, to be settled with what was really used. */
  async reserve(key: string, estimate: number, options: Pick<HitOptions, "policy" | "deny"> = {}): Promise<Reservation> {
    members("options of a reservation", options, ["policy", "deny"]);
    integer("estimate", estimate, 1);
    const reserved = await this.hit(key, { ...options, cost: estimate, stamp: true });
    const { deny: _, ...settling } = options;
    return new Reservation(
      reserved,
      estimate,
      (cost, at) => this.hit(key, { ...settling, cost, at, force: cost > 0 }),
      this.reach.onError,
    );
  }

  /**
   * Waits for its turn. A bucket reserves its place with one command, and callers are served in order; the others ask
   * again when the time has come, so there a later caller may be first. Denied at once where the wait would be too long.
   * Aborted, it gives its place back: the last one is free for the next caller, an earlier one stays empty.
   */
  async wait(key: string, options: WaitOptions = {}): Promise<Verdict> {
    members("options of a wait", options, ["cost", "timeoutMs", "signal"]);
    const { cost = 1, timeoutMs = 60_000, signal } = options;
    integer("cost", cost, 1);
    integer("timeoutMs", timeoutMs, 1);
    signal?.throwIfAborted();
    if (this.plan.algorithm === "BUCKET" && this.plan.block.length === 0) return this.#reservePlace(key, cost, timeoutMs, signal);

    const deadline = performance.now() + timeoutMs;
    for (;;) {
      const answer = await this.hit(key, { cost });
      const { allowed, retryAfterMs } = answer;
      if (allowed || answer.error || retryAfterMs <= 0 || performance.now() + retryAfterMs > deadline) return answer;
      await sleep(retryAfterMs, signal);
    }
  }

  async #reservePlace(key: string, cost: number, timeoutMs: number, signal: AbortSignal | undefined): Promise<Verdict> {
    const words = [...costWords(cost), "STAMP", "RESERVE", `${timeoutMs}ms`];
    const answer = await this.#ask(fullKey(this.plan, key), words, { cost, stamp: true });
    if (!answer.allowed || answer.error) return answer;
    try {
      await sleep(answer.retryAfterMs, signal);
    } catch (aborted) {
      await this.refund(key, answer); // its place, and nobody else's
      throw aborted;
    }
    return answer;
  }

  /** Forgets all that was used. Whether there was anything. Rejects where Redis is away. */
  async reset(key: string): Promise<boolean> {
    const full = fullKey(this.plan, key);
    this.#blocked?.forget(full);
    this.fallback?.forget(full);
    this.#prefetcher?.forget(full);
    return this.reach.connection.ask(["DEL", full], full, this.reach.timeoutMs, (reply) => Number(reply) === 1, failing);
  }

  /**
   * Shuts the key for so long, whatever its limits say: what a provider's `Retry-After` says, or an application that wants
   * somebody out. The later end wins; `"0"` lifts any block. What is left, in ms. Rejects where Redis is away.
   */
  async block(key: string, duration: Duration | "0"): Promise<number> {
    const full = fullKey(this.plan, key);
    this.#prefetcher?.shut(full);
    const words = ["RL.BLOCK", full, duration === "0" ? duration : span("duration", duration)];
    this.#blocked?.forget(full);
    return this.reach.connection.ask(words, full, this.reach.timeoutMs, integerOf, failing);
  }

  #ask(key: string, words: string[], options: HitOptions, command = [`RL.${this.plan.algorithm}`], retries = 0): Promise<Verdict> {
    const args = [
      ...command,
      key,
      ...this.plan.limits,
      ...words,
      ...nextWords(options.next ?? this.plan.next),
      ...blockWords(this.plan),
      ...policyWords(this.plan, options),
      ...denyWords(options.deny),
    ];
    return metered(this.reach, this.plan.name, this.#send(args, key, asked(this.plan, options), retries, options));
  }

  #send(args: string[], key: string, asking: Asked, retries = 0, options = NO_OPTIONS): Promise<Verdict> {
    const { connection, timeoutMs, open } = this.reach;
    const read = (reply: unknown) => verdict(reply, asking);
    if (this.fallback) {
      const limitsAt = args[0] === "RL.PEEK" ? 3 : 2;
      const local = [...args.slice(0, limitsAt), ...this.share, ...args.slice(limitsAt + this.share.length)];
      const charges = (answer: Verdict) => (args[0] === "RL.PEEK" ? [] : charged(this.plan, key, options, answer));
      const closed = (error: Error) => unavailable(error, false);
      const question: Question<Verdict> = { args, local, key, read, closed, charges };
      return this.fallback.ask(question, this.reach, retries);
    }
    const failed = (error: Error) => unavailable(told(this.reach, error), open);
    return connection.ask(args, key, timeoutMs, read, failed, retries);
  }
}

/** What a verdict of this process has charged, for Redis. */
export const charged = (plan: Plan, key: string, options: HitOptions, { taken, repeated, chargedAt = 0 }: Verdict): readonly Charge[] => {
  if (taken === 0 || repeated === true) return [];
  const head = [`RL.${plan.algorithm}`, key, ...plan.limits];
  return [{ key, head, tail: policyWords(plan, options), cost: taken, at: chargedAt > 0 ? chargedAt : options.at, id: options.id, isStamped: chargedAt > 0 }];
};

export const asked = (plan: Plan, options: HitOptions): Asked => ({
  described: described(plan, options),
  name: plan.name,
  cost: options.cost ?? 1,
  force: options.force ?? false,
  id: options.id !== undefined,
  min: options.min !== undefined,
  stamp: options.stamp ?? false,
  next: options.next ?? plan.next,
  deny: options.deny !== undefined,
});

/**
 * @example
 * const api = createLimiter({ client, prefix: "api", algorithm: "sliding", limits: { limit: 100, window: "15m" } });
 * const { allowed, remaining, retryAfterMs } = await api.hit(byUser(id));
 */
export const createLimiter = (options: LimiterOptions): Limiter => new Limiter(options);
