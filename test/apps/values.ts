import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "tq";

/** The twin of test/python/values.py: values of rich types as plain JSON, so that both halves of a test mean the same. */

const makers: Readonly<Record<string, (text: string) => unknown>> = {
  $bytes: (text) => Buffer.from(text, "base64"),
  $datetime: (text) => DateTime.fromIso(text),
  $date: (text) => new PlainDate(text),
  $time: (text) => new PlainTime(text),
  $decimal: (text) => new Decimal(text),
  $uuid: (text) => new Uuid(text),
  $int: (text) => BigInt(text),
  $float: (text) => ({ nan: Number.NaN, inf: Number.POSITIVE_INFINITY, "-inf": Number.NEGATIVE_INFINITY })[text],
};

/** The value of JavaScript that plain JSON stands for. */
export function untag(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(untag);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value);
  const [first] = entries;
  if (entries.length === 1 && first && Object.hasOwn(makers, first[0])) return makers[first[0]]?.(first[1] as string);
  return fromEntries(entries.map(([key, inner]) => [key, untag(inner)]));
}

/** A value of JavaScript as plain JSON. */
export function tag(value: unknown): unknown {
  if (typeof value === "bigint") return { $int: String(value) };
  if (typeof value === "number" && !Number.isFinite(value)) {
    return { $float: Number.isNaN(value) ? "nan" : value > 0 ? "inf" : "-inf" };
  }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (value instanceof DateTime) return { $datetime: value.isoformat() };
  if (value instanceof PlainDate) return { $date: String(value) };
  if (value instanceof PlainTime) return { $time: String(value) };
  if (value instanceof Decimal) return { $decimal: String(value) };
  if (value instanceof Uuid) return { $uuid: String(value) };
  if (Array.isArray(value)) return value.map(tag);
  if (typeof value === "object" && value !== null) {
    return fromEntries(Object.entries(value).map(([key, inner]) => [key, tag(inner)]));
  }
  return value;
}

/** The name of a value's type, as both halves spell it: Python's, in lower case. */
export function kindOf(value: unknown): string {
  if (value === null) return "null";
  if (typeof value === "boolean") return "bool";
  if (typeof value === "string") return "str";
  if (typeof value === "bigint") return "int";
  if (typeof value === "number") return Number.isInteger(value) ? "int" : "float";
  if (value instanceof Uint8Array) return "bytes";
  if (value instanceof DateTime) return "datetime";
  if (value instanceof PlainDate) return "date";
  if (value instanceof PlainTime) return "time";
  if (value instanceof Decimal) return "decimal";
  if (value instanceof Uuid) return "uuid";
  return Array.isArray(value) ? "list" : "dict";
}

/** `Object.fromEntries` makes an own property of `__proto__`, as assignment would not. */
function fromEntries(entries: readonly (readonly [string, unknown])[]): Record<string, unknown> {
  return Object.fromEntries(entries);
}
