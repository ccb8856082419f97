/** `YYYY-MM-DD`, then optionally a time, then optionally a zone. Groups: date, time, fraction, zone. */
const pattern =
  /^(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:[.,](\d{1,9}))?)?)?(Z|z|[+-]\d\d(?::?\d\d(?::?\d\d)?)?)?$/;

/** The parts of an ISO 8601 text that a `Date` cannot hold. */
export interface IsoParts {
  /** Milliseconds since the epoch, cut, not rounded. A text without zone is UTC. */
  readonly timeMs: number;
  /** Microseconds within the second. */
  readonly microsecond: number;
  /** Seconds east of UTC; null when the text has no zone. */
  readonly offset: number | null;
}

/**
 * Reads an instant as Celery writes it and as other clients do (protocol 1.1): `Z`, any
 * offset, or none, which means UTC. Throws `RangeError` on anything else, numbers included.
 */
export function parseIso(text: string): Date {
  return new Date(parseIsoParts(text).timeMs);
}

/** The same with microseconds and offset, which a `Date` loses. */
export function parseIsoParts(text: string): IsoParts {
  const match = typeof text === "string" ? pattern.exec(text) : null;
  if (match === null) throw invalid(text);
  const [, year, month, day, hour = "0", minute = "0", second = "0", fraction = "", zone] = match;
  const fields = [year, month, day, hour, minute, second].map(Number) as [
    number,
    number,
    number,
    number,
    number,
    number,
  ];
  const microsecond = Number(fraction.slice(0, 6).padEnd(6, "0"));
  const offset = zone === undefined ? null : zoneSeconds(zone);
  const local = utcMs(...fields);
  if (local === null || offset === undefined) throw invalid(text);
  return { timeMs: local + Math.floor(microsecond / 1000) - (offset ?? 0) * 1000, microsecond, offset };
}

/**
 * Prints an instant as Python's `isoformat` does: UTC as `+00:00`, no fraction when it is
 * zero, else six digits. Throws `RangeError` for an invalid date and for years Python lacks.
 */
export function formatIso(date: Date): string {
  const text = date.toISOString();
  if (text.length !== 24) throw new RangeError(`year ${date.getUTCFullYear()} is outside 0001 to 9999`);
  const fraction = text.endsWith(".000Z") ? "" : `${text.slice(19, 23)}000`;
  return `${text.slice(0, 19)}${fraction}+00:00`;
}

function invalid(value: unknown): RangeError {
  const shown = typeof value === "string" ? JSON.stringify(value.slice(0, 64)) : String(value);
  return new RangeError(`not an ISO 8601 date: ${shown}; expected for example "2026-01-31T12:00:00+00:00"`);
}

/** Null when a field is out of range. `Date.UTC` alone would take 31 February for 3 March. */
function utcMs(year: number, month: number, day: number, hour: number, minute: number, second: number): number | null {
  if (hour > 23 || minute > 59 || second > 59) return null;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  if (year === 0 || date.getUTCMonth() !== month - 1 || date.getUTCDate() !== day) return null;
  return date.setUTCHours(hour, minute, second);
}

/** Undefined when out of range. */
function zoneSeconds(zone: string): number | undefined {
  if (zone === "Z" || zone === "z") return 0;
  const digits = zone.slice(1).replaceAll(":", "");
  const [hours, minutes, seconds] = [digits.slice(0, 2), digits.slice(2, 4), digits.slice(4, 6)].map(Number) as [
    number,
    number,
    number,
  ];
  if (hours > 23 || minutes > 59 || seconds > 59) return undefined;
  return (zone.startsWith("-") ? -1 : 1) * (hours * 3600 + minutes * 60 + seconds);
}
