// Several keys with one command: a hit is charged to all of them, or to none.

import { members, wrong } from "./check.js";
import type { Limiter } from "./limiter.js";
import { asked, charged } from "./limiter.js";
import { blockWords, checked, costWords, denyWords, fullKey, metered, nextWords, policyWords, told, type Deny, type HitOptions } from "./options.js";
import { allVerdict, unavailable, type AllVerdict } from "./verdict.js";

/** One key of several, and what is taken of it. */
export interface Part {
  readonly limiter: Limiter;
  readonly key: string;
  readonly cost?: number;
  readonly policy?: string | readonly string[];
}

/** Options of one decision over several keys. */
export interface AllOptions {
  readonly force?: boolean;
  readonly stamp?: boolean;
  readonly at?: number;
  /** Ask when more becomes available. Default: where one of the limiters does. */
  readonly next?: boolean;
  readonly deny?: Deny;
}

async function ask(command: "RL.ALL" | "RL.PEEKALL", parts: readonly Part[], options: AllOptions): Promise<AllVerdict> {
  members(`options of ${command}`, options, ["force", "stamp", "at", "next", "deny"]);
  const [first] = parts;
  if (first === undefined || parts.length > 16) throw wrong("parts", "1 to 16 limiters with their keys", parts);
  const { force = false, stamp = false, at, deny, next = parts.some(({ limiter }) => limiter.plan.next) } = options;
  const hits: HitOptions[] = parts.map((part, index) => {
    const { cost, policy } = members(`parts[${index}]`, part, ["limiter", "key", "cost", "policy"]) as unknown as Part;
    return checked({ ...(cost === undefined ? {} : { cost }), ...(policy === undefined ? {} : { policy }), force, next });
  });
  const keys = parts.map(({ limiter, key }) => fullKey(limiter.plan, key));
  const clausesOf = (limits: (limiter: Limiter) => readonly string[]) => parts.flatMap(({ limiter, limiter: { plan } }, index) => [
    plan.algorithm,
    ...limits(limiter),
    ...costWords(hits[index]?.cost),
    ...policyWords(plan, hits[index] as HitOptions),
    ...blockWords(plan),
  ]);
  const said = [
    ...(force ? ["FORCE"] : []),
    ...(at === undefined ? [] : ["AT", String(at)]),
    ...(stamp ? ["STAMP"] : []),
    ...nextWords(next),
    ...denyWords(deny),
  ];
  const args = [command, String(keys.length), ...keys, ...clausesOf(({ plan }) => plan.limits), ...said];
  // One that is closed while Redis is away closes them all.
  const open = parts.every(({ limiter }) => limiter.reach.open);
  const { reach } = first.limiter;
  const asking = parts.map(({ limiter }, index) => asked(limiter.plan, hits[index] as HitOptions));
  const read = (reply: unknown) => allVerdict(reply, asking, { stamp, next, deny: deny !== undefined });
  const names = parts.map(({ limiter }) => limiter.plan.name).join("+");
  const { fallback } = first.limiter;
  if (fallback && parts.every(({ limiter }) => limiter.fallback === fallback)) {
    const local = [command, String(keys.length), ...keys, ...clausesOf(({ share }) => share), ...said];
    const closed = (error: Error) => ({ ...unavailable(error, false), keys: [] });
    const charges = (answer: AllVerdict) =>
      command === "RL.PEEKALL" ? [] : answer.keys.flatMap((one, index) => charged((parts[index] as Part).limiter.plan, keys[index] as string, { ...hits[index], at } as HitOptions, answer.chargedAt === undefined ? one : { ...one, chargedAt: answer.chargedAt }));
    return metered(reach, names, fallback.ask({ args, local, key: keys[0] as string, read, closed, charges }, reach, 0));
  }
  const failed = (error: Error) => ({ ...unavailable(told(reach, error), open), keys: [] });
  const answer = reach.connection.ask(args, keys[0] as string, reach.timeoutMs, read, failed);
  return metered(reach, names, answer);
}

/**
 * On a cluster the keys share a slot: `{user:1}:minute`, `{user:1}:tokens`. The first limiter's client is asked.
 *
 * @example
 * await hitAll([{ limiter: perIp, key: byIp(ip) }, { limiter: tokens, key: byUser(id), cost: 900 }]);
 */
export const hitAll = (parts: readonly Part[], options: AllOptions = {}): Promise<AllVerdict> => ask("RL.ALL", parts, options);

/** What `hitAll` would be answered now. Changes nothing. */
export const peekAll = (parts: readonly Part[], options: Pick<AllOptions, "next" | "deny"> = {}): Promise<AllVerdict> =>
  ask("RL.PEEKALL", parts, options);
