// What the server answered. The numbers are the ones of the limit that binds; `limits` has each one's.

import { RefusedError } from "./client.js";

/** What is said of one limit. */
export interface Numbers {
  readonly allowed: boolean;
  /** The limit in force; a bucket's capacity. */
  readonly limit: number;
  readonly remaining: number;
  /** 0: allowed. -1: this can never be allowed. Where a wait was reserved: how long to wait before acting. */
  readonly retryAfterMs: number;
  /** Until nothing is used any more. */
  readonly resetAfterMs: number;
  /** Until more remains than `remaining` says; 0 where nothing is used, -1 where it never will. Only where `next` was asked for. */
  readonly nextAfterMs?: number;
}

/** One limit of a limiter. */
export interface LimitState extends Numbers {
  /** For the `RateLimit` fields: the limiter's name, with the window where there are several. */
  readonly name: string;
  /** The window in whole seconds. Absent for a calendar's, and where a policy of the server may have set another. */
  readonly windowSeconds?: number;
}

/** What a hit was answered. The numbers are those of the limit that binds. */
export interface Verdict extends Numbers {
  /** One for each limit, in the order given. */
  readonly limits: readonly LimitState[];
  /** What was charged. Less than the cost where `min` was given. Of a repeat, what the hit before it was. */
  readonly taken: number;
  /** When it was charged, by the server's clock; 0 where nothing was. Only where `stamp` was asked for. */
  readonly chargedAt?: number;
  /** A hit of this id was charged before, and this one was not. Only where an `id` was given. */
  readonly repeated?: boolean;
  /** The value that was found in the deny list. */
  readonly deniedValue?: string;
  /** Redis could not be asked: `allowed` is what `unavailable` says, and the numbers are 0. */
  readonly error?: Error;
  /** This process has decided, as Redis is away or just back (`unavailable: "local"`): the numbers are its own. */
  readonly local?: true;
}

/** The verdict on several keys. */
export interface AllVerdict extends Numbers {
  /** One for each key, in the order given: whether this key would let it through. */
  readonly keys: readonly Verdict[];
  /** The index of the key that binds; undefined where a deny list or an error decided. */
  readonly binding?: number;
  readonly chargedAt?: number;
  readonly deniedValue?: string;
  readonly error?: Error;
  readonly local?: true;
}

/** What is known of a limit before it is asked. */
export interface Described {
  readonly name: string;
  readonly windowSeconds?: number;
}

/** Of another server than this package is for: no reason to let anybody through. */
const unread = (reply: unknown): RefusedError => new RefusedError(`not a reply of RL.*: ${JSON.stringify(reply)}`, "ERR", undefined);

export function integerOf(value: unknown): number {
  const number = typeof value === "number" ? value : Number(value); // a client may bring texts or bigints
  if (!Number.isInteger(number)) throw unread(value);
  return number;
}

/** While it is made. */
export type Writable<T> = { -readonly [Name in keyof T]: T[Name] };

/** Written out, as is what follows: copying objects member by member was a third of what a hit cost. */
function numbers(reply: readonly unknown[], next: boolean): Writable<Numbers> {
  const own: Writable<Numbers> = {
    allowed: integerOf(reply[0]) === 1,
    limit: integerOf(reply[1]),
    remaining: integerOf(reply[2]),
    retryAfterMs: integerOf(reply[3]),
    resetAfterMs: integerOf(reply[4]),
  };
  if (next) own.nextAfterMs = integerOf(reply[5]);
  return own;
}

/** Each limit has so many numbers. */
const lengthOf = (next: boolean): number => (next ? 6 : 5);

function list(reply: unknown, next: boolean): readonly unknown[] {
  if (!Array.isArray(reply) || reply.length < lengthOf(next)) throw unread(reply);
  return reply;
}

const NOT_DENIED: { deniedValue?: string } = {};

const denied = (value: unknown): { deniedValue?: string } =>
  value === null || value === undefined ? NOT_DENIED : { deniedValue: value instanceof Uint8Array ? new TextDecoder().decode(value) : String(value) };

export interface Asked {
  readonly described: readonly Described[];
  readonly name: string;
  readonly cost: number;
  readonly force?: boolean;
  readonly id?: boolean;
  readonly min?: boolean;
  readonly stamp?: boolean;
  readonly next?: boolean;
  readonly deny?: boolean;
}

export function verdict(reply: unknown, asked: Asked): Verdict {
  const { next: isNext = false } = asked;
  const values = list(reply, isNext);
  const answer = numbers(values, isNext) as Writable<Verdict>;
  const { allowed } = answer;
  let next = lengthOf(isNext);
  const several = values[next];
  if (Array.isArray(several)) {
    next += 1;
    answer.limits = several.map((item, index) => state(list(item, isNext), asked, index, several.length));
  } else {
    answer.limits = [state(values, asked, 0, 1)];
  }
  const { deniedValue } = asked.deny ? denied(values.at(-1)) : NOT_DENIED;
  if (asked.id) answer.repeated = integerOf(values[next++]) === 1;
  const charged = allowed || (asked.force === true && deniedValue === undefined);
  answer.taken = asked.min ? integerOf(values[next++]) : charged ? asked.cost : 0;
  if (asked.stamp) answer.chargedAt = integerOf(values[next]);
  if (deniedValue !== undefined) answer.deniedValue = deniedValue;
  return answer;
}

function state(reply: readonly unknown[], asked: Asked, index: number, count: number): LimitState {
  const { name, windowSeconds } = describe(asked, index, count);
  const one = numbers(reply, asked.next === true) as Writable<LimitState>;
  one.name = name;
  if (windowSeconds !== undefined) one.windowSeconds = windowSeconds;
  return one;
}

/** A policy may have another number of limits than the call: then nothing is known of them but their order. */
function describe({ described, name }: Asked, index: number, count: number): Described {
  if (count === described.length) return described[index] as Described;
  return { name: count === 1 ? name : `${name}-${index + 1}` };
}

export function allVerdict(reply: unknown, asked: readonly Asked[], { stamp = false, next = false, deny = false }): AllVerdict {
  const values = list(reply, next);
  const [each, binds, at] = values.slice(lengthOf(next));
  if (!Array.isArray(each)) throw unread(reply);
  const own = numbers(values, next);
  const forced = asked[0]?.force === true && !(deny && denied(values.at(-1)).deniedValue !== undefined);
  const keys = asked.map((one, index) => ({
    ...verdict(each[index], one),
    taken: own.allowed || forced ? one.cost : 0, // all or nothing
  }));
  const binding = integerOf(binds);
  return {
    ...own,
    keys,
    ...(binding > 0 ? { binding: binding - 1 } : {}),
    ...(stamp ? { chargedAt: integerOf(at) } : {}),
    ...(deny ? denied(values.at(-1)) : {}),
  };
}

export const unavailable = (error: Error, open: boolean): Verdict => ({
  allowed: open,
  limit: 0,
  remaining: 0,
  retryAfterMs: open ? 0 : 1000,
  resetAfterMs: 0,
  limits: [],
  taken: 0,
  chargedAt: 0,
  error,
});
