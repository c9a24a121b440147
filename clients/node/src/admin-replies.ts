// The replies of an administrator's commands, by RESP2 and RESP3 alike; of several primaries as one.

import { RefusedError } from "./client.js";

const unread = (reply: unknown): RefusedError => new RefusedError(`not a reply of RL.*: ${JSON.stringify(reply)}`, "ERR", undefined);

export const textOf = (value: unknown): string => (value instanceof Uint8Array ? new TextDecoder().decode(value) : String(value));

export function integerOf(value: unknown): number {
  const number = typeof value === "number" ? value : Number(textOf(value));
  if (!Number.isInteger(number)) throw unread(value);
  return number;
}

export function listOf(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw unread(value);
  return value as unknown[];
}

/** A map of RESP3, or names and values by turns. */
export function entriesOf(value: unknown): Map<string, unknown> {
  if (value instanceof Map) return new Map([...value].map(([name, one]) => [textOf(name), one]));
  if (typeof value === "object" && value !== null && !Array.isArray(value)) return new Map(Object.entries(value));
  const items = listOf(value);
  return new Map(Array.from({ length: items.length >> 1 }, (_, i) => [textOf(items[2 * i]), items[2 * i + 1]]));
}

/** One of those that were counted most. */
export interface Top {
  readonly id: string;
  readonly count: number;
  /** At most so many of them are not its own. */
  readonly error: number;
}

export const mergedTop = (lists: readonly unknown[]): Top[] =>
  [...sums(lists)].map(([id, [count, error]]) => ({ id, count, error })).sort((a, b) => b.count - a.count);

/** One of those that were counted most, and lately: how often in this hour of the clock, and in the one before it. */
export interface Recent {
  readonly id: string;
  readonly thisHour: number;
  readonly hourBefore: number;
}

export const mergedRecent = (lists: readonly unknown[]): Recent[] =>
  [...sums(lists)]
    .map(([id, [thisHour, hourBefore]]) => ({ id, thisHour, hourBefore }))
    .sort((a, b) => b.thisHour + b.hourBefore - (a.thisHour + a.hourBefore));

/** Of each identifier its two numbers. */
function sums(lists: readonly unknown[]): Map<string, [number, number]> {
  const all = new Map<string, [number, number]>();
  for (const item of lists.flatMap(listOf)) {
    const [name, first, second] = listOf(item);
    const known = all.get(textOf(name)) ?? [0, 0];
    all.set(textOf(name), [known[0] + integerOf(first), known[1] + integerOf(second)]);
  }
  return all;
}

/** One hour, or one day. */
export interface Row {
  /** When it began, in Unix seconds. */
  readonly start: number;
  readonly allowed: number;
  readonly denied: number;
  readonly denyListed: number;
  /** Let through, and a policy that is tried would have denied it. */
  readonly shadowDenied: number;
}

export function mergedRows(lists: readonly unknown[]): Row[] {
  const all = new Map<number, Row>();
  for (const item of lists.flatMap(listOf)) {
    const [start = 0, allowed = 0, denied = 0, denyListed = 0, shadowDenied = 0] = listOf(item).map(integerOf);
    const known = all.get(start);
    all.set(start, {
      start,
      allowed: allowed + (known?.allowed ?? 0),
      denied: denied + (known?.denied ?? 0),
      denyListed: denyListed + (known?.denyListed ?? 0),
      shadowDenied: shadowDenied + (known?.shadowDenied ?? 0),
    });
  }
  return [...all.values()].sort((a, b) => a.start - b.start);
}
