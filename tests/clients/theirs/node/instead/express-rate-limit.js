import { RatelimitStore } from "ratelimit-client/express-rate-limit";
import { options } from "./client.js";

/** In the place of the library's own store in memory, which each limiter without a store makes. */
export default class MemoryStore extends RatelimitStore {
  constructor() {
    super(options());
  }

  // Tests of the store give it no limit.
  init(given) {
    super.init({ limit: 1000, ...given });
  }
}
export { MemoryStore };
