// `ratelimit-client/local` in Node, which reads the engine's file from beside this one.

import { readFile } from "node:fs/promises";
import { provideEngine } from "../fallback.js";
import { engineWith, type LocalEngine, type LocalEngineOptions } from "./engine.js";

export { EngineStopped, type LocalEngine, type LocalEngineOptions } from "./engine.js";

let compiled: Promise<WebAssembly.Module> | undefined;

const missing = (cause: unknown): never => {
  throw new Error("ratelimit-client has no engine.wasm: in a checkout `npm run build` puts it there", { cause });
};

const load = (): Promise<WebAssembly.Module> =>
  (compiled ??= readFile(new URL("./engine.wasm", import.meta.url)).catch(missing).then((bytes) => WebAssembly.compile(bytes)));

/**
 * The module's own commands in this process, without a server, each engine with keys and policies of its own: for tests, with a
 * clock that they move.
 *
 * @example
 * let now = Date.parse("2027-01-31T12:00:00Z");
 * const monthly = createLimiter({ client: localEngine({ now: () => now }), algorithm: "fixed", limits: { limit: 1000, window: "1mo" } });
 * now = Date.parse("2027-02-01T00:00:00Z"); // the month is over
 */
export const localEngine = (options: LocalEngineOptions = {}): LocalEngine => engineWith(load, options);

provideEngine(localEngine);
