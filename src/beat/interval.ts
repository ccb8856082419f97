import { ImproperlyConfigured } from "../errors.ts";
import type { Schedule } from "../task/schedule.ts";

/**
 * Every so many seconds. Runs keep their distance: a run that was sent late does not put off those after it. With
 * `relative` they fall on whole intervals of the clock in UTC.
 */
export class Interval implements Schedule {
  readonly seconds: number;
  readonly relative: boolean;

  constructor(seconds: number, options: { readonly relative?: boolean } = {}) {
    if (!Number.isFinite(seconds) || seconds <= 0) {
      throw new ImproperlyConfigured(`a schedule in seconds must be a number above 0, got: ${seconds}`);
    }
    this.seconds = seconds;
    this.relative = options.relative ?? false;
  }

  remaining(lastRunAt: Date, now: Date): number {
    return (this.#next(lastRunAt) - now.getTime()) / 1_000;
  }

  ranAt(lastRunAt: Date, now: Date): Date {
    const due = this.#next(lastRunAt);
    // After a pause of several intervals there is one run, not all that were missed.
    return now.getTime() - due < this.seconds * 1_000 ? new Date(due) : now;
  }

  #next(lastRunAt: Date): number {
    const step = this.seconds * 1_000;
    const next = lastRunAt.getTime() + step;
    return this.relative ? Math.floor(next / step) * step : next;
  }

  toString(): string {
    return `<freq: ${humanizeSeconds(this.seconds)}>`;
  }
}

const units: readonly (readonly [name: string, seconds: number, digits: number])[] = [
  ["day", 86_400, 2],
  ["hour", 3_600, 2],
  ["minute", 60, 2],
];

/** `10.00 seconds`, `5.00 minutes`: Celery's words (celery.utils.time, humanize_seconds). */
export function humanizeSeconds(seconds: number): string {
  for (const [name, size, digits] of units) {
    if (seconds < size) continue;
    const count = seconds / size;
    return `${count.toFixed(digits)} ${name}${count > 1 ? "s" : ""}`;
  }
  return `${seconds.toFixed(2)} second${seconds > 1 ? "s" : ""}`;
}
