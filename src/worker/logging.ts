import { type Logger, type LoggerOptions, type RootLogger, silentLogger } from "../log.ts";
import { createLogger } from "../log-writer.ts";
import type { Signals } from "../task/signals.ts";

/**
 * The worker's log. With a listener of `setupLogging` tq sets up none: lines go to the logger the
 * listener gave to `use`, or nowhere. Otherwise `afterSetupLogger` and `afterSetupTaskLogger` tell of it.
 */
export function setUpLogging(options: LoggerOptions, signals: Signals): RootLogger {
  const details = {
    loglevel: options.level ?? "WARNING",
    logfile: options.destination ?? null,
    format: options.format ?? null,
    colorize: options.color ?? null,
  };
  if (!signals.has("setupLogging")) {
    const logger = createLogger(options);
    void signals.send("afterSetupLogger", { ...details, logger });
    void signals.send("afterSetupTaskLogger", { ...details, format: options.taskFormat ?? null, logger });
    return logger;
  }
  let used: Logger | undefined;
  void signals.send("setupLogging", {
    ...details,
    use: (logger) => {
      used = logger;
    },
  });
  return Object.assign(Object.create(used ?? silentLogger) as RootLogger, {
    reopen: () => undefined,
    close: () => undefined,
  });
}
