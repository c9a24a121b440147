/** For as long as asked, never less; rejects with the signal's reason where it is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const end = performance.now() + ms;
    let timer: ReturnType<typeof setTimeout>;
    const abort = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    // A timer may fire a little early, and cannot be set for more than 2^31 - 1 ms.
    const next = () => {
      const left = end - performance.now();
      if (left > 0) {
        timer = setTimeout(next, Math.min(Math.ceil(left), 2 ** 31 - 1));
        return;
      }
      signal?.removeEventListener("abort", abort);
      resolve();
    };
    signal?.addEventListener("abort", abort, { once: true });
    next();
  });
}

/** About so long, and no process stays alive for it. */
export const rest = (ms: number): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    (timer as { unref?(): void }).unref?.();
  });
