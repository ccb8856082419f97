import { ImproperlyConfigured } from "../errors.ts";
import type { PeriodicTask, Schedule } from "../task/schedule.ts";
import { pythonRepr } from "../util/repr.ts";
import { Crontab } from "./crontab.ts";
import { Interval } from "./interval.ts";

/** What to send, when, and when it was sent last. */
export interface Entry {
  readonly name: string;
  readonly task: string;
  readonly schedule: Schedule;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly options: Readonly<Record<string, unknown>>;
  readonly lastRunAt: Date;
  readonly totalRunCount: number;
}

/** What is remembered of an entry over restarts. */
export type EntryHistory = Pick<Entry, "lastRunAt" | "totalRunCount">;

/**
 * An entry as users write it, checked. One seen for the first time counts as run now: its first run is a whole
 * interval away. Throws `ImproperlyConfigured` naming the entry and its key.
 */
export function createEntry(name: string, given: unknown, history: EntryHistory): Entry {
  const where = `beatSchedule[${JSON.stringify(name)}]`;
  if (typeof given !== "object" || given === null) {
    throw new ImproperlyConfigured(`${where} must be an object such as { task: "proj.add", schedule: 30 }`);
  }
  const { task, schedule, args = [], kwargs = {}, options = {}, relative = false } = given as Partial<PeriodicTask>;
  if (typeof task !== "string" || task === "") {
    throw new ImproperlyConfigured(`${where}.task must be the name of a task, got: ${pythonRepr(task)}`);
  }
  if (!Array.isArray(args)) throw new ImproperlyConfigured(`${where}.args must be an array`);
  for (const [key, value] of [
    ["kwargs", kwargs],
    ["options", options],
  ] as const) {
    if (typeof value !== "object" || value === null || Array.isArray(value))
      throw new ImproperlyConfigured(`${where}.${key} must be an object`);
  }
  return { name, task, schedule: toSchedule(schedule, relative, where), args, kwargs, options, ...history };
}

/** Seconds, a crontab in one text, or a schedule. */
function toSchedule(given: unknown, relative: boolean, where: string): Schedule {
  try {
    if (typeof given === "number") return new Interval(given, { relative });
    if (typeof given === "string") return Crontab.fromString(given);
  } catch (error) {
    throw new ImproperlyConfigured(`${where}.schedule: ${(error as Error).message}`, { cause: error });
  }
  if (typeof (given as Partial<Schedule> | null)?.remaining === "function") return given as Schedule;
  throw new ImproperlyConfigured(
    `${where}.schedule must be seconds, a crontab such as "0 4 * * mon" or a schedule, got: ${pythonRepr(given)}`,
  );
}

/** `every-2 proj.t(2) <freq: 2.00 seconds>`. */
export function describeEntry(entry: Entry): string {
  const named = Object.entries(entry.kwargs).map(([key, value]) => `${key}=${pythonRepr(value)}`);
  const call = [...entry.args.map((arg) => pythonRepr(arg)), ...named].join(", ");
  return `<ScheduleEntry: ${entry.name} ${entry.task}(${call}) ${entry.schedule}>`;
}
