import type { NextConfig } from "next";

const config: NextConfig = {
  serverExternalPackages: ["redis", "ioredis"],
};

export default config;
