// Who was told to come back in 900 s is told so by this process until then, and costs no round trip. Only denials are
// kept; what is allowed is always counted by the server.

import { integer, members } from "./check.js";
import type { BlockedCacheOptions } from "./options.js";
import type { Numbers, Verdict, Writable } from "./verdict.js";

interface Entry {
  readonly since: number;
  readonly until: number;
  readonly cost: number;
  readonly verdict: Verdict;
}

const left = (ms: number, age: number): number => (ms < 0 ? ms : Math.max(0, Math.ceil(ms - age)));

function aged<T extends Numbers>(one: T, age: number): T {
  const copy: Writable<T> = { ...one };
  copy.retryAfterMs = left(one.retryAfterMs, age);
  copy.resetAfterMs = left(one.resetAfterMs, age);
  if (one.nextAfterMs !== undefined) copy.nextAfterMs = left(one.nextAfterMs, age);
  return copy;
}

/** What a verdict says that is so many ms old. */
export function agedVerdict(verdict: Verdict, age: number): Verdict {
  const copy: Writable<Verdict> = aged(verdict, age);
  copy.limits = verdict.limits.map((one) => aged(one, age));
  return copy;
}

export class BlockedCache {
  readonly #entries = new Map<string, Entry>(); // the oldest first
  readonly #maxEntries: number;
  readonly #maxMs: number;

  constructor(options: BlockedCacheOptions) {
    members("blockedCache", options, ["maxEntries", "maxMs"]);
    this.#maxEntries = integer("blockedCache.maxEntries", options.maxEntries ?? 10_000, 1);
    this.#maxMs = integer("blockedCache.maxMs", options.maxMs ?? 60_000, 1);
  }

  find(key: string, cost: number, force: boolean): Verdict | undefined {
    const entry = this.#entries.get(key);
    if (!entry) return undefined;
    const now = performance.now();
    if (now >= entry.until) {
      this.#entries.delete(key);
      return undefined;
    }
    // A cost that does not fit is as good as denied for every greater one too.
    if (cost < entry.cost || force) return undefined;
    return agedVerdict(entry.verdict, now - entry.since);
  }

  learn(key: string, cost: number, force: boolean, since: number, verdict: Verdict): void {
    if (cost < 0) this.#entries.delete(key); // something was given back
    // An error tells nothing, nor does what an earlier hit was told; a deny list blames another value than the key.
    if (verdict.allowed || verdict.error || verdict.local || verdict.repeated || verdict.deniedValue !== undefined || cost <= 0 || force) return;
    const oldest = this.#entries.keys().next();
    if (this.#entries.size >= this.#maxEntries && !oldest.done) this.#entries.delete(oldest.value);
    const waitMs = verdict.retryAfterMs < 0 ? this.#maxMs : Math.min(verdict.retryAfterMs, this.#maxMs);
    this.#entries.set(key, { since, until: since + waitMs, cost, verdict });
  }

  forget(key: string): void {
    this.#entries.delete(key);
  }
}
