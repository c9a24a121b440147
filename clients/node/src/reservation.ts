// LLM tokens and the like: an estimate is charged before the call, and settled with what was really used. What is never
// settled stays charged as estimated, so a crash, an abort or a lost count gives nothing away.

import type { Verdict } from "./verdict.js";

const isAmount = (used: number | undefined): used is number => used !== undefined && Number.isFinite(used) && used >= 0;

/** An estimate that was charged, to be settled with what was used. */
export class Reservation {
  /** Whether the estimate was let through. */
  readonly allowed: boolean;
  /** The reservation's; once it is settled, the settlement's, with what is left then. */
  verdict: Verdict;
  readonly estimate: number;
  readonly #charge: (cost: number, at: number) => Promise<Verdict>;
  readonly #onError: (error: Error) => void;
  #counted: number | undefined;
  #settled: Promise<Verdict> | undefined;

  constructor(
    verdict: Verdict,
    estimate: number,
    charge: (cost: number, at: number) => Promise<Verdict>,
    onError: (error: Error) => void,
  ) {
    this.allowed = verdict.allowed;
    this.verdict = verdict;
    this.estimate = estimate;
    this.#charge = charge;
    this.#onError = onError;
  }

  /** What has been used so far: known even if the rest fails. `undefined` is not counted. */
  add(used: number | undefined): void {
    if (isAmount(used)) this.#counted = (this.#counted ?? 0) + used;
  }

  /**
   * Settles with `used`, or else with what was added; with neither the estimate stays charged. The first call counts.
   * Never throws and never rejects: the answer that was paid for must not be lost to an error here, which goes to
   * `onError`.
   */
  settle(used?: number): Promise<Verdict> {
    this.#settled ??= this.#settle(isAmount(used) ? used : this.#counted);
    return this.#settled;
  }

  async #settle(used: number | undefined): Promise<Verdict> {
    const at = this.verdict.chargedAt ?? 0;
    const difference = used === undefined ? 0 : Math.ceil(used) - this.estimate;
    if (at === 0 || difference === 0) return this.verdict; // nothing was charged, or all is right already
    try {
      // At the time of the reservation, so that it gives back what it took and nobody else's. What was spent is spent,
      // even beyond the limit.
      const settled = await this.#charge(difference, at);
      if (!settled.error) this.verdict = settled;
    } catch (error) {
      this.#onError(error instanceof Error ? error : new Error(String(error)));
    }
    return this.verdict;
  }

  /** Passes the chunks on, adds what each used, and settles when they end, fail or are no longer read. */
  async *iterate<T>(source: AsyncIterable<T>, tokensOf: (chunk: T) => number | undefined): AsyncGenerator<T, void, undefined> {
    try {
      for await (const chunk of source) {
        this.add(tokensOf(chunk));
        yield chunk;
      }
    } finally {
      await this.settle();
    }
  }

  /** As `iterate`, for a stream of the web. */
  stream<T>(source: ReadableStream<T>, tokensOf: (chunk: T) => number | undefined): ReadableStream<T> {
    const reader = source.getReader();
    return new ReadableStream<T>({
      pull: async (controller) => {
        try {
          const { done, value } = await reader.read();
          if (done) {
            await this.settle();
            controller.close();
            return;
          }
          this.add(tokensOf(value));
          controller.enqueue(value);
        } catch (error) {
          await this.settle();
          controller.error(error);
        }
      },
      cancel: async (reason) => {
        await this.settle();
        await reader.cancel(reason);
      },
    });
  }
}

/** An estimate, the call that it is for, and what that used. */
export interface SpendOptions<T> {
  /** The prompt's tokens, and the most that the answer may have. */
  readonly estimate: number;
  /** Asks the model. It may `add` to the reservation what is used on the way, which then counts if it fails. */
  readonly call: (reservation: Reservation) => Promise<T>;
  /** The usage that the model reports. */
  readonly used: (result: T) => number | undefined;
}

/** What came of a call under a budget. */
export type Spent<T> =
  | { readonly allowed: true; readonly result: T; readonly verdict: Verdict }
  | { readonly allowed: false; readonly result?: undefined; readonly verdict: Verdict };

/** Who reserves: a limiter. */
export interface Reserves {
  reserve(key: string, estimate: number): Promise<Reservation>;
}

/** Reserves, calls, settles. The model's own error is passed on; an error of settling is not. */
export async function spend<T>(limiter: Reserves, key: string, { estimate, call, used }: SpendOptions<T>): Promise<Spent<T>> {
  const reservation = await limiter.reserve(key, estimate);
  if (!reservation.allowed) return { allowed: false, verdict: reservation.verdict };
  let result: T;
  try {
    result = await call(reservation);
  } catch (error) {
    await reservation.settle();
    throw error;
  }
  let amount: number | undefined;
  try {
    amount = used(result);
  } catch {
    amount = undefined; // a report of another form than expected: the estimate stays
  }
  return { allowed: true, result, verdict: await reservation.settle(amount) };
}
