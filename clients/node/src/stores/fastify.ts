// A store for @fastify/rate-limit 11: app.register(rateLimit, { max: 100, timeWindow: "1m", store: ratelimitStore({ client }) })

import { cannot, StoreCore, type Count, type StoreOptions } from "./core.js";

interface Answer {
  readonly current: number;
  readonly ttl: number;
}
type Callback = (error: Error | null, answer?: Answer) => void;

interface LibraryOptions {
  readonly ban?: number;
  readonly continueExceeding?: boolean;
  readonly exponentialBackoff?: boolean;
}

interface RouteOptions extends LibraryOptions {
  readonly routeInfo: { readonly method: string | readonly string[]; readonly url: string };
}

/** A store of @fastify/rate-limit. */
export interface FastifyStore {
  incr(key: string, callback: Callback, timeWindow: number, max: number): void;
  read(key: string, callback: Callback, timeWindow: number, max: number): void;
  child(routeOptions: object): FastifyStore;
}

/** The class that the library makes its stores of. */
export function ratelimitStore(options: StoreOptions): new (libraryOptions: object) => FastifyStore {
  const core = new StoreCore("ratelimitStore", options);

  class RatelimitStore implements FastifyStore {
    readonly #route: string;

    constructor(libraryOptions: LibraryOptions, route = "") {
      const { ban, continueExceeding, exponentialBackoff } = libraryOptions;
      if (ban !== undefined && ban > 0) cannot("ban", "a denied request is not counted here: set ban to 0 or -1, or block by RL.SLIDING ... BLOCK");
      if (continueExceeding) cannot("continueExceeding", "a denied request does not make the wait longer here");
      if (exponentialBackoff) cannot("exponentialBackoff", "a denied request does not make the wait longer here");
      this.#route = route;
    }

    incr(key: string, callback: Callback, timeWindow: number, max: number): void {
      this.#tell(core.hit(this.#route + key, { limit: max, windowMs: timeWindow }), callback);
    }

    read(key: string, callback: Callback, timeWindow: number, max: number): void {
      this.#tell(core.peek(this.#route + key, { limit: max, windowMs: timeWindow }), callback);
    }

    child(routeOptions: object): FastifyStore {
      const { routeInfo, ...options } = routeOptions as RouteOptions;
      return new RatelimitStore(options, `${String(routeInfo.method)}${routeInfo.url}:`);
    }

    #tell(count: Promise<Count>, callback: Callback): void {
      count.then(
        // Where Redis is away nothing is known, so of what is let in nothing is said to be used.
        ({ error, allowed, hits, waitMs }) => callback(null, { current: error && allowed ? 0 : hits, ttl: waitMs }),
        (error: Error) => callback(error),
      );
    }
  }
  return RatelimitStore;
}
