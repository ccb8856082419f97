import type { Zone } from "../util/zone.ts";

/** When something is due. Pure: both instants and the zone of its clocks are given. */
export interface Schedule {
  /** Seconds from `now` until the first run after `lastRunAt`; zero or less is due, `Infinity` is never. */
  remaining(lastRunAt: Date, now: Date, zone: Zone): number;
  /** What counts as the last run for a run at `now`; left out, `now` itself. */
  ranAt?(lastRunAt: Date, now: Date): Date;
  /** Whether a run missed by more than `beatCronStartingDeadline` is left out. */
  readonly hasStartingDeadline?: boolean;
  /** As logs show it: `<freq: 10.00 seconds>`, `<crontab: 0 4 * * * (m/h/dM/MY/d)>`. */
  toString(): string;
}

/** One entry of `beatSchedule`, as users write it. */
export interface PeriodicTask {
  /** Name of the task; it need not be known here. */
  readonly task: string;
  /** Seconds, a crontab in one text (`"0 4 * * mon"`), or a schedule. */
  readonly schedule: number | string | Schedule;
  /** Values, or functions that make them when the task is sent. */
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** Options of the call: queue, expires, priority … */
  readonly options?: Readonly<Record<string, unknown>>;
  /** Rounds the runs of an interval to whole intervals: every hour on the hour. */
  readonly relative?: boolean;
}
