// What a token permits. An edge charges, looks and releases, and only keys of its prefix, wherever a command names one.
// Administration (policies, deny lists, statistics, resets, other keys) is another token's.

import { text } from "../check.js";

/** Where a command has its keys. */
type KeysOf = (words: readonly string[]) => readonly (string | undefined)[];

const first: KeysOf = ([, key]) => [key];
const all: KeysOf = ([, ...keys]) => keys;
const none: KeysOf = () => [];
const afterAlgorithm: KeysOf = ([, , key]) => [key];
/** A number of keys, as the server reads one: it refuses all others, and so there are no keys in such a call. */
const numbered: KeysOf = ([, count = "", ...words]) => (/^[1-9]\d?$/.test(count) ? words.slice(0, Number(count)) : []);

/** An edge's. Their replies are small, so they may come in transactions too. */
const CHARGING: Record<string, KeysOf> = {
  "RL.FIXED": first,
  "RL.SLIDING": first,
  "RL.BUCKET": first,
  "RL.LEASE": first,
  "RL.RELEASE": first,
  "RL.PEEK": afterAlgorithm,
  "RL.ALL": numbered,
  "RL.PEEKALL": numbered,
};
const SMALL: Record<string, KeysOf> = { DEL: all, UNLINK: all, EXISTS: all, GET: first, SET: first, "RL.RESET": first, "RL.BLOCK": first };
const ADMINISTERING: Record<string, KeysOf> = { "RL.INFO": first, "RL.POLICY": none, "RL.DENY": none, "RL.STATS": none };
const KNOWN: Record<string, KeysOf> = { ...CHARGING, ...SMALL, ...ADMINISTERING };

/** What an edge's token may send. */
export const EDGE_COMMANDS: readonly string[] = Object.keys(CHARGING);
/** What an administrator's token may send. */
export const ADMIN_COMMANDS: readonly string[] = [...EDGE_COMMANDS, "DEL", "RL.RESET", "RL.BLOCK", ...Object.keys(ADMINISTERING)];

/** ASCII alone: "ſ" is an upper-case S too. */
const upper = (name: string): string => name.replace(/[a-z]/g, (letter) => letter.toUpperCase());

export type Role = "edge" | "admin";

export interface Permission {
  /** Why it may not be sent, or undefined. */
  refuses(role: Role, words: readonly string[], inTransaction: boolean): string | undefined;
  /** The key that decides on the node of a cluster. */
  keyOf(words: readonly string[]): string;
}

/** `allow`: what an edge may send besides. */
export function permission(prefix: string, allow: readonly string[]): Permission {
  const further = allow.map((name, index) => {
    const known = upper(text(`allow[${index}]`, name));
    if (!Object.hasOwn(KNOWN, known)) throw new TypeError(`allow[${index}]: expected one of ${Object.keys(KNOWN).join(", ")}, got "${name}"`);
    return known;
  });
  const may: Record<Role, ReadonlySet<string>> = {
    edge: new Set([...EDGE_COMMANDS, ...further]),
    admin: new Set([...ADMIN_COMMANDS, ...further]),
  };
  return {
    refuses(role, words, inTransaction) {
      const name = upper(words[0] ?? "");
      if (!may[role].has(name)) {
        return may.admin.has(name) ? "NOPERM this command needs the token of an administrator" : "NOPERM this command is not allowed here";
      }
      if (inTransaction && Object.hasOwn(ADMINISTERING, name)) return "NOPERM this command is not allowed in a transaction";
      if (role === "admin") return undefined;
      const isForeign = (KNOWN[name] as KeysOf)(words).some((key) => key !== undefined && !key.startsWith(prefix));
      return isForeign ? `NOPERM allowed are keys that start with '${prefix}'` : undefined;
    },
    keyOf: (words) => (KNOWN[upper(words[0] ?? "")] ?? none)(words)[0] ?? "",
  };
}
