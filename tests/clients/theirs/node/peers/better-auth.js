const ANOTHER = "of its storage in a database or a secondary one, in whose place ours is";
const ADDRESS = "of the address that a request has, which no storage is asked";

export default {
  files: ["packages/better-auth/src/api/rate-limiter/rate-limiter.test.ts"],
  instead: { "^\\.\\./\\.\\./test-utils/test-instance$": "better-auth" },
  leftOut: {
    "rate-limiter.test.ts": {
      [ANOTHER]: [/database rate-limit/, "custom rate limiting storage > should use custom storage", /should work in development\/test environment/],
      [ADDRESS]: [/missing client IP warning/, /forwarded IP chains/, /IPv6 address normalization/],
    },
  },
};
