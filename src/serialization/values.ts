import { inspect } from "node:util";
import { wireJsonSymbol } from "../protocol/wire-json.ts";
import { formatIso, parseIsoParts } from "../util/iso8601.ts";
import { datetimeRepr, pythonReprSymbol } from "../util/repr.ts";

/** Values Python has and JSON has not. They are what they were when they are sent on. */

/**
 * A `Date` that keeps what Python's datetime has beyond it: microseconds and the offset.
 * Without offset ("naive") its fields are taken for UTC.
 */
export class DateTime extends Date {
  /** Microseconds beyond the milliseconds of the Date, 0 to 999. */
  readonly extraMicroseconds: number;
  /** Seconds east of UTC; null for a naive one. */
  readonly offset: number | null;

  constructor(timeMs: number, options: { readonly extraMicroseconds?: number; readonly offset?: number | null } = {}) {
    super(timeMs);
    this.extraMicroseconds = options.extraMicroseconds ?? 0;
    this.offset = options.offset === undefined ? 0 : options.offset;
  }

  /** Reads an ISO 8601 text. Throws `RangeError` on anything else. */
  static fromIso(text: string): DateTime {
    const { timeMs, microsecond, offset } = parseIsoParts(text);
    return new DateTime(timeMs, { extraMicroseconds: microsecond % 1000, offset });
  }

  /** Microseconds within the second, 0 to 999999. */
  get microsecond(): number {
    return this.getUTCMilliseconds() * 1000 + this.extraMicroseconds;
  }

  /** As Python prints it: its own offset, six digits of fraction unless they are zero. */
  isoformat(): string {
    const text = formatIso(this.#fields()).slice(0, 19);
    const { microsecond, offset } = this;
    return `${text}${fractionText(microsecond)}${offset === null ? "" : offsetText(offset)}`;
  }

  [wireJsonSymbol](): unknown {
    return { __type__: "datetime", __value__: this.isoformat() };
  }

  [pythonReprSymbol](): string {
    return datetimeRepr(this.#fields(), this.microsecond, zoneRepr(this.offset));
  }

  [inspect.custom](): string {
    return `DateTime ${this.isoformat()}`;
  }

  /** A Date whose UTC fields are the local ones. */
  #fields(): Date {
    return new Date(this.getTime() + (this.offset ?? 0) * 1000);
  }
}

/** A value that is its text. Two of one class with one text are the same to `String` and JSON. */
abstract class TextValue {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  toString(): string {
    return this.#text;
  }

  toJSON(): string {
    return this.#text;
  }

  [inspect.custom](): string {
    return `${this.constructor.name} ${this.#text}`;
  }
}

/** A day of the calendar: `2024-05-06`. */
export class PlainDate extends TextValue {
  constructor(text: string) {
    if (!/^\d{4}-\d\d-\d\d$/.test(text))
      throw new RangeError(`not a date: ${JSON.stringify(text)}; expected YYYY-MM-DD`);
    parseIsoParts(text);
    super(text);
  }

  /** Sorts and compares as text, which is the order of days. */
  override valueOf(): string {
    return this.toString();
  }

  [wireJsonSymbol](): unknown {
    return { __type__: "date", __value__: this.toString() };
  }

  [pythonReprSymbol](): string {
    return `datetime.date(${this.toString().split("-").map(Number).join(", ")})`;
  }
}

/** A time of day, with offset or without: `07:08:09.123456`. */
export class PlainTime extends TextValue {
  constructor(text: string) {
    if (!/^\d\d:\d\d(:\d\d([.,]\d{1,9})?)?([Zz]|[+-]\d\d(:?\d\d(:?\d\d)?)?)?$/.test(text)) {
      throw new RangeError(`not a time: ${JSON.stringify(text)}; expected HH:MM:SS`);
    }
    parseIsoParts(`2000-01-01T${text}`);
    super(text);
  }

  override valueOf(): string {
    return this.toString();
  }

  [wireJsonSymbol](): unknown {
    return { __type__: "time", __value__: this.toString() };
  }

  [pythonReprSymbol](): string {
    const { timeMs, microsecond, offset } = parseIsoParts(`2000-01-01T${this.toString()}`);
    const fields = new Date(timeMs + (offset ?? 0) * 1000);
    const parts = [fields.getUTCHours(), fields.getUTCMinutes()];
    if (fields.getUTCSeconds() !== 0 || microsecond !== 0) parts.push(fields.getUTCSeconds());
    if (microsecond !== 0) parts.push(microsecond);
    return `datetime.time(${parts.join(", ")}${offset === null ? "" : `, tzinfo=${zoneRepr(offset)}`})`;
  }
}

/**
 * A decimal number, digit for digit. It does not calculate: `Number(decimal)` is as close as a
 * double can be, `String(decimal)` is exact.
 */
export class Decimal extends TextValue {
  constructor(value: string | number | bigint) {
    const text = String(value).trim();
    if (!/^[+-]?(?:(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?|inf(?:inity)?|s?nan\d*)$/i.test(text)) {
      throw new RangeError(`not a decimal number: ${JSON.stringify(text.slice(0, 64))}`);
    }
    super(text);
  }

  override valueOf(): number {
    const text = this.toString();
    if (/inf/i.test(text)) return text.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
    return Number(text);
  }

  [wireJsonSymbol](): unknown {
    return { __type__: "decimal", __value__: this.toString() };
  }

  [pythonReprSymbol](): string {
    return `Decimal('${this.toString()}')`;
  }
}

/** A UUID; printed in lower case with dashes. */
export class Uuid extends TextValue {
  constructor(text: string) {
    const hex = text.replace(/^urn:uuid:|[{}-]/gi, "").toLowerCase();
    if (!/^[0-9a-f]{32}$/.test(hex)) throw new RangeError(`not a UUID: ${JSON.stringify(text.slice(0, 64))}`);
    super(hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"));
  }

  /** 32 digits without dashes. */
  get hex(): string {
    return this.toString().replaceAll("-", "");
  }

  override valueOf(): string {
    return this.toString();
  }

  [wireJsonSymbol](): unknown {
    return { __type__: "uuid", __value__: { hex: this.hex } };
  }

  [pythonReprSymbol](): string {
    return `UUID('${this.toString()}')`;
  }
}

function fractionText(microsecond: number): string {
  return microsecond === 0 ? "" : `.${String(microsecond).padStart(6, "0")}`;
}

function offsetText(offset: number): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const size = Math.abs(offset);
  const seconds = size % 60;
  return `${offset < 0 ? "-" : "+"}${two(Math.floor(size / 3600))}:${two(Math.floor(size / 60) % 60)}${seconds === 0 ? "" : `:${two(seconds)}`}`;
}

/** Python prints a negative offset as a negative day and the seconds left. */
function zoneRepr(offset: number | null): string | null {
  if (offset === null) return null;
  if (offset === 0) return "datetime.timezone.utc";
  const delta = offset < 0 ? `days=-1, seconds=${86400 + offset}` : `seconds=${offset}`;
  return `datetime.timezone(datetime.timedelta(${delta}))`;
}
