import type { Tq } from "../app/app.ts";
import { ImproperlyConfigured, type PoolStartError } from "../errors.ts";
import type { Executor } from "../execution/executor.ts";
import type { Job } from "../execution/job.ts";
import { type LogLevel, parseLogLevel, type RootLogger } from "../log.ts";
import { AsyncPool } from "../pool/async.ts";
import { CrewPool } from "../pool/crew/pool.ts";
import { createCustomPool } from "../pool/custom.ts";
import type { Pool } from "../pool/pool.ts";
import { ProcessMaker } from "../pool/prefork/prefork.ts";
import { SoloPool } from "../pool/solo.ts";
import { expandNodename } from "../protocol/nodename.ts";
import { captureOutput, logsOfTasks } from "../task/captured-output.ts";
import type { WorkerOptions } from "./options.ts";

/** Jobs a child may have in hand with `-O fast`. */
const fastBatch = 64;
/** What else it may have in hand without, where it runs one at a time and while tasks are short: the next ones need not be waited for. */
const lookahead = 3;

export interface PoolRequest {
  readonly app: Tq;
  readonly options: WorkerOptions;
  readonly hostname: string;
  readonly concurrency: number;
  readonly logger: RootLogger;
  /** No slot can take a job any more: the worker has to stop, for this reason. */
  readonly onFatal: (error: PoolStartError) => void;
}

/** The pool a worker was asked for (`-P`, `workerPool`). Rejects with `ImproperlyConfigured` for one that cannot be had. */
export async function createPool(request: PoolRequest): Promise<Pool> {
  const { app, options, hostname, concurrency, logger } = request;
  const { settings } = app.conf;
  const kind = options.pool ?? settings.workerPool;
  switch (kind) {
    case "prefork":
    case "processes":
      return createPrefork(request);
    case "threads":
      return await createThreads(request);
    case "solo": {
      const [executor, onEnd] = inPlace(request);
      return new SoloPool(executor, { onEnd });
    }
    // Green threads are what asynchronous tasks are in Node.
    case "async":
    case "eventlet":
    case "gevent": {
      const [executor, onEnd] = inPlace(request);
      return new AsyncPool(executor, { width: concurrency, onEnd });
    }
    default: {
      const module = kind === "custom" ? customModule(settings.workerPool) : kind;
      const context = { app, hostname, concurrency, logger, executor: app.executor({ logger, handsOver: true }) };
      return await createCustomPool(module, context, options.cwd ?? process.cwd());
    }
  }
}

/** Whether tasks run in the worker's own process, and may block its event loop. A pool of one's own is taken to. */
export function runsInPlace({ conf }: Tq, { pool = conf.settings.workerPool }: WorkerOptions): boolean {
  return !["prefork", "processes", "threads"].includes(pool);
}

function createPrefork(request: PoolRequest): Pool {
  const { options, logger } = request;
  const slots = options.async ?? 1;
  const eager = options.optimization === "fast";
  const wanted = eager ? Math.max(slots, fastBatch) : slots === 1 ? 1 + lookahead : slots;
  const birth = { ...birthOf(request, "prefork"), slots };
  const maker = new ProcessMaker({ birth, logger });
  return new CrewPool({
    ...crewOptions(request),
    kind: "prefork",
    memberName: "ForkPoolWorker",
    make: maker.make,
    slots,
    batch: maker.takesBack ? wanted : slots,
    eager,
    onEnd: () => maker[Symbol.dispose](),
  });
}

async function createThreads(request: PoolRequest): Promise<Pool> {
  const { Thread } = await import("../pool/threads.ts");
  const slots = request.options.async ?? 1;
  const birth = { ...birthOf(request, "threads"), slots };
  return new CrewPool({
    ...crewOptions(request),
    kind: "threads",
    memberName: "ThreadPoolWorker",
    make: (identity, events) => new Thread({ ...birth, ...identity }, events),
    slots,
    batch: slots,
    eager: false,
    onEnd: () => undefined,
  });
}

function crewOptions({ app, options, hostname, concurrency, logger, onFatal }: PoolRequest) {
  const { settings } = app.conf;
  return {
    width: concurrency,
    limits: {
      maxTasks: options.maxTasksPerChild ?? settings.workerMaxTasksPerChild,
      maxMemory: options.maxMemoryPerChild ?? settings.workerMaxMemoryPerChild,
    },
    // They load the app beside each other, on processors that may be fewer.
    aliveTimeout: settings.workerProcAliveTimeout + 2 * (options.loadSeconds ?? 0),
    logger,
    onCreate: (identity: { readonly index: number; readonly name: string }) => {
      if (app.signals.has("workerBeforeCreateProcess"))
        void app.signals.send("workerBeforeCreateProcess", { hostname, ...identity });
    },
    onPrint: printer(app, logger),
    onFatal,
  };
}

function birthOf({ app, options, hostname }: PoolRequest, kind: string) {
  const { appSpec, include = [], cwd = process.cwd(), overrides = {}, loglevel = "WARNING" } = options;
  const logfile = logfileOf(options, hostname);
  if (!appSpec) {
    throw new ImproperlyConfigured(
      `the ${kind} pool needs to know where its children find the app: give \`appSpec\` (-A), or use the solo or the async pool`,
    );
  }
  return { hostname, appSpec, cwd, include, loglevel, logfile, redirect: redirectLevel(app), overrides };
}

/** An executor for this process, whose tasks' output is captured until the pool ends. */
function inPlace({ app, options, hostname, logger }: PoolRequest): readonly [executor: Executor, onEnd: () => void] {
  const level = redirectLevel(app);
  const logPlace = { file: logfileOf(options, hostname), level: options.loglevel ?? "WARNING" };
  const parts = { logger, logPlace, handsOver: true };
  if (level === null) return [app.executor(parts), () => undefined];
  const captured = captureOutput({ level, loggerOf: logsOfTasks() });
  return [app.executor({ ...parts, onRunEnd: captured.flush }), () => captured[Symbol.dispose]()];
}

const logfileOf = ({ logfile }: WorkerOptions, hostname: string): string | null =>
  logfile ? expandNodename(logfile, { nodename: hostname, pid: process.pid }) : null;

function redirectLevel(app: Tq): LogLevel | null {
  const { workerRedirectStdouts, workerRedirectStdoutsLevel } = app.conf.settings;
  return workerRedirectStdouts ? parseLogLevel(workerRedirectStdoutsLevel) : null;
}

/** `--pool custom`: the module is named by the setting or, as in Celery, by the environment. */
function customModule(workerPool: string): string {
  const named = process.env.TQ_CUSTOM_WORKER_POOL ?? process.env.CELERY_CUSTOM_WORKER_POOL;
  const module = named ?? (["prefork", "custom"].includes(workerPool) ? undefined : workerPool);
  if (module !== undefined) return module;
  throw new ImproperlyConfigured(
    "--pool custom needs the module of the pool: set `workerPool` to its path, or TQ_CUSTOM_WORKER_POOL",
  );
}

/** What programs started by tasks print goes to the log, marked with who printed it. */
function printer(app: Tq, logger: RootLogger): (line: string, processName: string, job: Job | undefined) => void {
  const level = redirectLevel(app);
  return (line, processName, job) => {
    if (level === null || line.trim() === "") return;
    const { headers } = job?.message ?? {};
    const task = headers ? { task: true, taskName: headers.task, taskId: headers.id } : {};
    logger[level]({ processName, ...task }, "%s", line);
  };
}
