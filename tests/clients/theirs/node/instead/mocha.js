// mocha's words, of which Vitest has no `this` and no `done`.

import * as vitest from "vitest";

const counted = (test) => test.length === 0 ? test : () => new Promise((resolve, reject) => test((error) => (error ? reject(error) : resolve())));
export const describe = (name, suite) => vitest.describe(name, () => suite.call({ timeout() {} }));
export const it = (name, test) => vitest.it(name, counted(test));
export const { beforeEach, afterEach } = vitest;
