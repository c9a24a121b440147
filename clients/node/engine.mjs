// Part of `npm run build`, in a checkout: builds the engine of `ratelimit-client/local` and puts it beside its code.

import { spawnSync } from "node:child_process";
import { copyFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const script = fileURLToPath(new URL("../../scripts/engine", import.meta.url));
const { status, stdout, stderr, error } = spawnSync(script, { encoding: "utf8" });
if (status === 0) copyFileSync(stdout.trim(), fileURLToPath(new URL("./dist/local/engine.wasm", import.meta.url)));
else console.error(`SKIPPED: ratelimit-client/local has no engine here: ${error ?? stderr.trim()}`);
