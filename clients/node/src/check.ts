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

const UNITS: Record<string, number> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };
export const MAX_SPAN_MS = 3660 * 86_400_000;

const durationMs = (value: unknown): number => {
  const [, amount, unit = ""] = /^([1-9]\d*)(ms|s|m|h|d|w)$/i.exec(typeof value === "string" ? value : "") ?? [];
  const ms = Number(amount) * (UNITS[unit.toLowerCase()] ?? NaN);
  return ms <= MAX_SPAN_MS ? ms : NaN;
};

/** A duration, as the server reads one: it is told here and now, and not by the first hit. */
export function span(name: string, value: unknown): string {
  if (Number.isNaN(durationMs(value))) throw wrong(name, 'a duration such as "15m" (ms, s, m, h, d, w; up to 3660d)', value);
  return value as string;
}

/** A duration in ms. */
export const spanMs = (name: string, value: unknown): number => durationMs(span(name, value));

/** A window's length in ms; of the calendar's, which are a day and more, a day. */
export function leastMs(window: string): number {
  const ms = durationMs(window.replace(/@.*$/, ""));
  return Number.isNaN(ms) ? 86_400_000 : ms;
}

/** A duration, one that begins with the first hit (`5h@first`), or a window of the calendar. */
export function fixedWindow(name: string, value: unknown): string {
  const written = typeof value === "string" ? value : "";
  const [first] = /^[^@]*(?=@first$)/i.exec(written) ?? [];
  const isCalendar = /^(?:[1-9]\d*[dw]@|(?:[13]mo|1y)(?:@|$))(?<=@|o|y)[\x21-\x7e]*$/i.test(written) && !/@$|@first$/i.test(written);
  if (Number.isNaN(durationMs(first ?? written)) && !isCalendar) {
    throw wrong(name, 'a duration such as "15m", or a window of the calendar such as "1mo", "1w@thu" or "1d@Europe/Berlin"', value);
  }
  return written;
}

/** An object with no other members than these: a misspelt option must not be a limit that is silently off. */
export function members(name: string, value: unknown, known: readonly string[]): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw wrong(name, "an object", value);
  for (const member of Object.keys(value)) {
    if (!known.includes(member)) throw new TypeError(`${name}: unknown option "${member}" (known: ${known.join(", ")})`);
  }
  return value as Record<string, unknown>;
}

export function flag(name: string, value: unknown): boolean {
  if (typeof value !== "boolean") throw wrong(name, "true or false", value);
  return value;
}
