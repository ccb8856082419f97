import type { Tq } from "../app/app.ts";
import { ImproperlyConfigured, type PoolStartError } from "../errors.ts";
import { type LogLevel, parseLogLevel, type RootLogger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import { PreforkPool } from "../pool/prefork/pool.ts";
import { SoloPool } from "../pool/solo.ts";
import type { WorkerOptions } from "./options.ts";

/** Jobs a child may have in hand with `-O fast`. */
const fastBatch = 64;

export interface PoolRequest {
  readonly app: Tq;
  readonly options: WorkerOptions;
  readonly hostname: string;
  readonly concurrency: number;
  readonly logger: RootLogger;
  /** No slot can take a job any more: the worker has to stop, for this reason. */
  readonly onFatal: (error: PoolStartError) => void;
}

/** The pool a worker was asked for (`-P`). Throws `ImproperlyConfigured` for one that cannot be had. */
export function createPool({ app, options, hostname, concurrency, logger, onFatal }: PoolRequest): Pool {
  const {
    pool = "prefork",
    optimization = "fair",
    appSpec,
    include = [],
    cwd = process.cwd(),
    overrides = {},
  } = options;
  const { settings } = app.conf;
  switch (pool) {
    case "solo":
      return new SoloPool(app.executor({ logger }));
    case "prefork":
    case "processes":
      if (!appSpec) {
        throw new ImproperlyConfigured(
          "the prefork pool needs to know where its children find the app: give `appSpec` (-A), or use the solo pool",
        );
      }
      return new PreforkPool({
        size: concurrency,
        batch: optimization === "fast" ? fastBatch : 1,
        limits: {
          maxTasks: options.maxTasksPerChild ?? settings.workerMaxTasksPerChild,
          maxMemory: options.maxMemoryPerChild ?? settings.workerMaxMemoryPerChild,
        },
        aliveTimeout: settings.workerProcAliveTimeout,
        birth: { hostname, appSpec, cwd, include, loglevel: options.loglevel ?? "WARNING", overrides },
        logger,
        onPrint: printer(app, logger),
        onFatal,
      });
    default:
      throw new ImproperlyConfigured(`pool must be one of prefork, processes or solo in this release, got: ${pool}`);
  }
}

/** What tasks print goes to the log, marked with who printed it; or, unredirected, out as it is. */
function printer(app: Tq, logger: RootLogger): (line: string, processName: string) => void {
  const { settings } = app.conf;
  if (!settings.workerRedirectStdouts) return (line) => void process.stdout.write(`${line}\n`);
  const level: LogLevel = parseLogLevel(settings.workerRedirectStdoutsLevel);
  return (line, processName) => {
    if (line.trim() !== "") logger[level]({ processName }, "%s", line);
  };
}
