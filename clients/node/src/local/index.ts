// `ratelimit-client/local` where there is no file system: the engine's file is fetched from beside this one, as browsers do and
// bundlers see to. Where that is not allowed, the application passes it as `module`.

import { provideEngine } from "../fallback.js";
import { engineWith, type LocalEngine, type LocalEngineOptions } from "./engine.js";

export { EngineStopped, type LocalEngine, type LocalEngineOptions } from "./engine.js";

let compiled: Promise<WebAssembly.Module> | undefined;

const load = (): Promise<WebAssembly.Module> =>
  (compiled ??= fetch(new URL("./engine.wasm", import.meta.url))
    .then((response) => response.arrayBuffer())
    .then((bytes) => WebAssembly.compile(bytes)));

/** The module's own commands in this process: see `node.ts`. */
export const localEngine = (options: LocalEngineOptions = {}): LocalEngine => engineWith(load, options);

provideEngine(localEngine);
