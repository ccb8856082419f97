/**
 * The rules settings are made of. Each takes what a user may write in code, in a module, in an
 * environment variable or behind a flag, and gives the one form the program uses.
 */
import { withSnakeKeys } from "./names.ts";
import type { Rule } from "./setting.ts";

type Dictionary = Readonly<Record<string, unknown>>;

const truths = new Map<unknown, boolean>([
  ...[true, 1, "true", "yes", "on", "1", "t", "y"].map((value) => [value, true] as const),
  ...[false, 0, "false", "no", "off", "0", "f", "n"].map((value) => [value, false] as const),
]);

/** True or false, also as Celery's words for them: yes, no, on, off, 1, 0. */
export const bool: Rule<boolean> = {
  expects: "true or false (also yes, no, on, off, 1, 0)",
  example: true,
  parse: (given) => truths.get(typeof given === "string" ? given.trim().toLowerCase() : given),
};

export const text: Rule<string> = {
  expects: "a text",
  parse: (given) => (typeof given === "string" ? given : undefined),
};

/** A text of at least one character: a name. */
export const name: Rule<string> = {
  expects: "a text that is not empty",
  parse: (given) => (typeof given === "string" && given.trim() !== "" ? given : undefined),
};

/** Any number; texts that are numbers count, `inf` is infinity as in Python. */
export function numberOf(given: unknown): number | undefined {
  if (typeof given === "number") return Number.isNaN(given) ? undefined : given;
  if (typeof given !== "string" || given.trim() === "") return undefined;
  const word = given.trim().toLowerCase();
  if (/^\+?inf(inity)?$/.test(word)) return Number.POSITIVE_INFINITY;
  return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/.test(word) ? Number(word) : undefined;
}

/** A finite span of time in seconds, 0 or more. */
export const seconds: Rule<number> = {
  expects: "a number of seconds, 0 or more",
  example: 30,
  parse: (given) => {
    const value = numberOf(given);
    return value !== undefined && value >= 0 && Number.isFinite(value) ? value : undefined;
  },
};

/** A number within bounds, both included. */
export function number(least = Number.NEGATIVE_INFINITY): Rule<number> {
  return {
    expects: least === Number.NEGATIVE_INFINITY ? "a number" : `a number, ${least} or more`,
    parse: (given) => {
      const value = numberOf(given);
      return value !== undefined && value >= least ? value : undefined;
    },
  };
}

/** A whole number within bounds, both included. */
export function integer(least = Number.MIN_SAFE_INTEGER, most = Number.MAX_SAFE_INTEGER): Rule<number> {
  const range =
    most !== Number.MAX_SAFE_INTEGER
      ? ` from ${least} to ${most}`
      : least !== Number.MIN_SAFE_INTEGER
        ? `, ${least} or more`
        : "";
  return {
    expects: `a whole number${range}`,
    parse: (given) => {
      const value = numberOf(given);
      return value !== undefined && Number.isSafeInteger(value) && value >= least && value <= most ? value : undefined;
    },
  };
}

/** One of a few words; capitals do not matter. */
export function oneOf<const Word extends string>(...words: readonly Word[]): Rule<Word> {
  return {
    expects: `one of ${words.join(", ")}`,
    parse: (given) => words.find((word) => typeof given === "string" && word.toLowerCase() === given.toLowerCase()),
  };
}

/** Texts in an array or a set, or separated by commas in one text. */
export const list: Rule<readonly string[], readonly string[] | ReadonlySet<string> | string> = {
  expects: "a list of texts (an array, or one text with commas)",
  example: ["json"],
  parse: (given) => {
    const items =
      typeof given === "string"
        ? given.split(",").flatMap((item) => (item.trim() === "" ? [] : [item.trim()]))
        : Array.isArray(given) || given instanceof Set
          ? [...given]
          : undefined;
    return items?.every((item) => typeof item === "string") ? Object.freeze(items as string[]) : undefined;
  },
};

/** True for `{…}` and `Object.create(null)`, false for arrays, class instances and everything else. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
}

function parseRecord(given: unknown): Record<string, unknown> | undefined {
  if (isRecord(given)) return given;
  if (typeof given !== "string" || !given.trim().startsWith("{")) return undefined;
  try {
    const parsed: unknown = JSON.parse(given);
    return isRecord(parsed) ? parsed : undefined;
  } catch {
    return undefined;
  }
}

/** A plain object; as text, JSON. Its keys stay as they are. */
export const dict: Rule<Dictionary> = {
  expects: "an object of names and values",
  parse: (given) => {
    const record = parseRecord(given);
    return record && Object.freeze({ ...record });
  },
};

/** A plain object of options: top-level keys may be camel case and are read in Celery's snake case. */
export const options: Rule<Dictionary> = {
  expects: "an object of options",
  parse: (given) => {
    const record = parseRecord(given);
    return record && Object.freeze(withSnakeKeys(record));
  },
};

/** Anything at all. */
export const anything: Rule<unknown> = { expects: "anything", parse: (given) => given };

/** The rule, or null; an empty text and the word `none` count as null where the rule itself refuses them. */
export function nullable<Value, Input>(rule: Rule<Value, Input>): Rule<Value | null, Input | null> {
  return {
    ...rule,
    expects: `${rule.expects}, or null`,
    parse: (given) => {
      if (given === null) return null;
      const value = rule.parse(given);
      if (value === undefined && typeof given === "string" && /^(none|null)?$/i.test(given.trim())) return null;
      return value;
    },
  };
}

const perSecond: Readonly<Record<string, number>> = { s: 1, m: 1 / 60, h: 1 / 3600 };

/**
 * Tasks per second of a rate as Celery writes it: `"100/m"`, `"10/s"`, `"0.5/h"`, `10`. Null for
 * no limit: null, 0 and an empty text. Undefined when it is not a rate.
 */
export function parseRate(rate: unknown): number | null | undefined {
  if (rate === null || rate === "") return null;
  const [amount, unit = "s", ...rest] = typeof rate === "string" ? rate.split("/").map((part) => part.trim()) : [rate];
  const value = numberOf(amount);
  const factor = Object.hasOwn(perSecond, unit as string) ? perSecond[unit as string] : undefined;
  if (rest.length > 0 || value === undefined || factor === undefined || value < 0 || !Number.isFinite(value))
    return undefined;
  return value === 0 ? null : value * factor;
}

/** A rate as Celery writes it, kept as written; see `parseRate`. */
export const rate: Rule<string | number> = {
  expects: "a rate: a number per second, or a text such as 10/s, 100/m, 5/h",
  example: "100/m",
  parse: (given) =>
    (typeof given === "string" || typeof given === "number") && parseRate(given) !== undefined ? given : undefined,
};

const units: Readonly<Record<string, number>> = { "": 0, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40 };

/** Bytes of a size as people write it: `64MB`, `1.5 GiB`, `200k`; a bare number is in `unit` bytes. */
export function parseSize(given: unknown, unit: number): number | undefined {
  const bare = numberOf(given);
  if (bare !== undefined) return bare >= 0 && Number.isFinite(bare) ? Math.round(bare * unit) : undefined;
  const match = typeof given === "string" ? /^\s*([\d.]+)\s*([kmgt]?)(?:i?b)?\s*$/i.exec(given) : null;
  const amount = match && numberOf(match[1]);
  if (!match || amount === null || amount === undefined) return undefined;
  return Math.round(amount * (units[(match[2] as string).toLowerCase()] || 1));
}

/** A size in bytes. */
export const bytes: Rule<number, number | string> = {
  expects: 'a size in bytes, or a text such as "128MiB"',
  example: "128MiB",
  parse: (given) => parseSize(given, 1),
};

/** A size in KiB, as `worker_max_memory_per_child` has it. */
export const kibibytes: Rule<number, number | string> = {
  expects: 'a size in KiB, or a text such as "200MiB"',
  example: "200MiB",
  parse: (given) => {
    const size = parseSize(given, 1024);
    return size === undefined ? undefined : Math.ceil(size / 1024);
  },
};

/** An IANA time zone this runtime knows. */
export const timeZone: Rule<string> = {
  expects: "an IANA time zone such as Europe/Berlin",
  example: "UTC",
  parse: (given) => {
    if (typeof given !== "string" || given === "") return undefined;
    try {
      new Intl.DateTimeFormat("en", { timeZone: given });
      return given;
    } catch {
      return undefined;
    }
  },
};
