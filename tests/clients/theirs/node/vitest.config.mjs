// Runs another project's tests over a store of ours: a file of peers/ says which, what of theirs ours takes the place of, and which
// tests are left out, each with the reason. run starts it, with the server's port and the checkout.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import ts from "typescript";
import { defineConfig } from "vitest/config";

const { THEIRS_PEER: peer, THEIRS_CHECKOUT: checkout } = process.env;
const here = import.meta.dirname;

/** What they import, and the file of ours that they get. */
const aliases = (instead) =>
  Object.entries({ "^@jest/globals$": "jest", ...instead }).map(([find, ours]) => ({ find: new RegExp(find), replacement: join(here, "instead", `${ours}.js`) }));

/** By TypeScript's own compiler, which keeps what Nest reads of a decorated class; and `require` as `import`, which can be replaced. */
const compiled = {
  name: "compiled",
  enforce: "pre",
  load(id) {
    if (!id.startsWith(checkout) || /node_modules|\/lib\//.test(id) || !/\.[jt]s$/.test(id)) return undefined;
    const source = readFileSync(id, "utf8").replaceAll(/^(?:const|let|var) (.+?) = require\((["'].+?["'])\);?$/gm, "import $1 from $2;");
    const compilerOptions = { target: "ES2022", module: "ESNext", experimentalDecorators: true, emitDecoratorMetadata: true, inlineSourceMap: true };
    return ts.transpileModule(source, { compilerOptions, fileName: id }).outputText;
  },
};

export default defineConfig(async () => {
  const { files, instead, leftOut: _, ...more } = (await import(pathToFileURL(join(here, "peers", `${peer}.js`)).href)).default;
  return {
    plugins: [compiled],
    esbuild: false,
    resolve: { alias: aliases(instead) },
    test: {
      root: checkout,
      include: files,
      globals: true,
      runner: join(here, "runner.js"),
      setupFiles: [join(here, "clock.js")],
      reporters: ["verbose", join(here, "report.js")],
      fileParallelism: false,
      testTimeout: 30_000,
      hookTimeout: 60_000,
      ...more,
    },
  };
});
