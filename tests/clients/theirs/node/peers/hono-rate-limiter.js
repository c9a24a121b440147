const MOCK = "over a store of the test's own, which is there to see what it is asked: ours is not";
const FUNCTION = "a limit that is a function is refused: a store is not told what it gave";
const MEMORY = "of the timer or the maps of a store in memory";

export default {
  files: ["src/__tests__/{store,middleware}.spec.ts"],
  instead: { "^(\\.{1,2}/)+(stores/)?memory$": "express-rate-limit" },
  leftOut: {
    "middleware.spec.ts": {
      [MOCK]: [/\(modern store\)/, "should call `init` even if no requests have come in"],
      [FUNCTION]: [/should allow max to be a function/, "should calculate the remaining hits"],
    },
    "store.spec.ts": {
      "there is no `resetAll`, which would search a Redis that others use as well": ["resets the count for all keys in the store when `resetAll` is called"],
      [MEMORY]: [
        "clears the timer when `shutdown` is called",
        "can run in electron where setInterval does not return a Timeout object with an unset function",
        "should move clients from previous to current",
      ],
    },
  },
};
