// What a verdict hides is said: which limiter let whom through uncounted, and why. One line a second at most.

import { refusal } from "./client.js";
import { Unanswered } from "./connection.js";

/**
 * `timeout`: no answer within `timeoutMs`. `connection`: there is none, or it broke. `server`: Redis is there and cannot
 * (loading, memory full, a replica). `refused`: it does not understand or does not permit, or what answers is no such server;
 * somebody has to mend that.
 */
export type Reason = "timeout" | "connection" | "server" | "refused";

/** For metrics: one for each hit. */
export interface HitEvent {
  /** The limiter's name. */
  readonly limiter: string;
  /** `open` and `closed`: Redis was not asked, or did not answer, and `unavailable` decided. */
  readonly outcome: "allowed" | "denied" | "open" | "closed";
  readonly reason?: Reason;
  /** This process decided by itself (`unavailable: "local"`). */
  readonly local?: true;
  readonly durationMs: number;
}

export function reasonOf(error: Error): Reason {
  if (error instanceof Unanswered) return error.reason;
  if (refusal(error)) return "refused";
  return /^-?[A-Z]{2,} /.test(error.message) ? "server" : "connection";
}

/** The default of `onError`: of many alike within a second, one line. */
export function logger(name: string): (error: Error) => void {
  let next = Number.NEGATIVE_INFINITY;
  let kept = 0;
  return (error) => {
    const now = performance.now();
    if (now < next) {
      kept += 1;
      return;
    }
    const alike = kept === 0 ? "" : ` (and ${kept} more since the last line)`;
    kept = 0;
    next = now + 1000;
    console.error(`rate limiter "${name}": ${reasonOf(error)}: ${error.message}${alike}`);
  };
}

/** A hook of the application's that throws must not turn into a failed hit. */
export function guarded<A extends unknown[]>(hook: (...args: A) => unknown): (...args: A) => void {
  return (...args) => {
    try {
      hook(...args);
    } catch (error) {
      console.error("rate limiter: a hook has thrown:", error);
    }
  };
}
