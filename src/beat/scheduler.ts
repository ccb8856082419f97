import type { Zone } from "../util/zone.ts";
import type { Entry } from "./entry.ts";

/** What is to be done now. */
export interface Tick {
  /** To be sent, those longest overdue first. */
  readonly due: readonly Entry[];
  /** Seconds until something may be due again, at most `maxInterval`. */
  readonly sleep: number;
}

export interface SchedulerTerms {
  readonly zone: Zone;
  /** Most seconds to sleep. */
  readonly maxInterval: number;
  /** `beatCronStartingDeadline`: seconds after which a missed run of a crontab is left out; null for never. */
  readonly startingDeadline: number | null;
}

/** Which entries are due at an instant. Pure. */
export function tick(entries: Iterable<Entry>, now: Date, terms: SchedulerTerms): Tick {
  const due: { readonly entry: Entry; readonly remaining: number }[] = [];
  let sleep = terms.maxInterval;
  for (const entry of entries) {
    const remaining = remainingOf(entry, now, terms);
    if (remaining <= 0) due.push({ entry, remaining });
    else sleep = Math.min(sleep, remaining);
  }
  due.sort((a, b) => a.remaining - b.remaining);
  return { due: due.map(({ entry }) => entry), sleep };
}

function remainingOf({ schedule, lastRunAt }: Entry, now: Date, terms: SchedulerTerms): number {
  if (terms.startingDeadline === null || schedule.hasStartingDeadline !== true)
    return schedule.remaining(lastRunAt, now, terms.zone);
  // What should have run before this is over.
  const oldest = now.getTime() - terms.startingDeadline * 1_000;
  return schedule.remaining(new Date(Math.max(lastRunAt.getTime(), oldest)), now, terms.zone);
}

/** The entry after a run at `now`. Pure. */
export function advance(entry: Entry, now: Date): Entry {
  const lastRunAt = entry.schedule.ranAt?.(entry.lastRunAt, now) ?? now;
  return { ...entry, lastRunAt, totalRunCount: entry.totalRunCount + 1 };
}
