import type { LogFields, Logger, LogLevel } from "../log.ts";
import { currentRun } from "./current.ts";

/**
 * A logger for the functions tasks call (Celery's `get_task_logger`): each line carries the name
 * and the id of the task in whose course it is written, and `name` as the logger's own. Outside
 * any task, what is a warning or worse goes to standard error.
 */
export function getTaskLogger(name: string): Logger {
  return taskLogger({ name });
}

function taskLogger(bindings: LogFields): Logger {
  const current = (): Logger => currentRun.getStore()?.context().log ?? outside;
  const method =
    (level: LogLevel) =>
    (first: string | LogFields | Error, ...rest: readonly unknown[]): void => {
      const logger = current();
      if (!logger.isLevelEnabled(level)) return;
      if (typeof first === "string") logger[level](bindings, first, ...rest);
      else if (first instanceof Error)
        logger[level]({ ...bindings, err: first }, (rest[0] as string) ?? first.message, ...rest.slice(1));
      else logger[level]({ ...bindings, ...first }, rest[0] as string, ...rest.slice(1));
    };
  return {
    trace: method("trace"),
    debug: method("debug"),
    info: method("info"),
    warn: method("warn"),
    error: method("error"),
    fatal: method("fatal"),
    get level() {
      return current().level;
    },
    set level(_level) {
      // The level is the worker's (-l): a task has no say in it.
    },
    isLevelEnabled: (level) => current().isLevelEnabled(level),
    child: (more) => taskLogger({ ...bindings, ...more }),
  };
}

/** Where nobody has set up a log. */
const outside: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: toStderr,
  error: toStderr,
  fatal: toStderr,
  level: "warn",
  isLevelEnabled: (level) => level === "warn" || level === "error" || level === "fatal",
  child: () => outside,
};

function toStderr(first: string | LogFields | Error, ...rest: readonly unknown[]): void {
  if (typeof first === "string" || first instanceof Error) console.error(first, ...rest);
  else console.error(...rest);
}
