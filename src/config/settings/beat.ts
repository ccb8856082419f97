/** `beat_*`: the scheduler. */
import { dict, integer, name, nullable, seconds } from "../parse.ts";
import { notYet, setting } from "../setting.ts";
import { daemonSettings } from "./daemon.ts";

export const beatSettings = {
  beatMaxLoopInterval: setting(seconds, 0, "Most seconds beat sleeps; 0 lets the scheduler choose."),
  beatSchedule: setting(dict, {}, "Periodic tasks by name."),
  beatScheduler: notYet(name, "celery.beat:PersistentScheduler", "Class of the scheduler."),
  beatScheduleFilename: setting(name, "celerybeat-schedule", "File that keeps when entries last ran."),
  beatSyncEvery: setting(integer(0), 0, "Tasks sent between saves of the schedule; 0 and 1 save after each."),
  beatCronStartingDeadline: setting(nullable(integer(0)), null, "Seconds back a missed run still counts."),

  ...daemonSettings("beat"),
};
