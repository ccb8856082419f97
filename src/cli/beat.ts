import { logLevelNames } from "../log.ts";
import type { CommandModule } from "./command.ts";
import { parseConfigArguments } from "./config-arguments.ts";
import { daemonOptions, runDaemon } from "./daemon.ts";
import { addOptions, limit, type OptionSpecs, oneOf } from "./options.ts";
import { optionsFor } from "./session.ts";

const group = "Beat Options";

const options = {
  detach: { flags: ["--detach"], hiddenFlags: ["-D"], group, help: "Detach and run in the background as a daemon." },
  schedule: {
    flags: ["-s", "--schedule"],
    hiddenFlags: ["--schedule-filename"],
    metavar: "TEXT",
    group,
    // TQ_BEAT_SCHEDULE is the setting `beatSchedule`.
    env: ["TQ_BEAT_SCHEDULE_FILENAME"],
    help: "Path to the schedule database.  Defaults to celerybeat-schedule.",
  },
  scheduler: { flags: ["-S", "--scheduler"], metavar: "TEXT", group, help: "Scheduler class to use; tq has one." },
  maxInterval: {
    flags: ["--max-interval"],
    metavar: "FLOAT",
    group,
    help: "Max seconds to sleep between schedule iterations.",
    parse: limit,
  },
  loglevel: {
    flags: ["-l", "--loglevel"],
    hiddenFlags: ["-L"],
    metavar: `[${logLevelNames.join("|")}]`,
    group,
    help: "Logging level.",
    parse: oneOf(logLevelNames),
  },
  ...daemonOptions,
} as const satisfies OptionSpecs;

/** `tq beat`: sends the tasks of the schedule when they are due, until told to stop. */
export const beatCommand: CommandModule = {
  description: `Start the beat periodic task scheduler.

Examples
--------

$ tq -A proj beat -l INFO
$ tq -A proj beat -s /var/run/tq/beat-schedule --detach --pidfile /var/run/tq/beat.pid`,
  define(command) {
    command.usage("[OPTIONS] [-- key=value...]").argument("[key=value...]", "Settings for this beat.");
    command.configureHelp({ ...command.configureHelp(), visibleArguments: () => [] });
    addOptions(command, options);
  },
  async run(command, session) {
    const values = optionsFor(command, options, session);
    const { scheduler } = values;
    if (scheduler !== undefined && !/(^|[.:])PersistentScheduler$|^celery\.beat/.test(scheduler)) {
      session.output.notice(`--scheduler ${scheduler} is ignored: tq has one scheduler, which keeps a file.`);
    }
    const flags = {
      ...parseConfigArguments(command.args, "beat"),
      ...(session.globals.noColor ? { workerLogColor: false } : {}),
    };
    const files = values.schedule === undefined ? [] : [values.schedule];
    return await runDaemon(
      { session, command: "beat", values, detachedPidfile: "celerybeat.pid", flags, files },
      async ({ app }, { logfile, pidfile }, supervision) => {
        const { Beat } = await import("../beat/beat.ts");
        const { schedule, maxInterval, loglevel } = values;
        const beat = new Beat(
          app,
          {
            cwd: process.cwd(),
            ...(schedule === undefined ? {} : { schedule }),
            ...(maxInterval === undefined ? {} : { maxInterval }),
            ...(loglevel === undefined ? {} : { loglevel }),
            ...(logfile === null ? {} : { logfile }),
            ...(pidfile === null ? {} : { pidfile }),
            ...(session.globals.quiet ? { quiet: true } : {}),
          },
          supervision,
        );
        return await beat.run();
      },
    );
  },
};
