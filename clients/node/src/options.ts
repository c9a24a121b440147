// What a limiter is made of, and how that becomes a command's words.

import { fixedWindow, flag, integer, leastMs, MAX_SPAN_MS, members, oneOf, span, spanMs, text, wrong } from "./check.js";
import { refusal, type Client } from "./client.js";
import { Connection } from "./connection.js";
import { guarded, logger, reasonOf, type HitEvent } from "./report.js";
import type { Described } from "./verdict.js";

type Unit = "ms" | "s" | "m" | "h" | "d" | "w";
/** `500ms` `10s` `15m` `1h` `30d` `4w` */
export type Duration = `${number}${Unit}`;
/** A duration, or a window of the calendar: `1mo` `3mo` `1y` `1w@thu` `1mo@15` `1d@Europe/Berlin`, or `5h@first` */
export type CalendarWindow = Duration | `${number}mo` | `${number}y` | `${number}${Unit | "mo" | "y"}@${string}`;

/** A limit in windows that the clock or the calendar begins. */
export interface FixedLimit {
  readonly limit: number;
  readonly window: CalendarWindow;
}
/** A limit that holds in every interval as long as the window. */
export interface SlidingLimit {
  readonly limit: number;
  readonly window: Duration;
}
/** A bucket: it starts full and refills all the time. */
export interface BucketLimit {
  readonly capacity: number;
  /** So much flows back per interval. */
  readonly refill: number;
  readonly interval: Duration;
}

type OneOrMore<T> = T | readonly T[];

/** An algorithm with its limits. */
export type Shape =
  | { readonly algorithm: "fixed"; readonly limits: OneOrMore<FixedLimit> }
  | { readonly algorithm: "sliding"; readonly limits: OneOrMore<SlidingLimit> }
  | { readonly algorithm: "bucket"; readonly limits: OneOrMore<BucketLimit> };

/** How many blocked keys a process remembers. */
export interface BlockedCacheOptions {
  /** How many blocked keys this process remembers. Default 10,000. */
  readonly maxEntries?: number;
  /** How long this process may not notice that a limit was raised, usage given back or the key deleted. Default 60,000. */
  readonly maxMs?: number;
}

/** How many units a process takes ahead, and for how long. */
export interface PrefetchOptions {
  /** How many are taken at once: 2 or more. */
  readonly units: number;
  /** How long they are held, in ms. Default: 1000, or a tenth of the shortest window where that is less. */
  readonly holdMs?: number;
}

/** How Redis is reached, how long it may take, and what is told of that. */
export interface ConnectionOptions {
  /** Its address, password and TLS are used for a connection of the limiter's own, which ends with it. */
  readonly client: Client;
  /** How long Redis may take to answer, in ms. Default 1000; `false` waits for ever. */
  readonly timeoutMs?: number | false;
  /**
   * What a hit is where Redis is away, or answers with an error: let through (`open`), or not (`closed`). Default `open`,
   * and `closed` for a limiter with `block`: guessing must not be free while Redis is down.
   */
  readonly unavailable?: "open" | "closed";
  /** Told of each failure that a verdict hides. Default: a line by `console.error`, one a second at most, with a count. */
  readonly onError?: (error: Error) => void;
  /** Told of each hit and what became of it, for metrics. */
  readonly onHit?: (event: HitEvent) => void;
}

/** What limiters of every algorithm have. */
export interface Common extends Omit<ConnectionOptions, "unavailable"> {
  /**
   * What a hit is where Redis is away, or answers with an error: let through (`open`), or not (`closed`); or this process goes on
   * counting by itself, and charges it to Redis when that is back (`local`, with `import "ratelimit-client/local"`). Default
   * `open`, and `closed` for a limiter with `block`: guessing must not be free while Redis is down.
   */
  readonly unavailable?: "open" | "closed" | "local";
  /** With `local`: how many processes share the limits, so that each goes on with its part, and at least with 1. Default 1. */
  readonly instances?: number;
  /** With `local`: the most keys that this process counts by itself; a hit on one more is not let through. Default 100,000. */
  readonly maxKeys?: number;
  /** Stands before each key, with a colon. */
  readonly prefix?: string;
  /** The name in the `RateLimit` fields. Default: the prefix, or `default`. */
  readonly name?: string;
  /** Policies of the server whose limits replace these; the first that exists counts. */
  readonly policy?: OneOrMore<string>;
  /** A hit that is denied starts a block of the first duration, the next block takes the second, and so on. */
  readonly block?: OneOrMore<Duration>;
  /** Remember who is denied until when, and deny them without asking Redis. */
  readonly blockedCache?: boolean | BlockedCacheOptions;
  /**
   * Hits without options on one key that are made in the same turn of the event loop become one command. Nobody is let
   * in whom single commands would not have let in; the server's statistics count commands. Default `false`.
   */
  readonly coalesce?: boolean;
  /**
   * This process takes so many units of a key ahead, hands them out from memory, and gives back what it did not use. A
   * number, or with how long they are held. Not with `block`, `coalesce` or `unavailable: "local"`. See `close`.
   */
  readonly prefetch?: number | PrefetchOptions;
  /**
   * Asks also when more becomes available: the `t` of the `RateLimit` field, which is left out without it. For limiters in
   * front of HTTP. Default `false`.
   */
  readonly next?: boolean;
}

/** What a limiter is made of. */
export type LimiterOptions = Common & Shape;

/** Options of one hit. */
export interface HitOptions {
  /** What this hit uses: default 1. 0 asks, a negative cost gives back. */
  readonly cost?: number;
  /** Take as much as fits, and at least so much. */
  readonly min?: number;
  /** Charge it whether or not it fits. */
  readonly force?: boolean;
  /** Ask for the charge time. */
  readonly stamp?: boolean;
  /** The charge time of the hit that this one settles. */
  readonly at?: number;
  /**
   * 1 to 64 bytes: of all hits of this key with this id one is charged, and the others are told what it was (`repeated`).
   * Your application's own, or one by which it does its work only once; never what a caller's header says.
   */
  readonly id?: string;
  /** With `id`: how often it is sent again, within `timeoutMs`, where the connection broke or Redis could not. 0 to 10. */
  readonly retry?: number;
  /** Replaces the limiter's. */
  readonly policy?: OneOrMore<string>;
  /** Ask when more becomes available. Default: what the limiter says. */
  readonly next?: boolean;
  readonly deny?: Deny;
}

/** Values that are looked up in a deny list of the server, in the same round trip. */
export interface Deny {
  readonly list: string;
  readonly values: readonly string[];
}

export const CONNECTION = ["client", "timeoutMs", "unavailable", "onError", "onHit"] as const;
const OPTIONS = [...CONNECTION, "instances", "maxKeys", "algorithm", "limits", "prefix", "name", "policy", "block", "blockedCache", "coalesce", "prefetch", "next"] as const;
const HIT = ["cost", "min", "force", "stamp", "at", "id", "retry", "policy", "next", "deny"] as const;

const several = <T>(value: OneOrMore<T> | undefined): readonly T[] =>
  value === undefined ? [] : Array.isArray(value) ? (value as readonly T[]) : [value as T];

const SECONDS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

/** Whole seconds, as the `w` of RateLimit-Policy wants them; a calendar's window has no one length. */
function windowSeconds(window: string): number | undefined {
  const [, amount, unit] = /^(\d+)(s|m|h|d|w)$/i.exec(window) ?? [];
  return amount === undefined ? undefined : Number(amount) * (SECONDS[(unit as string).toLowerCase()] as number);
}

export interface Plan {
  readonly algorithm: "FIXED" | "SLIDING" | "BUCKET";
  readonly limits: readonly string[];
  readonly policy: readonly string[];
  readonly block: readonly string[];
  readonly prefix: string | undefined;
  readonly name: string;
  readonly windows: readonly string[];
  readonly names: { readonly own: readonly Described[]; readonly replaced: readonly Described[] };
  readonly next: boolean;
}

export function plan(options: LimiterOptions): Plan {
  members("limiter", options, OPTIONS);
  const algorithm = oneOf("algorithm", options.algorithm, ["fixed", "sliding", "bucket"]);
  const given = several<FixedLimit | SlidingLimit | BucketLimit>(options.limits);
  if (given.length === 0 || given.length > 8) throw wrong("limits", "1 to 8 limits", options.limits);
  const windows: string[] = [];
  const limits = given.flatMap((one, index) => {
    const at = `limits[${index}]`;
    const window = algorithm === "bucket" ? "interval" : "window";
    const names = algorithm === "bucket" ? ["capacity", "refill"] : ["limit"];
    const fields = members(at, one, [...names, window]);
    windows.push((algorithm === "fixed" ? fixedWindow : span)(`${at}.${window}`, fields[window]));
    // A refill of 0 would never let anybody in again.
    const amounts = names.map((name) => String(integer(`${at}.${name}`, fields[name], name === "refill" ? 1 : 0)));
    return [...amounts, windows.at(-1) as string];
  });
  const prefix = options.prefix === undefined ? undefined : text("prefix", options.prefix);
  const name = options.name === undefined ? (prefix ?? "default") : text("name", options.name);
  if (!/^[\x20-\x7e]+$/.test(name)) throw wrong("name", "printable ASCII, for it becomes a field of HTTP", name);
  return {
    algorithm: algorithm.toUpperCase() as Plan["algorithm"],
    limits,
    windows,
    names: { own: namesOf(name, windows, false), replaced: namesOf(name, windows, true) },
    prefix,
    name,
    policy: policies(options.policy),
    block: several(options.block).map((duration, index) => span(`block[${index}]`, duration)),
    next: flag("next", options.next ?? false),
  };
}

const MAX_HOLD_MS = 1000;

/** What is taken ahead, checked: undefined where nothing is. */
export function prefetched({ prefetch, block, coalesce, unavailable }: LimiterOptions, { windows }: Plan): Required<PrefetchOptions> | undefined {
  if (prefetch === undefined) return undefined;
  const given = typeof prefetch === "number" ? { units: prefetch } : prefetch;
  const { units, holdMs } = members("prefetch", given, ["units", "holdMs"]) as Partial<PrefetchOptions>;
  if (block !== undefined) throw new TypeError("prefetch: not with block: who is blocked would be let in by units that were taken before");
  if (coalesce) throw new TypeError("prefetch: not with coalesce: hits that wait for the same key share a command already");
  if (unavailable === "local") throw new TypeError('prefetch: not with unavailable "local": units of two counts would be handed out as one');
  // A calendar's window is a day at the least, and no duration.
  const shortest = Math.min(...windows.map((window) => leastMs(window)));
  return {
    units: integer("prefetch.units", units, 2),
    holdMs: integer("prefetch.holdMs", holdMs ?? Math.max(1, Math.floor(Math.min(MAX_HOLD_MS, shortest / 10))), 1),
  };
}

/** How a limiter asks, and what it does without an answer. */
export interface Reach {
  readonly connection: Connection;
  readonly timeoutMs: number | false;
  /** Whether a hit is let through where Redis is away. */
  readonly open: boolean;
  readonly onError: (error: Error) => void;
  readonly onHit: ((event: HitEvent) => void) | undefined;
}

/** The limits of which each of so many processes goes on with its part: rounded down, and no less than 1. */
export function shares({ algorithm, limits }: Plan, instances: number): readonly string[] {
  const share = (amount: string) => (amount === "0" ? amount : String(Math.max(1, Math.floor(Number(amount) / instances))));
  if (instances === 1) return limits;
  if (algorithm !== "BUCKET") return limits.map((word, index) => (index % 2 === 0 ? share(word) : word));
  // A bucket's tokens flow back that much slower.
  const most = Math.min(...limits.flatMap((word, index) => (index % 3 === 2 ? [Math.floor(MAX_SPAN_MS / spanMs("interval", word))] : [])));
  if (instances > most) throw wrong("instances", `at most ${most}, as the interval of each process's part is that much longer`, instances);
  return limits.map((word, index) => (index % 3 === 0 ? share(word) : index % 3 === 1 ? word : `${spanMs("interval", word) * instances}ms`));
}

export function reach(options: ConnectionOptions, open: boolean, name: string): Reach {
  const { timeoutMs = 1000, unavailable, onError, onHit } = options;
  for (const [hook, given] of Object.entries({ onError, onHit })) {
    if (given !== undefined && typeof given !== "function") throw wrong(hook, "a function", given);
  }
  return {
    connection: Connection.of(options.client),
    timeoutMs: timeoutMs === false ? false : integer("timeoutMs", timeoutMs, 1),
    open: unavailable === undefined ? open : oneOf("unavailable", unavailable, ["open", "closed"]) === "open",
    onError: guarded(onError ?? logger(name)),
    onHit: onHit === undefined ? undefined : guarded(onHit),
  };
}

/** Tells of a failure, and gives it as a verdict has it: what the server refused as a `RefusedError`. */
export function told({ onError }: Reach, error: Error): Error {
  const cause = refusal(error) ?? error;
  onError(cause);
  return cause;
}

interface Counted {
  readonly allowed: boolean;
  readonly error?: Error;
  readonly local?: true;
}

/** The answer is told to `onHit`; without one nothing is made. */
export function metered<T extends Counted>({ onHit }: Reach, limiter: string, answer: Promise<T>): Promise<T> {
  if (onHit === undefined) return answer;
  const since = performance.now();
  return answer.then((verdict) => {
    const { allowed, error } = verdict;
    const durationMs = performance.now() - since;
    const { local } = verdict;
    if (local) return onHit({ limiter, outcome: allowed ? "allowed" : "denied", local, durationMs }), verdict;
    if (error) onHit({ limiter, outcome: allowed ? "open" : "closed", reason: reasonOf(error), durationMs });
    else onHit({ limiter, outcome: allowed ? "allowed" : "denied", durationMs });
    return verdict;
  });
}

function policies(given: OneOrMore<string> | undefined): readonly string[] {
  const names = several(given);
  if (names.length > 4) throw wrong("policy", "at most 4 names", given);
  return names.map((name, index) => text(`policy[${index}]`, name));
}

/** The names of the limits for HTTP's fields. The reply does not tell the window of a policy that has replaced them. */
const namesOf = (name: string, windows: readonly string[], isReplaced: boolean): readonly Described[] =>
  windows.map((window, index) => {
    const seconds = isReplaced ? undefined : windowSeconds(window);
    const own = windows.length === 1 ? name : isReplaced ? `${name}-${index + 1}` : `${name}-${window}`;
    return { name: own, ...(seconds === undefined ? {} : { windowSeconds: seconds }) };
  });

export const described = ({ policy, names }: Plan, hit: HitOptions): readonly Described[] =>
  policy.length > 0 || hit.policy !== undefined ? names.replaced : names.own;

export const fullKey = ({ prefix }: Plan, key: unknown): string =>
  prefix === undefined ? text("key", key) : `${prefix}:${text("key", key)}`;

export function checked(hit: HitOptions): HitOptions {
  members("options of a hit", hit, HIT);
  if (hit.cost !== undefined) integer("cost", hit.cost);
  if (hit.min !== undefined) integer("min", hit.min, 1);
  if (hit.at !== undefined) integer("at", hit.at, 0);
  if (hit.id !== undefined && new TextEncoder().encode(text("id", hit.id)).length > 64) throw wrong("id", "1 to 64 bytes", hit.id);
  const { retry = 0 } = hit;
  if (integer("retry", retry, 0) > 10) throw wrong("retry", "an integer of 0 to 10", retry);
  if (retry > 0 && hit.id === undefined) {
    throw new TypeError("retry: expected an id with it: without one a hit whose answer was lost would be charged again");
  }
  if (hit.next !== undefined) flag("next", hit.next);
  return hit;
}

export const costWords = (cost = 1): string[] => (cost === 1 ? [] : ["COST", String(cost)]);

export const nextWords = (next: boolean): string[] => (next ? ["NEXT"] : []);

export const blockWords = ({ block }: Plan): string[] => (block.length === 0 ? [] : ["BLOCK", ...block]);

export const policyWords = (plan: Plan, hit: HitOptions): string[] =>
  (hit.policy === undefined ? plan.policy : policies(hit.policy)).flatMap((name) => ["POLICY", name]);

/** DENY takes the rest of the line. */
export const denyWords = (deny: Deny | undefined): string[] => {
  if (deny === undefined) return [];
  members("deny", deny, ["list", "values"]);
  return ["DENY", text("deny.list", deny.list), ...deny.values.map((value, index) => text(`deny.values[${index}]`, value))];
};
