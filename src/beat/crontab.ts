import { ImproperlyConfigured } from "../errors.ts";
import type { Schedule } from "../task/schedule.ts";
import type { WallTime, Zone } from "../util/zone.ts";
import { type CrontabField, expandField } from "./crontab-field.ts";

/** The fields of a crontab; left out means every. */
export interface CrontabFields {
  /** 0 to 59. */
  readonly minute?: CrontabField;
  /** 0 to 23. */
  readonly hour?: CrontabField;
  /** 1 to 31. */
  readonly dayOfMonth?: CrontabField;
  /** 1 to 12. */
  readonly monthOfYear?: CrontabField;
  /** 0 to 6, Sunday is 0. */
  readonly dayOfWeek?: CrontabField;
}

/** Days looked at before a date such as 30 February is given up: leap years are at most eight years apart. */
const mostDays = 366 * 9;

/**
 * At certain times of certain days, on the clocks of the setting `timezone`. A day must be in all three fields of
 * days and months, as in Celery and unlike in cron (inventory I20 to I25).
 *
 * When clocks are set, a time they skip runs as much later as they jump, and a time they show twice runs once; a
 * schedule of every hour goes on through both.
 */
export class Crontab implements Schedule {
  readonly hasStartingDeadline = true;
  readonly #minutes: readonly number[];
  readonly #hours: readonly number[];
  readonly #days: readonly number[];
  readonly #months: readonly number[];
  readonly #weekdays: readonly number[];
  readonly #text: string;

  constructor(fields: CrontabFields = {}) {
    const { minute = "*", hour = "*", dayOfMonth = "*", monthOfYear = "*", dayOfWeek = "*" } = fields;
    this.#minutes = expandField(minute, { name: "minute", least: 0, most: 59 });
    this.#hours = expandField(hour, { name: "hour", least: 0, most: 23 });
    this.#days = expandField(dayOfMonth, { name: "dayOfMonth", least: 1, most: 31 });
    this.#months = expandField(monthOfYear, { name: "monthOfYear", least: 1, most: 12 });
    this.#weekdays = expandField(dayOfWeek, { name: "dayOfWeek", least: 0, most: 6 });
    const shown = [minute, hour, dayOfMonth, monthOfYear, dayOfWeek];
    this.#text = shown.map((field) => (typeof field === "object" ? [...field].join(",") : String(field))).join(" ");
  }

  /** `minute hour day-of-month month day-of-week`, exactly five fields. */
  static fromString(text: string): Crontab {
    const [minute, hour, dayOfMonth, monthOfYear, dayOfWeek, ...rest] = text.trim().split(/\s+/);
    if (!minute || !hour || !dayOfMonth || !monthOfYear || !dayOfWeek || rest.length > 0) {
      throw new ImproperlyConfigured(
        `a crontab must have five fields, "minute hour day-of-month month day-of-week", got: ${JSON.stringify(text)}`,
      );
    }
    return new Crontab({ minute, hour, dayOfMonth, monthOfYear, dayOfWeek });
  }

  remaining(lastRunAt: Date, now: Date, zone: Zone): number {
    return (this.next(lastRunAt, zone).getTime() - now.getTime()) / 1_000;
  }

  /** The first time after an instant. */
  next(after: Date, zone: Zone): Date {
    const wall = zone.wallTime(after);
    if (this.#hours.length === 24) {
      // Minutes go on through a change of the clocks: the distance to the next counts, not what the clocks show.
      const found = this.#nextWall(wall);
      const direct = new Date(asUtc(found) - zone.offset(after));
      const isNear = direct.getTime() - after.getTime() <= 2 * 3_600_000;
      if (isNear && this.#matches(zone.wallTime(direct))) return direct;
    }
    let found = this.#nextWall(wall);
    let instant = zone.instant(found);
    // Clocks that were set back show times again that have had their run.
    while (instant <= after) {
      found = this.#nextWall(found);
      instant = zone.instant(found);
    }
    return instant;
  }

  #matches(wall: WallTime): boolean {
    return this.#isDay(wall) && this.#hours.includes(wall.hour) && this.#minutes.includes(wall.minute);
  }

  #isDay(wall: Pick<WallTime, "month" | "day" | "weekday">): boolean {
    return this.#months.includes(wall.month) && this.#days.includes(wall.day) && this.#weekdays.includes(wall.weekday);
  }

  /** The first time on the clock after another: later in the hour, in the day, or on a later day. */
  #nextWall(wall: WallTime): WallTime {
    if (this.#isDay(wall)) {
      const minute = this.#minutes.find((one) => one > wall.minute);
      if (minute !== undefined && this.#hours.includes(wall.hour)) return { ...wall, minute, second: 0 };
      const hour = this.#hours.find((one) => one > wall.hour);
      if (hour !== undefined) return { ...wall, hour, minute: this.#minutes[0] as number, second: 0 };
    }
    for (let ahead = 1; ahead <= mostDays; ahead += 1) {
      const date = new Date(Date.UTC(wall.year, wall.month - 1, wall.day + ahead));
      const day = {
        year: date.getUTCFullYear(),
        month: date.getUTCMonth() + 1,
        day: date.getUTCDate(),
        weekday: date.getUTCDay(),
      };
      if (!this.#isDay(day)) continue;
      return { ...day, hour: this.#hours[0] as number, minute: this.#minutes[0] as number, second: 0 };
    }
    throw new ImproperlyConfigured(`unable to rollover, time specification is probably invalid: ${this.toString()}`);
  }

  toString(): string {
    return `<crontab: ${this.#text} (m/h/dM/MY/d)>`;
  }
}

const asUtc = (wall: WallTime): number => Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour, wall.minute);

/** `crontab({ minute: 0, hour: 4 })`, Celery's name for it; a text is read as `Crontab.fromString`. */
export function crontab(fields: CrontabFields | string = {}): Crontab {
  return typeof fields === "string" ? Crontab.fromString(fields) : new Crontab(fields);
}
