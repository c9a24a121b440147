// Many hits of one key in one turn of the event loop become one command: COST n MIN 1. What is granted is handed out in
// the order of the hits, and nobody is let in whom single commands would not have let in.

import { afterReading } from "./deadline.js";
import type { LimitState, Verdict, Writable } from "./verdict.js";

/** Asks for so many at once: what fits of them, at least one. */
type Ask = (key: string, count: number) => Promise<Verdict>;

/** The verdict of a hit that others of the same command came after: so many more were left. */
export function earlier(last: Verdict, later: number): Verdict {
  const verdict = before(last, later);
  verdict.limits = last.limits.map((one) => before(one, later));
  verdict.taken = 1;
  return verdict;
}

function before<T extends LimitState | Verdict>(one: T, later: number): Writable<T> {
  const copy: Writable<T> = { ...one };
  copy.remaining = Math.min(one.limit, one.remaining + later);
  return copy;
}

export class Coalescer {
  readonly #ask: Ask;
  #waiting = new Map<string, ((verdict: Verdict) => void)[]>();

  constructor(ask: Ask) {
    this.#ask = ask;
  }

  hit(key: string): Promise<Verdict> {
    return new Promise((resolve) => {
      if (this.#waiting.size === 0) afterReading(() => this.#flush());
      const waiting = this.#waiting.get(key);
      if (waiting) waiting.push(resolve);
      else this.#waiting.set(key, [resolve]);
    });
  }

  #flush(): void {
    const waiting = this.#waiting;
    this.#waiting = new Map();
    for (const [key, hits] of waiting) void this.#settle(key, hits);
  }

  async #settle(key: string, hits: readonly ((verdict: Verdict) => void)[]): Promise<void> {
    for (let done = 0, isPartial = false; done < hits.length; ) {
      // Those whom a grant left out ask as one: a denial of 1 has the times of each.
      const count: number = isPartial ? 1 : hits.length - done;
      const verdict = await this.#ask(key, count);
      const { allowed, error, taken } = verdict;
      if (error || (!allowed && count === 1)) {
        for (const hit of hits.slice(done)) hit(verdict);
        return;
      }
      for (let later = taken - 1; later >= 0; later--) hits[done++]?.(earlier(verdict, later));
      isPartial = taken < count;
    }
  }
}
