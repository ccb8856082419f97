/** A time as the clock on a wall shows it. Months count from 1, weekdays from Sunday, which is 0. */
export interface WallTime {
  readonly year: number;
  readonly month: number;
  readonly day: number;
  readonly hour: number;
  readonly minute: number;
  readonly second: number;
  readonly weekday: number;
}

/** One time zone by its IANA name: instants as its clocks show them, and back. */
export interface Zone {
  readonly name: string;
  wallTime(instant: Date): WallTime;
  /** Milliseconds its clocks are ahead of UTC at an instant. */
  offset(instant: Date): number;
  /**
   * The instant at which its clocks show this. What they show twice, when summer time ends, is the first time;
   * what they never show, when it begins, is as much later as they jump.
   */
  instant(wall: Pick<WallTime, "year" | "month" | "day" | "hour" | "minute">): Date;
}

/** A zone; throws `RangeError` for a name there is none of. */
export function createZone(name: string): Zone {
  const format = new Intl.DateTimeFormat("en-US", {
    timeZone: name,
    calendar: "gregory",
    hourCycle: "h23",
    year: "numeric",
    month: "numeric",
    day: "numeric",
    hour: "numeric",
    minute: "numeric",
    second: "numeric",
  });
  const wallTime = (instant: Date): WallTime => {
    const parts: Record<string, number> = {};
    for (const { type, value } of format.formatToParts(instant)) parts[type] = Number(value);
    const { year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0 } = parts;
    return { year, month, day, hour, minute, second, weekday: new Date(Date.UTC(year, month - 1, day)).getUTCDay() };
  };
  const offset = (instant: Date): number => {
    const wall = wallTime(instant);
    const shown = Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour, wall.minute, wall.second);
    return shown - Math.floor(instant.getTime() / 1_000) * 1_000;
  };
  return {
    name,
    wallTime,
    offset,
    instant(wall) {
      const asUtc = Date.UTC(wall.year, wall.month - 1, wall.day, wall.hour, wall.minute);
      // The clocks a day before and a day after agree, unless they are set in between.
      const before = offset(new Date(asUtc - 86_400_000));
      const after = offset(new Date(asUtc + 86_400_000));
      const early = new Date(asUtc - Math.max(before, after));
      const late = new Date(asUtc - Math.min(before, after));
      if (offset(early) === asUtc - early.getTime()) return early;
      if (offset(late) === asUtc - late.getTime()) return late;
      return new Date(asUtc - before);
    },
  };
}
