/** `beat_*`: the scheduler. */
import { dict, integer, name, nullable, seconds } from "../parse.ts";
import { notYet } from "../setting.ts";
import { daemonSettings } from "./daemon.ts";

export const beatSettings = {
  beatMaxLoopInterval: notYet(seconds, 0, "Most seconds beat sleeps; 0 lets the scheduler choose."),
  beatSchedule: notYet(dict, {}, "Periodic tasks by name."),
  beatScheduler: notYet(name, "celery.beat:PersistentScheduler", "Class of the scheduler."),
  beatScheduleFilename: notYet(name, "celerybeat-schedule", "File that keeps when entries last ran."),
  beatSyncEvery: notYet(integer(0), 0, "Tasks sent between saves; 0 saves by time."),
  beatCronStartingDeadline: notYet(nullable(integer(0)), null, "Seconds back a missed run still counts."),

  ...daemonSettings("beat"),
};
