// Their clock that stands still is the real one: a limit is the server's, and it waits for as long as they say. Where they go on by
// minutes, to be past what another test has used, it is past that: no window that they wait for is longer than this.

import { vi } from "vitest";

const LONGEST_MS = 11_000;
const sleep = (ms) => (Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Math.min(ms, LONGEST_MS)), vi);
Object.assign(vi, {
  useFakeTimers: () => vi,
  advanceTimersByTime: sleep,
  runAllTimers: () => vi,
  setTimeout: (ms) => vi.setConfig({ testTimeout: ms }),
});
globalThis.jest = vi;
