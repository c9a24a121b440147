const REFUSED = "refused when the limiter is made, with what to use";
const both = {
  [`execEvenly: ${REFUSED}`]: [/execute evenly/],
  [`customIncrTtlLuaScript: ${REFUSED}`]: [/when customIncrTtlLuaScript is provided/],
  [`inMemoryBlockOnConsumed: ${REFUSED}`]: [/inMemory|block key in memory/],
  [`insuranceLimiter: ${REFUSED}`]: [/(?<!on error consume.*)insuranceLimiter/],
  [`rejectIfRedisNotReady: ${REFUSED}`]: [/get throws error with disconnected/],
  "customDuration is refused: a key has one": [/applies options.customDuration/],
  "0 is no duration, and no block is for ever: refused": [/if duration set to 0/, /if secDuration is 0/, "set points by key forever"],
  "more points at once than there are can never be consumed, and begin no block": ["blocks key for block duration when consumed more than points"],
  "one command does both, so there is no block that fails by itself": ["reject with error, if internal block by blockDuration failed"],
  "above `points`, consumedPoints does not say how far": ["set points by key"],
};

export default {
  files: ["test/RateLimiterRedis.{redis,ioredis}.test.js"],
  instead: { "^mocha$": "mocha", "^\\.\\./lib/RateLimiterRedis$": "rate-limiter-flexible", "^redis$": "redis", "^ioredis$": "ioredis" },
  leftOut: {
    "RateLimiterRedis.redis.test.js": {
      ...both,
      "nothing is given back that was not consumed": ["when calling reward multiple times > does not fail"],
    },
    "RateLimiterRedis.ioredis.test.js": {
      ...both,
      "refused in words of our own": [/when points are passed as decimal numbers/, /when passing points as string/],
    },
  },
};
