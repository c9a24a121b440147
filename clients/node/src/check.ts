// What a caller passes is checked before anything is sent. An error names the option and says what it should have been.

const shown = (value: unknown): string => {
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "function") return "a function";
  return typeof value === "object" && value !== null ? "an object" : String(value);
};

export const wrong = (name: string, expected: string, value: unknown): TypeError =>
  new TypeError(`${name}: expected ${expected}, got ${shown(value)}`);

export function text(name: string, value: unknown): string {
  if (typeof value !== "string" || value === "") throw wrong(name, "a non-empty string", value);
  return value;
}

export function integer(name: string, value: unknown, least = -Number.MAX_SAFE_INTEGER): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least) {
    throw wrong(name, least > -Number.MAX_SAFE_INTEGER ? `an integer of at least ${least}` : "an integer", value);
  }
  return value;
}

export function oneOf<T extends string>(name: string, value: unknown, choices: readonly T[]): T {
  if (!choices.includes(value as T)) throw wrong(name, choices.map((choice) => `"${choice}"`).join(" or "), value);
  return value as T;
}

/** A duration or a calendar window: the server says what is wrong with one; a number without a unit is a common slip. */
export function span(name: string, value: unknown): string {
  if (typeof value !== "string" || !/^[1-9]\d*[a-z]/i.test(value)) throw wrong(name, 'a duration such as "15m"', value);
  return value;
}

/** An object with no other members than these: a misspelt option must not be a limit that is silently off. */
export function members(name: string, value: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(name, "an object", value);
  for (const member of Object.keys(value)) {
    if (!known.includes(member)) throw new TypeError(`${name}: unknown option "${member}" (known: ${known.join(", ")})`);
  }
  return value as Record<string, unknown>;
}
