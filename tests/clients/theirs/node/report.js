// What scripts/test-clients counts, and what is left out.

export default class {
  onTestRunEnd(modules) {
    const counted = { passed: 0, failed: 0, skipped: 0, pending: 0 };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const { state, note } = test.result();
        counted[state] += 1;
        if (state === "skipped") console.log(`left out: ${module.moduleId.split("/").at(-1)}: ${test.fullName} (${note ?? "skipped by itself"})`);
      }
      if (module.errors().length > 0) counted.failed += 1;
    }
    console.log(`# ${counted.skipped + counted.pending} left out`);
    console.log(`# ${counted.passed} passed, ${counted.failed} failed`);
  }
}
