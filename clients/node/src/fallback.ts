// What limiters of one client do by themselves while Redis is away (`unavailable: "local"`), and how Redis learns of it.
//
//   Redis is there         it alone is asked
//   a hit had no answer    the engine in this process decides, and what it lets through is noted
//   from then on           both must let a hit through: a denial of the engine's ends it, what it lets through is asked of Redis,
//                          and stands where Redis has no answer
//   Redis answers again    what is noted is charged there (FORCE, AT its time, each once by an id); for RETURN_MS more both must let
//                          a hit through, while the other processes, too, charge what they have noted
//
// So from the first failure on until everything is charged a process lets through what its own limits do, and no more.

import { wrong } from "./check.js";
import { refusal } from "./client.js";
import type { Connection } from "./connection.js";
import type { LocalEngine, LocalEngineOptions } from "./local/engine.js";
import { told, type Reach } from "./options.js";
import type { Writable } from "./verdict.js";

/** How long Redis is not believed alone once it is back. */
const RETURN_MS = 5000;
/** How often Redis is asked to take what is noted. */
const PROBE_MS = 250;
/** Keys whose charges are under way at once. */
const BATCH = 64;
/** Charges noted for one key; more are put together, at the later time. */
const MAX_ENTRIES = 32;
/** Charges of a key that are no further apart become one. */
const TOGETHER_MS = 10;

type Make = (options: LocalEngineOptions) => LocalEngine;
let make: Make | undefined;

/** @internal Called by `ratelimit-client/local` when it is imported. */
export const provideEngine = (given: Make): void => void (make = given);

/** What a hit has charged to a key. */
export interface Charge {
  readonly key: string;
  /** The words of the hit, as Redis takes them: before and behind its options. */
  readonly head: readonly string[];
  readonly tail: readonly string[];
  readonly cost: number;
  readonly at: number | undefined;
  readonly id: string | undefined;
  /** Its time was told, by which it may be given back. */
  readonly isStamped: boolean;
}

interface Entry {
  at: number;
  cost: number;
  readonly id: string;
  /** Whether the application knows its id or its time, so that it stays a charge of its own. */
  readonly isKnown: boolean;
  isSent: boolean;
}

interface Noted {
  readonly key: string;
  readonly head: readonly string[];
  readonly tail: readonly string[];
  readonly entries: Entry[];
}

/** A question, as Redis and as the engine are asked it. */
export interface Question<T> {
  readonly args: string[];
  readonly local: readonly string[];
  readonly key: string;
  readonly read: (reply: unknown) => T;
  /** Where the engine cannot decide. */
  readonly closed: (error: Error) => T;
  /** What an answer has charged. */
  readonly charges: (answer: T) => readonly Charge[];
}

interface Answer {
  readonly allowed: boolean;
  readonly taken?: number;
  readonly local?: true;
  readonly error?: Error;
}

export class Fallback {
  static readonly #all = new WeakMap<Connection, Fallback>();
  readonly #connection: Connection;
  readonly #maxKeys: number;
  readonly #engine: LocalEngine;
  readonly #noted = new Map<string, Noted>();
  #reach: Reach;
  #isAway = false;
  #trustedFrom = 0;
  #timer: ReturnType<typeof setInterval> | undefined;
  #isFlushing = false;

  private constructor(reach: Reach, maxKeys: number) {
    if (!make) throw new TypeError('unavailable: "local" needs the engine: import "ratelimit-client/local"');
    this.#connection = reach.connection;
    this.#reach = reach;
    this.#maxKeys = maxKeys;
    this.#engine = make({ maxKeys });
    this.#engine(["PING"]).catch((error: Error) => told(reach, error)); // it is loaded before it is needed
  }

  /** One for each client, as keys are. */
  static of(reach: Reach, maxKeys: number): Fallback {
    let fallback = Fallback.#all.get(reach.connection);
    if (!fallback) Fallback.#all.set(reach.connection, (fallback = new Fallback(reach, maxKeys)));
    if (fallback.#maxKeys !== maxKeys) throw wrong("maxKeys", `${fallback.#maxKeys}, as of the client's other limiters`, maxKeys);
    return fallback;
  }

  ask<T extends Answer>(question: Question<T>, reach: Reach, retries: number): Promise<T> {
    this.#reach = reach;
    if (this.isDoubtful) return this.#askBoth(question, reach, retries);
    const failed = async (error: Error): Promise<T> => {
      this.#lost(told(reach, error));
      const answer = await this.#askEngine(question, reach);
      this.#note(question, answer);
      return answer;
    };
    return this.#connection.ask<T>(question.args, question.key, reach.timeoutMs, question.read, failed, retries);
  }

  /** Whether the engine is asked before Redis. */
  get isDoubtful(): boolean {
    return this.#isAway || this.#noted.size > 0 || performance.now() < this.#trustedFrom;
  }

  /** Forgets a key, as Redis has. */
  forget(key: string): void {
    this.#noted.delete(key);
    void this.#engine(["DEL", key]).catch(() => undefined);
  }

  async #askBoth<T extends Answer>(question: Question<T>, reach: Reach, retries: number): Promise<T> {
    const local = await this.#askEngine(question, reach);
    if (!local.allowed && !local.error && question.charges(local).length === 0) return local;
    const read = (reply: unknown): T => {
      const answer = question.read(reply);
      this.#heard();
      return answer;
    };
    const failed = (error: Error): T => {
      this.#lost(told(reach, error));
      if (!local.error) this.#note(question, local);
      return local;
    };
    return this.#connection.ask<T>(question.args, question.key, reach.timeoutMs, read, failed, retries);
  }

  async #askEngine<T extends Answer>({ local, read, closed }: Question<T>, reach: Reach): Promise<T> {
    try {
      const answer = read(await this.#engine(local)) as Writable<T> & { local?: true };
      answer.local = true;
      return answer;
    } catch (error) {
      // It is full of keys that count, or it has stopped: nobody is let in uncounted.
      return closed(told(reach, error as Error));
    }
  }

  #lost(error: Error): void {
    if (!refusal(error)) this.#isAway = true;
  }

  #heard(): void {
    if (!this.#isAway) return;
    this.#isAway = false;
    this.#trustedFrom = performance.now() + RETURN_MS;
  }

  #note<T extends Answer>(question: Question<T>, answer: T): void {
    for (const { key, head, tail, cost, at, id, isStamped } of question.charges(answer)) {
      let noted = this.#noted.get(key);
      if (!noted) this.#noted.set(key, (noted = { key, head, tail, entries: [] }));
      const { entries } = noted;
      const time = at ?? Date.now();
      const isKnown = id !== undefined || isStamped;
      const last = entries.at(-1);
      if (last && !last.isSent && !last.isKnown && !isKnown && last.cost > 0 === cost > 0 && Math.abs(time - last.at) <= TOGETHER_MS) {
        last.cost += cost;
        last.at = Math.max(last.at, time);
      } else {
        entries.push({ at: time, cost, id: id ?? `local:${crypto.randomUUID()}`, isKnown, isSent: false });
      }
      if (entries.length > MAX_ENTRIES) this.#putTogether(entries);
    }
    if (this.#noted.size > this.#maxKeys) void this.#prune([...this.#noted.keys()]);
    this.#timer ??= this.#wind();
  }

  /** The two oldest that are not under way become one, at the later time: it may count for longer, and not for less. */
  #putTogether(entries: Entry[]): void {
    const index = entries.findIndex(({ isSent }, place) => !isSent && entries[place + 1]?.isSent === false);
    const [first, second] = entries.slice(index, index + 2);
    if (index < 0 || !first || !second) return;
    const both = { ...second, cost: first.cost + second.cost, at: Math.max(first.at, second.at) };
    entries.splice(index, 2, ...(both.cost === 0 ? [] : [both]));
  }

  /** What the engine has no key for any more counts nowhere. */
  async #prune(keys: readonly string[]): Promise<void> {
    for (const key of keys) {
      if ((await this.#engine(["EXISTS", key])) === 0) this.#noted.delete(key);
    }
  }

  #wind(): ReturnType<typeof setInterval> {
    const timer = setInterval(() => void this.#flush(), PROBE_MS);
    (timer as { unref?(): void }).unref?.();
    return timer;
  }

  /** One key's charges, to see whether Redis is back; then all of them. */
  async #flush(): Promise<void> {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    try {
      for (let count = 1; this.#noted.size > 0; count = BATCH) {
        const keys = [...this.#noted.keys()].slice(0, count);
        const charged = await Promise.all(keys.map((key) => this.#charge(key)));
        if (charged.includes(false)) return await this.#prune(keys);
      }
      clearInterval(this.#timer);
      this.#timer = undefined;
    } finally {
      this.#isFlushing = false;
    }
  }

  /** Charges what is noted of a key. Whether Redis has answered. */
  async #charge(key: string): Promise<boolean> {
    const noted = this.#noted.get(key);
    if (!noted) return true;
    const entries = noted.entries.filter(({ isSent }) => !isSent);
    if (entries.length === 0) return false; // they are under way
    for (const entry of entries) entry.isSent = true;
    const left = noted.head[0] === "RL.BUCKET" ? this.#left(noted, entries) : entries;
    const charged = await Promise.all(left.map((entry) => this.#send(noted, entry)));
    const gone = new Set(entries.filter((entry) => !left.includes(entry) || charged[left.indexOf(entry)]));
    const rest = noted.entries.filter((entry) => !gone.has(entry));
    noted.entries.splice(0, noted.entries.length, ...rest);
    if (rest.length === 0 && this.#noted.get(noted.key) === noted) this.#noted.delete(noted.key);
    return !charged.includes(false);
  }

  /** Of a bucket, what has not flowed off meanwhile: Redis counts it from now on. */
  #left(noted: Noted, entries: readonly Entry[]): readonly Entry[] {
    const [first] = entries;
    const info = this.#engine.sync(["RL.INFO", noted.key]) as unknown[] | null;
    if (!first || info === null) return [];
    const field = (map: readonly unknown[], name: string) => map[map.indexOf(name) + 1];
    const used = Math.max(0, ...(field(info, "limits") as unknown[][]).map((limit) => Number(field(limit, "used"))));
    first.cost = Math.min(used, entries.reduce((sum, { cost }) => sum + cost, 0));
    return first.cost > 0 ? [first] : [];
  }

  #send({ key, head, tail }: Noted, { cost, at, id }: Entry): Promise<boolean> {
    const when = head[0] === "RL.BUCKET" ? [] : ["AT", String(at)];
    const args = [...head, "COST", String(cost), ...(cost > 0 ? ["FORCE"] : []), ...when, "ID", id, ...tail];
    const read = () => {
      this.#heard();
      return true;
    };
    const failed = (error: Error) => {
      if (!refusal(error)) return false;
      told(this.#reach, error); // it never takes it
      return true;
    };
    const { timeoutMs } = this.#reach;
    return this.#connection.ask(args, key, timeoutMs, read, (error) => {
      const isOver = failed(error);
      const entry = this.#noted.get(key)?.entries.find((one) => one.id === id);
      if (entry && !isOver) entry.isSent = false;
      return isOver;
    });
  }
}
