const MOCK = "over a store of the test's own, which is there to see what it is asked: ours is not";
const FUNCTION = "a limit that is a function is refused: a store is not told what it gave";
const MEMORY = "of the timer or the maps of a store in memory";

export default {
  files: ["test/library/{memory-store,middleware}-test.ts"],
  instead: { "^(\\.{1,2}/)+(source/)?memory-store\\.js$": "express-rate-limit" },
  leftOut: {
    "middleware-test.ts": {
      [MOCK]: [
        /\((modern|legacy|compat) store\)/,
        /async store init/,
        "should call `init` even if no requests have come in",
        /should (not )?decrement hits when request finishes (before|after) `resetTime`/,
        /if the store throws an error/,
        "should only call next once when passOnStoreError causes it to skip limiting",
        /with the logger set/,
      ],
      [FUNCTION]: [/should allow max to be a function/, "should calculate the remaining hits"],
    },
    "memory-store-test.ts": {
      "there is no `resetAll`, which would search a Redis that others use as well": ["resets the count for all keys in the store when `resetAll` is called"],
      "of a key of which nothing is used there is nothing to get": ["does not decrement the key below 0 when `decrement` is called"],
      "a store that was never told its limit is refused": ["resetKey should remove the key from storage"],
      [MEMORY]: [
        "clears the timer when `shutdown` is called",
        "can run in electron where setInterval does not return a Timeout object with an unset function",
        "should automatically clear previously set intervals",
        "should move clients from previous to current",
      ],
    },
  },
};
