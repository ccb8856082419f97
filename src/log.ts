import { ImproperlyConfigured } from "./errors.ts";

/** What may accompany a message. The text form shows the named fields; JSON lines carry all of them. */
export interface LogFields {
  /** Who speaks, when it is not the process itself: a parent logging for `ForkPoolWorker-1`. */
  readonly processName?: string;
  /** `true` prints the line in the task format, with `taskName` and `taskId`. */
  readonly task?: boolean;
  readonly taskName?: string;
  readonly taskId?: string;
  /** An error, or the text of a remote traceback; printed below the line, as Python's logging does. */
  readonly err?: unknown;
  readonly [field: string]: unknown;
}

/** One level of a logger. A message may hold `%s`, `%d`, `%j` and `%o`, filled from what follows. */
export interface LogMethod {
  (message: string, ...values: readonly unknown[]): void;
  (fields: LogFields | Error, message?: string, ...values: readonly unknown[]): void;
}

/** The levels by pino's names; `warn` is printed as WARNING and `fatal` as CRITICAL. */
export type LogLevel = "trace" | "debug" | "info" | "warn" | "error" | "fatal";

/** pino's logger, restricted to what tq uses. A method of a disabled level is an empty function. */
export interface Logger {
  readonly trace: LogMethod;
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;
  readonly fatal: LogMethod;
  /** One of `LogLevel`, or `silent`. May be set. */
  level: string;
  isLevelEnabled(level: LogLevel): boolean;
  /** A logger for the same destination whose lines carry these fields too. */
  child(bindings: LogFields): Logger;
}

/** The logger that owns its destination. */
export interface RootLogger extends Logger {
  /** Opens the file anew, after a rotation. Does nothing for stderr and stdout. */
  reopen(): void;
  /** Closes a file; lines after it are dropped. Does nothing for stderr and stdout. */
  close(): void;
}

export interface LoggerOptions {
  /** DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL, in any case. Default WARNING, as in Celery. */
  readonly level?: string;
  /** `stderr` (default), `stdout`, or the path of a file to append to. */
  readonly destination?: string;
  /** Shown after the level. Default `MainProcess`. */
  readonly processName?: string;
  /** Colour by level. `null` (default) means: when the destination is a terminal. Never in a file. */
  readonly color?: boolean | null;
  /** `worker_log_format`, a Celery %-format, or `json` for one JSON document per line. */
  readonly format?: string | null;
  /** `worker_task_log_format`: lines that are marked `task`. */
  readonly taskFormat?: string | null;
}

/** Celery's `worker_log_format`. */
export const defaultLogFormat = "[%(asctime)s: %(levelname)s/%(processName)s] %(message)s";

/** Celery's `worker_task_log_format`. */
export const defaultTaskLogFormat =
  "[%(asctime)s: %(levelname)s/%(processName)s] %(task_name)s[%(task_id)s]: %(message)s";

const levelsByName: Readonly<Record<string, LogLevel>> = {
  TRACE: "trace",
  DEBUG: "debug",
  INFO: "info",
  WARN: "warn",
  WARNING: "warn",
  ERROR: "error",
  CRITICAL: "fatal",
  FATAL: "fatal",
};

/** The names `-l` offers, in Celery's order. */
export const logLevelNames = ["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "FATAL"] as const;

/** Celery's name of a level, in any case → pino's; throws `ImproperlyConfigured` for any other. */
export function parseLogLevel(name: string): LogLevel {
  const level = levelsByName[name.toUpperCase()];
  if (level === undefined) {
    throw new ImproperlyConfigured(
      `log level must be one of ${logLevelNames.join(", ")}, got: ${JSON.stringify(name)}`,
    );
  }
  return level;
}

/** A log that says nothing: for libraries and tests. */
export const silentLogger: Logger = {
  trace: () => undefined,
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
  fatal: () => undefined,
  level: "silent",
  isLevelEnabled: () => false,
  child: () => silentLogger,
};

/** The stack of an error and of its causes; a remote error shows the traceback of where it happened. */
export function describeError(error: unknown, depth = 0): string {
  if (!(error instanceof Error)) return String(error);
  const remote = (error as { readonly remoteTraceback?: unknown }).remoteTraceback;
  const own = typeof remote === "string" && remote !== "" ? remote.trimEnd() : (error.stack ?? String(error));
  const parts = [own];
  if (depth < 8) {
    if (error instanceof AggregateError) {
      for (const one of error.errors) parts.push(`one of them: ${describeError(one, depth + 1)}`);
    }
    if (error.cause !== undefined && error.cause !== null) {
      parts.push(`caused by: ${describeError(error.cause, depth + 1)}`);
    }
  }
  return parts.join("\n");
}

/** `2025-12-28 11:43:42` in the local time zone. */
export function formatLocalTime(time: Date): string {
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day} ${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}`;
}
