// Leaves out the tests that a peer's file names, each with its reason. A name that none of their tests has is an error: whatever
// is not run is known.

import { VitestTestRunner } from "vitest/runners";

const { leftOut } = (await import(`./peers/${process.env.THEIRS_PEER}.js`)).default;

export default class extends VitestTestRunner {
  onCollected([file]) {
    const rules = Object.entries(leftOut[file.name.split("/").at(-1)] ?? {}).flatMap(([why, names]) => names.map((name) => ({ name, why, many: 0 })));
    const visit = (task, path) => {
      for (const one of task.tasks ?? []) visit(one, [...path, one.name]);
      if (task.type !== "test") return;
      const name = path.join(" > ");
      const rule = rules.find((one) => (one.name instanceof RegExp ? one.name.test(name) : name === one.name || name.endsWith(` > ${one.name}`)));
      if (rule === undefined) return;
      rule.many += 1;
      task.mode = "skip";
      task.result = { state: "skip", note: rule.why };
    };
    visit(file, []);
    const unknown = rules.filter(({ many }) => many === 0).map(({ name }) => name);
    if (unknown.length > 0) throw new Error(`left out, but there is no such test in ${file.name}: ${unknown.join("; ")}`);
  }
}
