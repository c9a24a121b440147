// What an editor shows: each name that a package's entry exports says what it is.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import ts from "typescript";

const home = join(dirname(fileURLToPath(import.meta.url)), "node_modules", "ratelimit-client");
const { exports } = JSON.parse(readFileSync(join(home, "package.json"), "utf8"));
const entries = [...new Set(Object.values(exports).map(({ types }) => types).filter(Boolean))].map((types) => join(home, types));

test("each export has a doc comment", () => {
  const program = ts.createProgram(entries, { module: ts.ModuleKind.NodeNext, moduleResolution: ts.ModuleResolutionKind.NodeNext, skipLibCheck: true });
  const checker = program.getTypeChecker();
  const bare = [];
  let count = 0;
  for (const entry of entries) {
    for (const name of checker.getExportsOfModule(checker.getSymbolAtLocation(program.getSourceFile(entry)))) {
      const symbol = name.flags & ts.SymbolFlags.Alias ? checker.getAliasedSymbol(name) : name;
      if (!symbol.declarations?.some((one) => one.getSourceFile().fileName.includes("ratelimit-client/"))) continue; // another package's
      count += 1;
      const isSaid = symbol.getDocumentationComment(checker).length > 0 || symbol.getJsDocTags(checker).length > 0;
      if (!isSaid) bare.push(`${entry.slice(home.length)}: ${name.name}`);
    }
  }
  assert.deepEqual(bare, []);
  assert.ok(count > 50, `${count} exports`);
});
