// Units are taken ahead (COST n MIN 1 STAMP) and handed out from memory. What is not used within `holdMs` is given back
// AT the time of its charge. All that is handed out was charged by the server before, and no later than `holdMs` before:
// nothing is counted twice, or not at all.

import { agedVerdict } from "./blocked.js";
import { earlier } from "./coalesce.js";
import { Deadlines, Waiting } from "./deadline.js";
import type { PrefetchOptions } from "./options.js";
import type { Verdict } from "./verdict.js";

/** Takes so many units, as many as fit, at least one; its verdict has `chargedAt`. */
type Take = (key: string, units: number) => Promise<Verdict>;
/** Gives back so many of what was charged then. */
type GiveBack = (key: string, units: number, at: number) => Promise<void>;

/** What was taken of one key. */
class Held extends Waiting {
  override readonly isIdle = true; // the process need not live for it
  readonly #until: number;
  readonly #since: number;
  readonly #taken: Verdict;
  left: number;

  /** `since`: before the server decided, so that no unit is held for longer than it counts. */
  constructor(taken: Verdict, since: number, holdMs: number, override readonly expire: () => void) {
    super();
    this.#taken = taken;
    this.#since = since;
    // A fixed window ends, and with it what was taken of it; a bucket that is full again owes nothing. Times are rounded up.
    this.#until = since + Math.min(holdMs, ...taken.limits.map((limit) => limit.resetAfterMs - 1));
    this.left = taken.taken;
  }

  get chargedAt(): number {
    return this.#taken.chargedAt ?? 0;
  }

  isFresh(): boolean {
    return this.left > 0 && performance.now() < this.#until;
  }

  next(): Verdict {
    this.left -= 1;
    return earlier(agedVerdict(this.#taken, performance.now() - this.#since), this.left);
  }
}

export class Prefetcher {
  readonly #held = new Map<string, Held>();
  readonly #waiting = new Map<string, ((verdict: Verdict) => void)[]>();
  readonly #underWay = new Set<Promise<void>>();
  #isClosed = false;

  constructor(
    readonly options: Required<PrefetchOptions>,
    readonly take: Take,
    readonly giveBack: GiveBack,
  ) {}

  hit(key: string): Promise<Verdict> {
    if (this.#isClosed) return this.take(key, 1);
    const held = this.#held.get(key);
    if (held?.isFresh()) return Promise.resolve(held.next());
    if (held) this.#release(key, held);
    return new Promise((resolve) => {
      const waiting = this.#waiting.get(key);
      if (waiting) {
        waiting.push(resolve);
        return;
      }
      this.#waiting.set(key, [resolve]);
      this.#track(this.#fill(key));
    });
  }

  /** One command of a key at a time: whoever comes meanwhile waits for what it brings. */
  async #fill(key: string): Promise<void> {
    const { units, holdMs } = this.options;
    for (let waiting: ((verdict: Verdict) => void)[] | undefined; (waiting = this.#waiting.get(key))?.length; ) {
      const since = performance.now();
      const taken = await this.take(key, this.#isClosed ? 1 : units);
      if (!taken.allowed || taken.error) {
        for (const hit of waiting.splice(0)) hit(taken); // the wait is until one unit fits
        continue;
      }
      const held = new Held(taken, since, holdMs, () => this.#release(key, held));
      for (const hit of waiting.splice(0, held.left)) hit(held.next());
      if (held.left === 0) continue;
      this.#held.set(key, held);
      if (this.#isClosed || !held.isFresh()) this.#release(key, held);
      else Deadlines.of(holdMs).add(held);
    }
    this.#waiting.delete(key);
  }

  #release(key: string, held: Held): void {
    this.forget(key, held);
    const { left, chargedAt } = held;
    if (left <= 0 || chargedAt <= 0) return;
    held.left = 0;
    this.#track(this.giveBack(key, left, chargedAt));
  }

  #track(work: Promise<void>): void {
    const done: Promise<void> = work.finally(() => this.#underWay.delete(done));
    this.#underWay.add(done);
  }

  /** Of a key that is being shut, nothing is handed out any more. */
  shut(key: string): void {
    const held = this.#held.get(key);
    if (held) this.#release(key, held);
  }

  /** Of a key that is gone, nothing is given back. */
  forget(key: string, held = this.#held.get(key)): void {
    if (!held) return;
    held.list?.remove(held);
    if (this.#held.get(key) === held) this.#held.delete(key);
  }

  /** Gives back all that is held, and takes nothing ahead any more: each hit is a command. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const [key, held] of this.#held) this.#release(key, held);
    while (this.#underWay.size > 0) await Promise.all(this.#underWay);
  }
}
