// For administrators and dashboards: policies, deny lists, statistics, and what a key holds. Unlike a hit, these reject
// where Redis is away (`Unanswered`) or refuses (`RefusedError`). In a cluster all primaries are asked.

import { fixedWindow, integer, members, oneOf, span, text, wrong } from "./check.js";
import { refusal, type Client } from "./client.js";
import { Connection } from "./connection.js";
import type { BucketLimit, Duration, FixedLimit, SlidingLimit } from "./options.js";
import { entriesOf, integerOf, listOf, mergedRows, mergedRecent, mergedTop, textOf, type Recent, type Row, type Top } from "./admin-replies.js";

/** What administration is made of. */
export interface AdminOptions {
  /** As `createLimiter` takes it. */
  readonly client: Client;
  /** How long Redis may take to answer, in ms. Default 1000. */
  readonly timeoutMs?: number;
}

/** The limit of a leaser: so many at once, each for a ttl. */
export interface LeaseLimit {
  readonly limit: number;
  readonly ttl: Duration;
}

type OneOrMore<T> = T | readonly T[];

/** Limits under a name, which replace those of the calls that name it. */
export type Policy =
  | { readonly algorithm: "fixed"; readonly limits: OneOrMore<FixedLimit> }
  | { readonly algorithm: "sliding"; readonly limits: OneOrMore<SlidingLimit> }
  | { readonly algorithm: "bucket"; readonly limits: OneOrMore<BucketLimit> }
  | { readonly algorithm: "lease"; readonly limits: LeaseLimit };

/** A policy as it is in force; without limits where only a shadow stands. */
export type PolicyState = (Policy | { readonly algorithm?: never; readonly limits?: never }) & {
  /** Of one with a TTL, what is left of it. */
  readonly endsAfterMs?: number;
  /** Of one with a TTL, what is back when it ends; undefined where there is nothing. */
  readonly lasting?: Policy;
  /** One that is tried beside it: judged and counted, and never binding. */
  readonly shadow?: Policy & { readonly endsAfterMs?: number };
  /** How many hits of another algorithm have passed it over since the server began. */
  readonly mismatches?: number;
};

const ALGORITHMS = ["fixed", "sliding", "bucket", "lease"] as const;
const FIELDS = { fixed: ["limit", "window"], sliding: ["limit", "window"], bucket: ["capacity", "refill", "interval"], lease: ["limit", "ttl"] };

function policyWords(policy: Policy): string[] {
  const { algorithm, limits } = members("policy", policy, ["algorithm", "limits"]);
  const names = FIELDS[oneOf("policy.algorithm", algorithm, ALGORITHMS)];
  const each = Array.isArray(limits) ? limits : [limits];
  if (each.length < 1 || each.length > 8) throw wrong("policy.limits", "1 to 8 limits", limits);
  const words = each.flatMap((one, index) => {
    const at = `policy.limits[${index}]`;
    const fields = members(at, one, names);
    return names.map((name, place) => {
      const isSpan = place === names.length - 1;
      if (isSpan) return (algorithm === "fixed" ? fixedWindow : span)(`${at}.${name}`, fields[name]);
      return String(integer(`${at}.${name}`, fields[name], name === "refill" ? 1 : 0));
    });
  });
  return [String(algorithm).toUpperCase(), ...words];
}

/**
 * `["fixed", "30", "1d", "TTL", "5000ms", <the lasting one's, or null>, "SHADOW", ["fixed", "20", "1d"], "MISMATCHES", 1]`;
 * a shadow's own TTL is followed by nothing, and where only a shadow stands it begins with SHADOW.
 */
function policyOf(reply: unknown): PolicyState {
  const words = listOf(reply);
  const state: Record<string, unknown> = {};
  let next = 0;
  if (textOf(words[0]) !== "SHADOW") next = readLimits(words, state);
  for (; next < words.length; next += 2) {
    const word = textOf(words[next]);
    const value = words[next + 1];
    if (word === "TTL") {
      state["endsAfterMs"] = integerOf(textOf(value).replace(/ms$/, ""));
      const lasting = words[++next + 1];
      if (lasting !== null && lasting !== undefined) state["lasting"] = policyOf(lasting);
    } else if (word === "SHADOW") state["shadow"] = policyOf(value);
    else if (word === "MISMATCHES") state["mismatches"] = integerOf(value);
  }
  return state as unknown as PolicyState;
}

/** How many words they took. */
function readLimits(words: readonly unknown[], state: Record<string, unknown>): number {
  const algorithm = oneOf("algorithm", textOf(words[0]), ALGORITHMS);
  const names = FIELDS[algorithm];
  const limits: Record<string, number | string>[] = [];
  let next = 1;
  for (; next < words.length && /^\d/.test(textOf(words[next])); next += names.length) {
    const fields = names.map((name, place) => [name, place === names.length - 1 ? textOf(words[next + place]) : integerOf(words[next + place])]);
    limits.push(Object.fromEntries(fields) as Record<string, number | string>);
  }
  state["algorithm"] = algorithm;
  state["limits"] = limits.length === 1 ? limits[0] : limits;
  return next;
}

/** What was allowed and denied since the counting began. */
export interface Counts {
  readonly allowed: number;
  readonly denied: number;
  readonly denyListed: number;
  /** Let through, and a policy that is tried would have denied it. */
  readonly shadowDenied: number;
}

/** What was counted under a name (RL.STATS). */
export interface Statistics extends Counts {
  /** The identifiers that were most allowed and denied; without a name, of the hits that named no policy. */
  readonly mostAllowed: readonly Top[];
  readonly mostDenied: readonly Top[];
  /** Those that a policy which is tried would have denied most. */
  readonly mostShadowDenied: readonly Top[];
  /** Who of them was lately, most first. Empty where the server, of 0.1, does not tell. */
  readonly recentlyAllowed: readonly Recent[];
  readonly recentlyDenied: readonly Recent[];
  readonly recentlyShadowDenied: readonly Recent[];
  /** The last 8 days by the hour. */
  readonly hours: readonly Row[];
  /** The last 90 days. */
  readonly days: readonly Row[];
}

/** What was counted under all names together. */
export interface TotalStatistics extends Statistics {
  readonly algorithms: Readonly<Record<"fixed" | "sliding" | "bucket" | "lease", Counts>>;
  /** The names that have statistics of their own. */
  readonly names: readonly string[];
  /** Only with the right to RL.DENY ENTRIES. */
  readonly mostDenyListed: readonly Top[];
  /** The same. */
  readonly recentlyDenyListed: readonly Recent[];
}

const COUNTS = { allowed: "allowed", denied: "denied", deny_listed: "denyListed", shadow_denied: "shadowDenied" } as const;

function countsOf(replies: readonly Map<string, unknown>[]): Counts {
  const sum = (name: string) => replies.reduce((sum, reply) => sum + integerOf(reply.get(name) ?? 0), 0);
  return Object.fromEntries(Object.entries(COUNTS).map(([name, own]) => [own, sum(name)])) as unknown as Counts;
}

function statisticsOf(replies: readonly Map<string, unknown>[]): Statistics {
  const each = (name: string) => replies.map((reply) => reply.get(name) ?? []);
  return {
    ...countsOf(replies),
    mostAllowed: mergedTop(each("most_allowed")),
    mostDenied: mergedTop(each("most_denied")),
    mostShadowDenied: mergedTop(each("most_shadow_denied")),
    recentlyAllowed: mergedRecent(each("recently_allowed")),
    recentlyDenied: mergedRecent(each("recently_denied")),
    recentlyShadowDenied: mergedRecent(each("recently_shadow_denied")),
    hours: mergedRows(each("hours")),
    days: mergedRows(each("days")),
  };
}

/** What a key holds of one limit. */
export interface KeyLimit {
  readonly limit: number;
  /** A bucket has `refill` and `interval`, a lease `ttl`. */
  readonly window?: string;
  readonly refill?: number;
  readonly interval?: string;
  readonly ttl?: string;
  readonly used: number;
  readonly remaining: number;
  readonly resetAfterMs: number;
}

/** What a key holds (RL.INFO). */
export interface KeyInfo {
  readonly algorithm: "fixed" | "sliding" | "bucket" | "lease";
  readonly limits: readonly KeyLimit[];
  readonly leases?: readonly { readonly id: string; readonly cost: number; readonly endsAfterMs: number }[];
  /** Shut until then, for the nth time. */
  readonly block?: { readonly leftMs: number; readonly nth?: number };
  /** Shut by RL.BLOCK until then. */
  readonly blockByOrder?: { readonly leftMs: number };
}

const camel = (name: string): string => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());

/** Maps of RESP2 and RESP3 as objects, whatever a newer server adds. */
function objectOf(value: unknown, lists: readonly string[] = []): Record<string, unknown> {
  const pairs = [...entriesOf(value)].map(([name, one]): [string, unknown] => {
    if (lists.includes(name)) return [camel(name), listOf(one).map((item) => objectOf(item))];
    return [camel(name), name === "block" || name === "block_by_order" ? objectOf(one) : one instanceof Uint8Array ? textOf(one) : one];
  });
  return Object.fromEntries(pairs);
}

/** Administration: policies, deny lists, statistics and what a key holds. Its calls reject where Redis is away. */
export class Admin {
  readonly #connection: Connection;
  readonly #timeoutMs: number;

  constructor(options: AdminOptions) {
    members("admin", options, ["client", "timeoutMs"]);
    this.#timeoutMs = integer("timeoutMs", options.timeoutMs ?? 1000, 1);
    this.#connection = Connection.of(options.client);
  }

  #ask<T>(args: string[], key: string | undefined, read: (reply: unknown) => T): Promise<T> {
    return this.#connection.ask(args, key, this.#timeoutMs, read, (error) => {
      throw refusal(error) ?? error;
    });
  }

  /** Of every primary. */
  #each<T>(args: string[], read: (replies: readonly unknown[]) => T): Promise<T> {
    return this.#ask(args, undefined, (replies) => read(replies as unknown[]));
  }

  /** The largest count that a primary answers: all of them hold the same. */
  readonly #most = (replies: readonly unknown[]): number => Math.max(...replies.map(integerOf));

  #put(verb: "SET" | "SHADOW", name: string, policy: Policy, options: { readonly ttl?: Duration }): Promise<void> {
    const { ttl } = members("options of a policy", options, ["ttl"]);
    return this.#each(["RL.POLICY", verb, text("name", name), ...policyWords(policy), ...(ttl === undefined ? [] : ["TTL", span("ttl", ttl)])], () => undefined);
  }

  /** RL.POLICY */
  readonly policies = {
    /** For all clients from the next hit on. With a ttl it stands in front of the lasting one, which is back when it ends. */
    set: async (name: string, policy: Policy, options: { readonly ttl?: Duration } = {}): Promise<void> => this.#put("SET", name, policy, options),
    /** Tries a policy beside the one of that name: judged and counted at every hit, and never binding. Not of leases. */
    shadow: async (name: string, policy: Policy, options: { readonly ttl?: Duration } = {}): Promise<void> => this.#put("SHADOW", name, policy, options),
    /** Whether one was tried. */
    endShadow: async (name: string): Promise<boolean> => this.#each(["RL.POLICY", "SHADOW", text("name", name), "OFF"], (replies) => this.#most(replies) === 1),
    get: async (name: string): Promise<PolicyState | undefined> =>
      this.#each(["RL.POLICY", "GET", text("name", name)], ([reply]) => (reply === null || reply === undefined ? undefined : policyOf(reply))),
    /** How many there were. */
    delete: async (...names: readonly string[]): Promise<number> => this.#each(["RL.POLICY", "DEL", ...names.map((name) => text("name", name))], this.#most),
    list: async (): Promise<Map<string, PolicyState>> =>
      this.#each(["RL.POLICY", "LIST"], ([reply]) => new Map([...entriesOf(reply)].map(([name, words]) => [name, policyOf(words)]))),
  };

  /** RL.DENY */
  readonly denyLists = {
    /** Addresses, networks, or any text. How many are new. */
    add: async (list: string, values: readonly string[], options: { readonly ttl?: Duration } = {}): Promise<number> => {
      const { ttl } = members("options of a deny list", options, ["ttl"]);
      return this.#each(["RL.DENY", "ADD", text("list", list), ...values, ...(ttl === undefined ? [] : ["TTL", span("ttl", ttl)])], this.#most);
    },
    /** How many there were. */
    delete: async (list: string, values: readonly string[]): Promise<number> => this.#each(["RL.DENY", "DEL", text("list", list), ...values], this.#most),
    /** Of each value, whether it is denied, by a network too. */
    has: async (list: string, values: readonly string[]): Promise<boolean[]> =>
      this.#each(["RL.DENY", "HAS", text("list", list), ...values], ([reply]) => listOf(reply).map((one) => integerOf(one) === 1)),
    /** Walks a list; each value with what is left of its TTL in ms, undefined where it has none. */
    entries: (list: string): AsyncGenerator<readonly [value: string, endsAfterMs: number | undefined]> => this.#entries(text("list", list)),
    /** How many values each list has. */
    list: async (): Promise<Map<string, number>> =>
      this.#each(["RL.DENY", "LIST"], ([reply]) => new Map([...entriesOf(reply)].map(([name, count]) => [name, integerOf(count)]))),
    rename: async (list: string, newName: string): Promise<void> => this.#each(["RL.DENY", "RENAME", text("list", list), text("newName", newName)], () => undefined),
    /** Whether there was one. */
    drop: async (list: string): Promise<boolean> => this.#each(["RL.DENY", "DROP", text("list", list)], (replies) => this.#most(replies) === 1),
  };

  async *#entries(list: string): AsyncGenerator<readonly [string, number | undefined]> {
    let cursor = "0";
    do {
      const [next, values] = await this.#each(["RL.DENY", "ENTRIES", list, cursor, "COUNT", "1000"], ([reply]) => listOf(reply));
      for (const [value, left] of entriesOf(values)) yield [value, integerOf(left) < 0 ? undefined : integerOf(left)];
      cursor = textOf(next);
    } while (cursor !== "0");
  }

  /** RL.STATS. Of a cluster, the sum of its primaries. */
  readonly statistics = {
    total: async (): Promise<TotalStatistics> =>
      this.#each(["RL.STATS", "GET"], (replies) => {
        const maps = replies.map(entriesOf);
        const of = (name: string) => maps.map((map) => map.get(name) ?? []);
        const algorithms = of("algorithms").map(entriesOf);
        return {
          ...statisticsOf(maps),
          algorithms: Object.fromEntries(ALGORITHMS.map((name) => [name, countsOf(algorithms.map((map) => entriesOf(map.get(name) ?? [])))])) as unknown as TotalStatistics["algorithms"],
          names: [...new Set(of("names").flatMap((names) => listOf(names).map(textOf)))].sort(),
          mostDenyListed: mergedTop(of("most_deny_listed")),
          recentlyDenyListed: mergedRecent(of("recently_deny_listed")),
        };
      }),
    /** Of the hits that named it last; undefined where there were none. */
    get: async (name: string): Promise<Statistics | undefined> =>
      this.#each(["RL.STATS", "GET", text("name", name)], (replies) => {
        const found = replies.filter((reply) => reply !== null && reply !== undefined).map(entriesOf);
        return found.length === 0 ? undefined : statisticsOf(found);
      }),
    /** Forgets what was counted under a name, or everything. */
    reset: async (name?: string): Promise<void> => this.#each(["RL.STATS", "RESET", ...(name === undefined ? [] : [text("name", name)])], () => undefined),
  };

  /** RL.INFO: what a key holds, undefined where there is none. The key is the whole one, with a limiter's prefix. */
  async info(key: string): Promise<KeyInfo | undefined> {
    return this.#ask(["RL.INFO", text("key", key)], key, (reply) => (reply === null || reply === undefined ? undefined : (objectOf(reply, ["limits", "leases"]) as unknown as KeyInfo)));
  }
}

/** @example const admin = createAdmin({ client }); await admin.policies.set("login", { algorithm: "sliding", limits: { limit: 3, window: "15m" } }); */
export const createAdmin = (options: AdminOptions): Admin => new Admin(options);
