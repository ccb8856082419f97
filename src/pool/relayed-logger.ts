import { format } from "node:util";
import { describeError, type LogFields, type Logger, type LogLevel, parseLogLevel } from "../log.ts";

const order: readonly LogLevel[] = ["trace", "debug", "info", "warn", "error", "fatal"];

/** Passes a line on to whoever owns the log. */
export type LogRelay = (level: LogLevel, message: string, fields: Readonly<Record<string, unknown>>) => void;

/** A logger whose lines are written by another: a child's by its parent, which owns the log file. */
export function relayedLogger(loglevel: string, relay: LogRelay): Logger {
  const threshold = order.indexOf(parseLogLevel(loglevel));
  const make = (bindings: LogFields): Logger => {
    const method =
      (level: LogLevel) =>
      (first: string | LogFields | Error, ...rest: readonly unknown[]): void => {
        if (order.indexOf(level) < threshold) return;
        const [given, ...values] = typeof first === "string" ? [{}, first, ...rest] : [first, ...rest];
        const fields: LogFields = given instanceof Error ? { err: given } : (given as LogFields);
        const all: LogFields = { ...bindings, ...fields };
        const message = values.length === 0 && given instanceof Error ? given.message : format(...values);
        relay(level, message, all.err === undefined ? all : { ...all, err: describeError(all.err) });
      };
    return {
      trace: method("trace"),
      debug: method("debug"),
      info: method("info"),
      warn: method("warn"),
      error: method("error"),
      fatal: method("fatal"),
      level: order[threshold] as string,
      isLevelEnabled: (level: LogLevel) => order.indexOf(level) >= threshold,
      child: (more) => make({ ...bindings, ...more }),
    } as Logger;
  };
  return make({});
}
