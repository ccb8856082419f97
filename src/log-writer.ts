import { fstatSync, statSync } from "node:fs";
import { isatty } from "node:tty";
import { pino } from "pino";
import { ImproperlyConfigured } from "./errors.ts";
import {
  defaultLogFormat,
  defaultTaskLogFormat,
  describeError,
  formatLocalTime,
  type LogFields,
  type Logger,
  type LoggerOptions,
  parseLogLevel,
  type RootLogger,
} from "./log.ts";

/**
 * Makes the log of one process: every line is with the operating system when the call returns,
 * so that nothing of it is lost with the process, and a line costs two microseconds.
 * Throws `ImproperlyConfigured` for a level or a format that cannot work, and the error of the
 * operating system for a file that cannot be opened.
 */
export function createLogger(options: LoggerOptions = {}): RootLogger {
  const level = parseLogLevel(options.level ?? "WARNING");
  const target = options.destination ?? "stderr";
  const fd = target === "stderr" ? 2 : target === "stdout" ? 1 : null;
  const destination = openDestination(fd ?? target);
  const processName = options.processName ?? "MainProcess";
  const render =
    options.format === "json"
      ? jsonLine(processName)
      : textLine({
          processName,
          format: options.format ?? defaultLogFormat,
          taskFormat: options.taskFormat ?? defaultTaskLogFormat,
          color: fd !== null && (options.color ?? isatty(fd)) && isatty(fd),
        });

  const engine = pino({ level, base: null, timestamp: false }, destination) as unknown as Engine;
  // pino turns fields into JSON and lets a stream turn that into text; here the line is made at once.
  engine[bindingsSym] = {};
  engine[pino.symbols.asJsonSym] = function (this: Engine, fields, message, levelNumber) {
    return render(levelNumber, message, fields, this[bindingsSym]);
  };
  engine.child = function (this: Engine, bindings) {
    const child = pinoChild.call(this, {});
    child[bindingsSym] = { ...this[bindingsSym], ...bindings };
    return child;
  };
  return Object.assign(engine, {
    reopen: () => destination.reopen(),
    close: () => destination.close(),
  });
}

// ── the engine ───────────────────────────────────────────────────────────────

const bindingsSym = Symbol("tq.bindings");

interface Engine extends Logger {
  [bindingsSym]: LogFields;
  [pino.symbols.asJsonSym](this: Engine, fields: LogFields, message: unknown, levelNumber: number): string;
  child(bindings: LogFields): Engine;
}

const pinoChild = (Object.getPrototypeOf(pino({ enabled: false })) as Engine).child;

type LineRenderer = (level: number, message: unknown, fields: LogFields, bindings: LogFields) => string;

interface LogDestination {
  write(line: string): void;
  flushSync(): void;
  reopen(): void;
  close(): void;
}

/** pino's stream knows its descriptor, its types do not. */
const openedFd = (stream: unknown): number => (stream as { readonly fd: number }).fd;

/** Lines nobody takes are kept up to this size, then dropped: a full disk must not fill the memory. */
const mostUnwritten = 1024 * 1024;

function openDestination(target: number | string): LogDestination {
  const stream = pino.destination({ dest: target, sync: true, append: true, mode: 0o644, maxLength: mostUnwritten });
  // A closed pipe or a full disk: there is nowhere to say it, and a worker must not end over its log.
  stream.on("error", () => undefined);
  if (typeof target === "number") {
    return {
      write: (line) => stream.write(line),
      flushSync: () => undefined,
      reopen: () => undefined,
      close: () => undefined,
    };
  }

  let open = true;
  let inode = fstatSync(openedFd(stream)).ino;
  let checkedAt = Date.now();
  const reopen = (): void => {
    if (!open) return;
    try {
      stream.reopen();
      inode = fstatSync(openedFd(stream)).ino;
    } catch {
      // Its folder is gone or closed to us: the open file goes on being written.
    }
  };
  // As Python's WatchedFileHandler: who rotates logs need not send a signal.
  const reopenWhenReplaced = (): void => {
    const now = Date.now();
    if (now - checkedAt < 1000) return;
    checkedAt = now;
    if (statSync(target, { throwIfNoEntry: false })?.ino !== inode) reopen();
  };
  return {
    write(line) {
      if (!open) return;
      reopenWhenReplaced();
      stream.write(line);
    },
    flushSync: () => undefined,
    reopen,
    close() {
      if (!open) return;
      open = false;
      stream.end();
    },
  };
}

// ── lines ────────────────────────────────────────────────────────────────────

const levelLabels: Readonly<Record<number, string>> = {
  10: "TRACE",
  20: "DEBUG",
  30: "INFO",
  40: "WARNING",
  50: "ERROR",
  60: "CRITICAL",
};

/** celery.utils.log.ColorFormatter: blue, yellow, red and magenta, bold. */
const levelColors: Readonly<Record<number, string>> = {
  20: "\u001b[1;34m",
  40: "\u001b[1;33m",
  50: "\u001b[1;31m",
  60: "\u001b[1;35m",
};

interface Line {
  readonly level: number;
  readonly message: string;
  readonly processName: string;
  readonly fields: LogFields;
  readonly bindings: LogFields;
}

function textLine(options: {
  readonly processName: string;
  readonly format: string;
  readonly taskFormat: string;
  readonly color: boolean;
}): LineRenderer {
  const clock = localClock();
  const format = compileFormat(options.format, clock);
  const taskFormat = compileFormat(options.taskFormat, clock);
  return (level, message, fields, bindings) => {
    const line = {
      level,
      message: message === undefined ? "" : String(message),
      processName: fields.processName ?? bindings.processName ?? options.processName,
      fields,
      bindings,
    };
    let text = ((fields.task ?? bindings.task) === true ? taskFormat : format)(line);
    const err = fields.err ?? bindings.err;
    if (err !== undefined && err !== null) text += `\n${describeError(err)}`;
    const color = options.color ? levelColors[level] : undefined;
    return color === undefined ? `${text}\n` : `${color}${text}\u001b[0m\n`;
  };
}

function jsonLine(processName: string): LineRenderer {
  return (level, message, fields, bindings) => {
    const { err, ...rest } = { ...bindings, ...fields };
    const line = {
      time: new Date().toISOString(),
      level: levelLabels[level],
      processName,
      pid: process.pid,
      ...rest,
      ...(message === undefined ? {} : { message }),
      ...(err === undefined || err === null ? {} : { err: describeError(err) }),
    };
    return `${JSON.stringify(line, jsonSafe())}\n`;
  };
}

/** Keeps JSON.stringify from throwing: a log line is no place to fail. */
function jsonSafe(): (key: string, value: unknown) => unknown {
  const seen = new WeakSet<object>();
  return (_key, value) => {
    if (typeof value === "bigint") return value.toString();
    if (typeof value === "object" && value !== null) {
      if (seen.has(value)) return "[seen above]";
      seen.add(value);
    }
    return value;
  };
}

// ── Python's %-formats ───────────────────────────────────────────────────────

type FieldOfLine = (line: Line) => string | number;

function compileFormat(format: string, clock: LocalClock): (line: Line) => string {
  const fields: Readonly<Record<string, FieldOfLine>> = {
    asctime: () => clock(),
    levelname: (line) => levelLabels[line.level] ?? String(line.level),
    levelno: (line) => line.level,
    processName: (line) => line.processName,
    process: () => process.pid,
    message: (line) => line.message,
    name: (line) => text(line, "name", "tq"),
    task_name: (line) => text(line, "taskName", "???"),
    task_id: (line) => text(line, "taskId", "???"),
    hostname: (line) => text(line, "hostname", ""),
    created: () => Date.now() / 1000,
    msecs: () => Date.now() % 1000,
    thread: () => 0,
    threadName: () => "MainThread",
  };
  const parts: (string | FieldOfLine)[] = [];
  let end = 0;
  for (const match of format.matchAll(/%(?:%|\((\w+)\)([-0]*)(\d*)(?:\.(\d+))?([sdf])|)/g)) {
    parts.push(format.slice(end, match.index));
    end = match.index + match[0].length;
    if (match[0] === "%%") {
      parts.push("%");
      continue;
    }
    const field = fields[match[1] ?? ""];
    if (field === undefined) {
      const given = format.slice(match.index, match.index + 24);
      throw new ImproperlyConfigured(
        `log format must use %(name)s with one of ${Object.keys(fields).join(", ")}, got: ${JSON.stringify(given)}`,
      );
    }
    const [flags = "", width = "", precision, conversion] = [match[2], match[3], match[4], match[5]];
    const plain = flags === "" && width === "" && precision === undefined && conversion === "s";
    parts.push(plain ? field : (line) => pad(spell(field(line), conversion, precision), flags, Number(width)));
  }
  parts.push(format.slice(end));

  const used = parts.filter((part) => part !== "");
  return (line) => {
    let text = "";
    for (const part of used) text += typeof part === "string" ? part : part(line);
    return text;
  };
}

function text(line: Line, key: string, otherwise: string): string {
  const value = line.fields[key] ?? line.bindings[key];
  return value === undefined || value === null ? otherwise : String(value);
}

function spell(value: string | number, conversion: string | undefined, precision: string | undefined): string {
  if (typeof value === "string" || conversion === "s") {
    return precision === undefined ? String(value) : String(value).slice(0, Number(precision));
  }
  return conversion === "f" ? value.toFixed(Number(precision ?? 6)) : String(Math.trunc(value));
}

function pad(value: string, flags: string, width: number): string {
  if (flags.includes("-")) return value.padEnd(width);
  return value.padStart(width, flags.includes("0") ? "0" : " ");
}

type LocalClock = () => string;

/** Local time as `2025-12-28 11:43:42,407`, Python's default; the part down to the second is kept for that second. */
function localClock(): LocalClock {
  let second = Number.NaN;
  let prefix = "";
  return () => {
    const now = Date.now();
    const millisecond = now % 1000;
    if (now - millisecond !== second) {
      second = now - millisecond;
      prefix = `${formatLocalTime(new Date(second))},`;
    }
    return millisecond < 10
      ? `${prefix}00${millisecond}`
      : millisecond < 100
        ? `${prefix}0${millisecond}`
        : prefix + millisecond;
  };
}
