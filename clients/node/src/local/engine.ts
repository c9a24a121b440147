// The engine: WebAssembly that answers the module's commands in this process. What goes in are words and a time, what comes out
// is RESP2, as of a server.

import { integer, members, wrong } from "../check.js";

/** What an engine in your own process is made of. */
export interface LocalEngineOptions {
  /** The time, in Unix ms: a test's own, that it moves as it likes. Default: `Date.now`. */
  readonly now?: () => number;
  /**
   * The most keys that are kept. When it is full, keys that have expired make room; where none has, a hit on a new key is refused.
   * Default 100,000, which take some 30 MB.
   */
  readonly maxKeys?: number;
  /** The engine's file as your bundler or platform gives it, where nothing may be read or compiled, as at some edges: `engine.wasm`. */
  readonly module?: WebAssembly.Module;
}

/** A client of an engine, as limiters take it: a function that runs a command. */
export interface LocalEngine {
  (args: readonly string[]): Promise<unknown>;
  /** The same, at once. Throws where no call has been answered yet, and so nothing is loaded. */
  readonly sync: (args: readonly string[]) => unknown;
}

/** The engine has met a fault of its own and answers no more: what it has counted is not to be trusted. */
export class EngineStopped extends Error {
  override readonly name = "EngineStopped";
}

/** The file's exports; `engine/src/wasm.rs` says what they do. */
interface Exports {
  readonly memory: WebAssembly.Memory;
  ratelimit_start(maxKeys: number, a: number, b: number, c: number, d: number): void;
  ratelimit_request(bytes: number): number;
  ratelimit_call(nowMs: number): number;
  ratelimit_reply(): number;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** An instance of the engine, ready. */
export class Instance {
  readonly #exports: Exports;
  #stopped: EngineStopped | undefined;

  private constructor(exports: Exports, maxKeys: number) {
    this.#exports = exports;
    const [a = 0, b = 0, c = 0, d = 0] = crypto.getRandomValues(new Uint32Array(4));
    exports.ratelimit_start(maxKeys, a, b, c, d);
  }

  static async of(module: WebAssembly.Module, maxKeys: number): Promise<Instance> {
    const { exports } = await WebAssembly.instantiate(module, {});
    return new Instance(exports as unknown as Exports, maxKeys);
  }

  /** Runs a command. Throws what a server would answer as an error. */
  call(args: readonly string[], nowMs: number): unknown {
    if (this.#stopped) throw this.#stopped;
    const words = args.map((word) => encoder.encode(word));
    const bytes = words.reduce((sum, word) => sum + 4 + word.length, 0);
    let reply: Uint8Array;
    try {
      const engine = this.#exports;
      let at = engine.ratelimit_request(bytes);
      if (at === 0) throw new RangeError(`ERR a command of ${bytes} bytes: expected at most 4194304`);
      const memory = new Uint8Array(engine.memory.buffer);
      const view = new DataView(engine.memory.buffer);
      for (const word of words) {
        view.setUint32(at, word.length, true);
        memory.set(word, at + 4);
        at += 4 + word.length;
      }
      const length = engine.ratelimit_call(nowMs);
      reply = new Uint8Array(engine.memory.buffer, engine.ratelimit_reply(), length); // the memory may have grown, and moved
    } catch (error) {
      if (error instanceof RangeError && error.message.startsWith("ERR ")) throw error;
      this.#stopped = new EngineStopped("the engine in this process has stopped", { cause: error });
      throw this.#stopped;
    }
    return new Reader(reply).value();
  }
}

/** RESP2, of which the engine writes whole replies. */
class Reader {
  #at = 0;
  constructor(readonly bytes: Uint8Array) {}

  value(): unknown {
    const kind = this.bytes[this.#at];
    const text = this.#line();
    if (kind === 0x3a) return Number(text); // :
    if (kind === 0x2b) return text; // +
    if (kind === 0x2d) throw new Error(text); // -
    const length = Number(text);
    if (length < 0) return null;
    if (kind === 0x2a) return Array.from({ length }, () => this.value()); // *
    const start = this.#at; // $
    this.#at += length + 2;
    return decoder.decode(this.bytes.subarray(start, start + length));
  }

  #line(): string {
    const start = this.#at + 1;
    const end = this.bytes.indexOf(0x0d, start);
    this.#at = end + 2;
    return decoder.decode(this.bytes.subarray(start, end));
  }
}

/** @internal `load` gives the engine's file, compiled, where the caller has none. */
export function engineWith(load: () => Promise<WebAssembly.Module>, options: LocalEngineOptions): LocalEngine {
  members("options of a local engine", options, ["now", "maxKeys", "module"]);
  const { now = Date.now, maxKeys = 100_000, module } = options;
  if (typeof now !== "function") throw wrong("now", "a function that gives Unix ms", now);
  if (integer("maxKeys", maxKeys, 1) >= 2 ** 32) throw wrong("maxKeys", "less than 2^32", maxKeys);
  if (module !== undefined && !(module instanceof WebAssembly.Module)) throw wrong("module", "a WebAssembly.Module", module);
  const loaded = async () => Instance.of(module ?? (await load()), maxKeys);
  let instance: Instance | undefined;
  let loading: Promise<Instance> | undefined;
  const run = async (args: readonly string[]) => {
    instance ??= await (loading ??= loaded());
    return instance.call(args, now());
  };
  const sync = (args: readonly string[]) => {
    if (!instance) throw new Error("the engine is not loaded yet: await a call first");
    return instance.call(args, now());
  };
  return Object.assign(run, { sync });
}
