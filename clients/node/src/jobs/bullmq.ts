// Limits for the jobs of BullMQ 5 and newer, over all workers. A job that has to wait is no failed attempt: it goes back to
// the queue and comes again at the time that it was given.
//
//   const openai = new JobLimiter({ client, prefix: "openai", limits: { capacity: 10, refill: 10, interval: "1s" } });
//   new Worker("mails", async (job) => {
//     await openai.turn(job, job.data.tenant);
//     const response = await fetch(url);
//     if (response.status === 429) await openai.comeBack(job, job.data.tenant, response.headers.get("Retry-After"));
//   });

import { Admin } from "../admin.js";
import { integer, members, wrong } from "../check.js";
import { Leaser, type LeaserOptions } from "../lease.js";
import { CONNECTION, costWords, fullKey, metered, plan, policyWords, reach, told, type BucketLimit, type ConnectionOptions, type Plan, type Reach } from "../options.js";
import { sleep } from "../sleep.js";
import { integerOf, unavailable, verdict, type Verdict } from "../verdict.js";

/** What is used of BullMQ's. */
export interface BullJob {
  readonly data: unknown;
  readonly token?: string | undefined;
  updateData(data: never): Promise<void>;
  moveToDelayed(timestamp: number, token?: string): Promise<void>;
}

/** What paces the jobs of a queue. */
export interface JobLimiterOptions extends ConnectionOptions {
  /** Buckets: jobs take places in them, and are let through one after another. */
  readonly limits: BucketLimit | readonly BucketLimit[];
  /** Stands before each key, with a colon. */
  readonly prefix?: string;
  /** A policy of the server, whose limits replace these for all workers. */
  readonly policy?: string;
  /** So far ahead places are given, in ms. Who would have to wait longer asks again then. Default 60,000. */
  readonly maxWaitMs?: number;
  /** So long a job waits in its worker, in ms; longer it waits in the queue. Default 500. */
  readonly sleepMs?: number;
}

/** Thrown once a job is back in the queue: let it through, it tells the worker to leave the job alone. */
export class DelayedError extends Error {
  override readonly name = "DelayedError";
}

/** The job fails, and is not tried again. */
class UnrecoverableError extends Error {
  override readonly name = "UnrecoverableError";
}

async function delay(job: BullJob, ms: number, why: string): Promise<never> {
  await job.moveToDelayed(Date.now() + Math.max(1, Math.ceil(ms)), job.token);
  throw new DelayedError(`${why}: comes back in ${Math.ceil(ms)} ms`);
}

/** A place that a job has been given, in its data while it waits in the queue. */
interface Place {
  readonly key: string;
  readonly at: number;
  readonly chargedAt: number;
}

const MEMBER = "ratelimit";
/** Where Redis is away and the limiter is closed. */
const AWAY_MS = 1000;

const failing = (error: Error): never => {
  throw error;
};

/** Paces jobs by key, over all workers. */
export class JobLimiter {
  readonly #reach: Reach;
  readonly #admin: Admin;
  readonly #plan: Plan;
  readonly #maxWaitMs: number;
  readonly #sleepMs: number;

  constructor(options: JobLimiterOptions) {
    members("JobLimiter", options, [...CONNECTION, "limits", "prefix", "policy", "maxWaitMs", "sleepMs"]);
    const { maxWaitMs = 60_000, sleepMs = 500, ...limiter } = options;
    this.#plan = plan({ ...limiter, algorithm: "bucket" });
    this.#maxWaitMs = integer("maxWaitMs", maxWaitMs, 1);
    this.#sleepMs = integer("sleepMs", sleepMs, 0);
    this.#reach = reach(options, true, this.#plan.name);
    this.#admin = new Admin({ client: options.client, ...(options.timeoutMs ? { timeoutMs: options.timeoutMs } : {}) });
  }

  /**
   * Returns when it is this job's turn; where that is later, the job is put back and `DelayedError` thrown. Its place is
   * kept in its data (`ratelimit`), so that what runs again does not ask again. One place a job: ask for one key at a time.
   */
  async turn(job: BullJob, key: string, { cost = 1 }: { readonly cost?: number } = {}): Promise<void> {
    integer("cost", cost, 1);
    const full = fullKey(this.#plan, key);
    const data = dataOf(job);
    const kept = data[MEMBER] as Place | undefined;
    let place = kept?.key === full ? kept : undefined;
    if (place === undefined) {
      const answer = await this.#ask(full, ["STAMP", "RESERVE", `${this.#maxWaitMs}ms`], cost);
      if (answer.error && !answer.allowed) return delay(job, AWAY_MS, "the rate limiter is unavailable");
      if (answer.error) return;
      if (!answer.allowed && answer.retryAfterMs < 0) {
        throw new UnrecoverableError(`a cost of ${cost} never fits the limit ${answer.limit} of "${full}"`);
      }
      if (!answer.allowed) return delay(job, answer.retryAfterMs, `no place within ${this.#maxWaitMs} ms`);
      if (answer.retryAfterMs === 0) return;
      place = { key: full, at: Date.now() + answer.retryAfterMs, chargedAt: answer.chargedAt ?? 0 };
    }
    const left = place.at - Date.now();
    if (left > this.#sleepMs) {
      if (kept !== place) await job.updateData({ ...data, [MEMBER]: place } as never);
      return delay(job, left, "its turn is later");
    }
    if (left > 0) await sleep(left);
    if (kept !== undefined) await this.#forget(job); // before it acts: an attempt after this one takes a place of its own
    // A place is not recalled by a block that began after it was given: it is given back, and another one taken then.
    const shutMs = await this.#shutMs(full);
    if (shutMs === 0) return;
    await this.#ask(full, ["AT", String(place.chargedAt)], -cost);
    return delay(job, shutMs, "it is shut");
  }

  /**
   * What a provider says with 429 or 503: shuts the key for all workers for so long (seconds, or a `Retry-After` as it
   * came: seconds or a date), and puts the job back until then. Who says nothing is left alone for `fallbackMs`.
   */
  async comeBack(job: BullJob, key: string, after: number | string | null | undefined, { fallbackMs = 10_000 }: { readonly fallbackMs?: number } = {}): Promise<never> {
    const ms = Math.max(1, retryAfterMs(after) ?? integer("fallbackMs", fallbackMs, 1));
    const full = fullKey(this.#plan, key);
    const { connection, timeoutMs } = this.#reach;
    // The later of two blocks holds; where Redis is away, this job at least keeps to it.
    const left = await connection
      .ask(["RL.BLOCK", full, `${ms}ms`], full, timeoutMs, integerOf, failing)
      .catch((error: Error) => (told(this.#reach, error), ms));
    return delay(job, Math.max(left, ms), "the provider says so");
  }

  async #shutMs(full: string): Promise<number> {
    try {
      const { block, blockByOrder } = (await this.#admin.info(full)) ?? {};
      return Math.max(block?.leftMs ?? 0, blockByOrder?.leftMs ?? 0);
    } catch (error) {
      told(this.#reach, error as Error);
      return this.#reach.open ? 0 : AWAY_MS;
    }
  }

  async #forget(job: BullJob): Promise<void> {
    const { [MEMBER]: _, ...rest } = dataOf(job);
    await job.updateData(rest as never);
  }

  #ask(full: string, words: readonly string[], cost: number): Promise<Verdict> {
    const args = ["RL.BUCKET", full, ...this.#plan.limits, ...costWords(cost), ...words, ...policyWords(this.#plan, {})];
    const asked = { described: this.#plan.windows.map(() => ({ name: this.#plan.name })), name: this.#plan.name, cost, stamp: words.includes("STAMP") };
    const failed = (error: Error) => unavailable(told(this.#reach, error), this.#reach.open);
    const { connection, timeoutMs } = this.#reach;
    const answer = connection.ask(args, full, timeoutMs, (reply) => verdict(reply, asked), failed);
    return cost > 0 ? metered(this.#reach, this.#plan.name, answer) : answer;
  }
}

/** How many jobs of a key at once. */
export interface JobSlotsOptions extends LeaserOptions {
  /** So long a job that finds no slot waits in the queue, in ms. Default 1000. */
  readonly againMs?: number;
}

/** How many jobs work on a key at once, over all workers. */
export class JobSlots {
  readonly #leaser: Leaser;
  readonly #againMs: number;

  constructor(options: JobSlotsOptions) {
    const { againMs = 1000, ...leaser } = options;
    this.#againMs = integer("againMs", againMs, 1);
    this.#leaser = new Leaser(leaser);
  }

  /** Works while a slot is held, which is renewed and comes back however the work ends; without one the job is put back. */
  async hold<T>(job: BullJob, key: string, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const held = await this.#leaser.hold(key, work);
    if (!held.verdict.allowed) return delay(job, this.#againMs, "no slot is free");
    return held.result as T;
  }
}

function dataOf(job: BullJob): Record<string, unknown> {
  const { data } = job;
  if (typeof data !== "object" || data === null || Array.isArray(data)) throw wrong("job.data", "an object, in which the job's place is kept", data);
  return data as Record<string, unknown>;
}

/** Of a number of seconds, or a field of HTTP; `undefined` where it says nothing. */
function retryAfterMs(after: number | string | null | undefined): number | undefined {
  if (after === null || after === undefined || after === "") return undefined;
  const seconds = typeof after === "number" || /^\s*\d+(\.\d+)?\s*$/.test(after) ? Number(after) : undefined;
  const isDate = /^[A-Za-z]{3}/.test(String(after)); // Date.parse reads almost anything
  const ms = seconds !== undefined ? seconds * 1000 : isDate ? Date.parse(String(after)) - Date.now() : NaN;
  // A provider may write what it likes: that is no reason to fail, nor to be shut for years.
  return Number.isFinite(ms) ? Math.min(Math.ceil(ms), 86_400_000) : undefined;
}
