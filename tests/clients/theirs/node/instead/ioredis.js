// As redis.js, for the other client.

import { createRequire } from "node:module";
import { used } from "./redis.js";

const { Redis } = createRequire(import.meta.url)("ioredis");

export default class extends Redis {
  constructor(options) {
    super({ ...options, port: Number(process.env.RATELIMIT_PORT), db: 9 });
  }

  async get(key) {
    return used(await this.call("RL.INFO", key));
  }
}
