// How many at once. A lease that is not released ends by itself after its ttl, so a holder whose process is killed costs
// at most that. Whatever else happens, it comes back: after a time-out too its id is released.

import { integer, members, span, spanMs, text } from "./check.js";
import { CONNECTION, costWords, denyWords, metered, reach, told, type ConnectionOptions, type Deny, type Duration, type Reach } from "./options.js";
import { rest, sleep } from "./sleep.js";
import { unavailable, verdict, type Verdict } from "./verdict.js";

/** What a leaser is made of. */
export interface LeaserOptions extends ConnectionOptions {
  /** How many units may be held at once. */
  readonly limit: number;
  /** When a lease ends that nobody renews or releases. `hold` renews it, so 10 to 60 s will do for work of any length. */
  readonly ttl: Duration;
  /**
   * How long a lease is usually held. Whoever is denied is told to come back in that time at most; by default when the
   * next lease ends by its ttl, which is the only thing that the server knows of.
   */
  readonly typicalMs?: number;
  /** Stands before each key, with a colon. */
  readonly prefix?: string;
  /** A policy of the server whose limit and ttl replace these. */
  readonly policy?: string;
}

/** Options of one lease. */
export interface LeaseOptions {
  /** Of this holder. Default: a random one, made anew by each call. */
  readonly id?: string;
  /** How many units. Default 1. 0 asks and holds nothing. */
  readonly cost?: number;
  readonly deny?: Deny;
}

/** Options of work that holds a lease. */
export interface HoldOptions extends LeaseOptions {
  /** Passed on to the work; no lease is taken once it is aborted. The lease is released when the work has ended. */
  readonly signal?: AbortSignal;
  /** Told when the lease has been lost while the work goes on. Its signal is aborted too. */
  readonly onLost?: (error: LeaseLostError) => void;
}

/** How long to wait for a lease. */
export interface WaitForLeaseOptions extends LeaseOptions {
  /** The longest wait. Default 60,000. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
}

/** A lease, where its verdict allows it. */
export interface Lease {
  readonly id: string;
  readonly verdict: Verdict;
}

/** What came of work that was to hold a lease. */
export interface Held<T> {
  readonly verdict: Verdict;
  /** What the work gave; not there where it was not let in. */
  readonly result?: T;
  /** The lease ended before the work did: somebody else may have been let in meanwhile. */
  readonly lost: boolean;
}

/** Why a lease ended before the work that it was held for. */
export class LeaseLostError extends Error {
  override readonly name = "LeaseLostError";
}

const POLL_MS = [20, 40, 80, 160, 320, 500] as const;

/** How many at once. A lease that nobody releases ends by its ttl. */
export class Leaser {
  readonly #reach: Reach;
  readonly #words: readonly string[];
  readonly #ttlMs: number;
  readonly #typicalMs: number;
  readonly #policy: readonly string[];
  readonly #prefix: string;
  readonly #name: string;

  constructor(options: LeaserOptions) {
    members("leaser", options, [...CONNECTION, "limit", "ttl", "typicalMs", "prefix", "policy"]);
    this.#words = [String(integer("limit", options.limit, 0)), span("ttl", options.ttl)];
    this.#ttlMs = spanMs("ttl", options.ttl);
    this.#typicalMs = integer("typicalMs", options.typicalMs ?? Number.MAX_SAFE_INTEGER, 1);
    this.#policy = options.policy === undefined ? [] : ["POLICY", text("policy", options.policy)];
    this.#prefix = options.prefix === undefined ? "" : `${text("prefix", options.prefix)}:`;
    this.#name = options.prefix ?? "default";
    this.#reach = reach(options, true, this.#name);
  }

  /** Takes a lease, or with the id of one that is held renews it. */
  async acquire(key: string, options: LeaseOptions = {}): Promise<Lease> {
    members("options of a lease", options, ["id", "cost", "deny"]);
    // Of an id that the caller gave it is not known whether it is held: then it stays.
    return options.id === undefined ? this.#take(key, { ...options, id: crypto.randomUUID() }, true) : this.#take(key, { ...options, id: options.id }, false);
  }

  async #take(key: string, { id, cost = 1, deny }: LeaseOptions & { readonly id: string }, isNew: boolean): Promise<Lease> {
    integer("cost", cost, 0);
    const full = this.#prefix + text("key", key);
    const args = ["RL.LEASE", full, ...this.#words, text("id", id), ...costWords(cost), ...this.#policy, ...denyWords(deny)];
    const asked = { described: [{ name: this.#name }], name: this.#name, cost, deny: deny !== undefined };
    const read = (reply: unknown) => {
      const answer = verdict(reply, asked);
      return answer.retryAfterMs <= this.#typicalMs ? answer : { ...answer, retryAfterMs: this.#typicalMs };
    };
    const failed = (error: Error) => unavailable(told(this.#reach, error), this.#reach.open);
    const { connection, timeoutMs } = this.#reach;
    const answer = await metered(this.#reach, this.#name, connection.ask(args, full, timeoutMs, read, failed));
    // What was not answered may have been granted.
    if (answer.error && isNew && cost > 0) void this.#giveBack(full, id);
    return { id, verdict: answer };
  }

  /** Asks until it is let in, with pauses that grow to half a second. What it is not granted in time, it was denied. */
  async wait(key: string, options: WaitForLeaseOptions = {}): Promise<Lease> {
    const { timeoutMs = 60_000, signal, ...lease } = options;
    const deadline = performance.now() + integer("timeoutMs", timeoutMs, 1);
    for (let attempt = 0; ; attempt++) {
      signal?.throwIfAborted();
      const answer = await this.acquire(key, lease);
      const { allowed, error, deniedValue, retryAfterMs } = answer.verdict;
      if (allowed || error || deniedValue !== undefined || retryAfterMs < 0) return answer;
      const pauseMs = (POLL_MS[attempt] ?? 500) * (0.5 + Math.random() / 2); // so that waiters do not come together
      if (performance.now() + pauseMs > deadline) return answer;
      await sleep(pauseMs, signal);
    }
  }

  /** Whether it was still held. Rejects where Redis is away: the lease then ends by its ttl. */
  async release(key: string, id: string): Promise<boolean> {
    return (await this.#release(this.#prefix + text("key", key), text("id", id))) === 1;
  }

  #release(full: string, id: string): Promise<number> {
    const failed = (error: Error): never => {
      throw error;
    };
    return this.#reach.connection.ask(["RL.RELEASE", full, id], full, this.#reach.timeoutMs, Number, failed);
  }

  /**
   * Releases for as long as the lease may be held, and once more where nothing was: a lease that was asked for by a
   * connection that broke may be granted after the first release. Keeps no process alive.
   */
  async #giveBack(full: string, id: string): Promise<void> {
    const until = performance.now() + this.#ttlMs;
    for (let unheld = 0, pauseMs = 50; performance.now() < until; ) {
      try {
        if ((await this.#release(full, id)) === 1 || ++unheld === 2) return;
        pauseMs = 1000;
      } catch {
        pauseMs = Math.min(pauseMs * 2, 1000);
      }
      await rest(pauseMs);
    }
  }

  /**
   * Runs `work` while a lease is held: renewed at a third of its ttl, and released when the work has ended, whichever
   * way. The signal that `work` is given is aborted where the lease is lost. A lease that cannot be released now is
   * released as soon as Redis is back, or ends by itself; the work's result is kept.
   */
  async hold<T>(key: string, work: (signal: AbortSignal) => Promise<T>, options: HoldOptions = {}): Promise<Held<T>> {
    members("options of hold", options, ["id", "cost", "deny", "signal", "onLost"]);
    const { signal, onLost, id = crypto.randomUUID(), ...others } = options;
    const lease = { ...others, id };
    signal?.throwIfAborted();
    const { verdict } = await this.#take(key, lease, true);
    if (!verdict.allowed) return { verdict, lost: false };

    const full = this.#prefix + key;
    const own = new AbortController();
    const stop = () => own.abort(signal?.reason);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
    let lost = false;
    const isHeld = !verdict.error;
    const renewing = isHeld ? this.#renew(key, lease, verdict.resetAfterMs, (error) => {
      lost = true;
      onLost?.(error);
      own.abort(error);
    }) : undefined;
    try {
      own.signal.throwIfAborted(); // it may have been while the lease was asked for: then there is no work
      return { verdict, result: await work(own.signal), lost };
    } finally {
      renewing?.();
      signal?.removeEventListener("abort", stop);
      if (isHeld) await this.#release(full, id).catch(() => void this.#giveBack(full, id));
    }
  }

  /** Renews until the function that it gives is called, or until the lease is lost. */
  #renew(key: string, lease: LeaseOptions & { readonly id: string }, grantedMs: number, lose: (error: LeaseLostError) => void): () => void {
    let timer: ReturnType<typeof setTimeout>;
    let isOver = false;
    // A policy may have another ttl than ours; the newest lease is the last to end.
    let ttlMs = grantedMs > 0 ? grantedMs : this.#ttlMs;
    let heldUntil = performance.now() + ttlMs;
    const again = (ms: number) => {
      timer = setTimeout(() => void renew(), Math.min(ms, 2 ** 31 - 1));
    };
    const renew = async () => {
      const since = performance.now();
      const { verdict } = await this.#take(key, lease, false);
      if (isOver) return;
      if (verdict.allowed && !verdict.error) {
        ttlMs = verdict.resetAfterMs > 0 ? Math.min(verdict.resetAfterMs, Math.max(ttlMs, this.#ttlMs)) : ttlMs;
        heldUntil = since + ttlMs;
        again(ttlMs / 3);
      } else if (!verdict.error || performance.now() >= heldUntil) {
        isOver = true;
        const why = verdict.error ? `Redis could not be asked for ${Math.round(ttlMs)} ms` : "its renewal was denied";
        lose(new LeaseLostError(`the lease ${lease.id} was lost: ${why}`, { cause: verdict.error }));
      } else {
        again(Math.min(ttlMs / 10, Math.max(0, heldUntil - performance.now())));
      }
    };
    again(ttlMs / 3);
    return () => {
      isOver = true;
      clearTimeout(timer);
    };
  }
}

/** @example const exports = createLeaser({ client, prefix: "export", limit: 3, ttl: "30s" }); */
export const createLeaser = (options: LeaserOptions): Leaser => new Leaser(options);
