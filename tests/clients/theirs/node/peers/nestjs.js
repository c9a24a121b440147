export default {
  files: ["test/**/*.e2e-spec.ts", "src/throttler.service.spec.ts"],
  instead: { "^\\./throttler\\.service$": "nestjs" },
  leftOut: {
    "custom-error-message.e2e-spec.ts": {
      "its message names the address `::1`, which a machine may not have": [/'fastify'/],
    },
  },
};
