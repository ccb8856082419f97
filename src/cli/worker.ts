import { MessageChannel } from "node:worker_threads";
import { type Command, InvalidArgumentError } from "commander";
import { logLevelNames } from "../log.ts";
import { collectLess } from "../system/heap-growth.ts";
import { onSignal } from "../system/posix-signals.ts";
import { endWithStandIn, restartProcess } from "../system/restart.ts";
import { keepYoungGeneration } from "../system/young-generation.ts";
import { version } from "../version.ts";
import type { WorkerOptions } from "../worker/options.ts";
import type { CommandModule } from "./command.ts";
import { parseConfigArguments } from "./config-arguments.ts";
import { daemonOptions, runDaemon } from "./daemon.ts";
import { addOptions, commaSeparated, integer, limit, type OptionSpecs, type OptionValues, oneOf } from "./options.ts";
import type { Output } from "./output.ts";
import { optionsFor } from "./session.ts";

const workerGroup = "Worker Options";
const poolGroup = "Pool Options";
const queueGroup = "Queue Options";
const features = "Features";
const beatGroup = "Embedded Beat Options";

const pools = ["prefork", "eventlet", "gevent", "solo", "processes", "threads", "async", "custom"] as const;

/** The options of `tq worker`. */
export const workerOptionSpecs = {
  hostname: {
    flags: ["-n", "--hostname"],
    metavar: "HOSTNAME",
    group: workerGroup,
    help: "Set custom hostname (e.g., 'w1@%h').  Expands: %h (hostname), %n (name) and %d, (domain).",
  },
  detach: { flags: ["-D", "--detach"], group: workerGroup, help: "Start worker as a background process." },
  statedb: {
    flags: ["-S", "--statedb"],
    metavar: "PATH",
    group: workerGroup,
    help: "Path to the state database. The extension '.db' may be appended to the filename.",
  },
  loglevel: {
    flags: ["-l", "--loglevel"],
    hiddenFlags: ["-L"],
    metavar: `[${logLevelNames.join("|")}]`,
    group: workerGroup,
    help: "Logging level.",
    parse: oneOf(logLevelNames),
  },
  logFormat: {
    flags: ["--log-format"],
    metavar: "[text|json]",
    group: workerGroup,
    help: "Form of the log: text lines as workerLogFormat says, or one JSON document per line.",
    parse: oneOf(["text", "json"]),
  },
  optimization: {
    flags: ["-O", "--optimization"],
    metavar: "[default|fair|fast]",
    group: workerGroup,
    help: "Apply optimization profile.",
    parse: oneOf(["default", "fair", "fast"]),
  },
  prefetchMultiplier: {
    flags: ["--prefetch-multiplier"],
    metavar: "<prefetch multiplier>",
    group: workerGroup,
    help: "Set custom prefetch multiplier value for this worker instance.",
    parse: integer(0),
  },
  disablePrefetch: {
    flags: ["--disable-prefetch"],
    group: workerGroup,
    help: "Disable broker prefetching. The worker will only fetch a task when a process slot is available. Only supported with Redis brokers.",
  },
  concurrency: {
    flags: ["-c", "--concurrency"],
    metavar: "<concurrency>",
    group: poolGroup,
    help: "Number of child processes processing the queue.  The default is the number of CPUs available on your system.",
    parse: integer(1),
  },
  pool: {
    flags: ["-P", "--pool"],
    metavar: `[${pools.join("|")}]`,
    group: poolGroup,
    help: "Pool implementation.",
    parse: oneOf(pools),
  },
  async: {
    flags: ["--async"],
    metavar: "N",
    group: poolGroup,
    help: "Asynchronous tasks each child or thread runs at once: -c 4 --async 50 makes 200 slots.",
    parse: integer(1),
  },
  taskEvents: {
    flags: ["-E", "--task-events", "--events"],
    group: poolGroup,
    help: "Send task-related events that can be captured by monitors like celery events, celerymon, and others.",
  },
  timeLimit: {
    flags: ["--time-limit"],
    metavar: "FLOAT",
    group: poolGroup,
    help: "Enables a hard time limit (in seconds int/float) for tasks.",
    parse: limit,
  },
  softTimeLimit: {
    flags: ["--soft-time-limit"],
    metavar: "FLOAT",
    group: poolGroup,
    help: "Enables a soft time limit (in seconds int/float) for tasks.",
    parse: limit,
  },
  maxTasksPerChild: {
    flags: ["--max-tasks-per-child"],
    metavar: "INTEGER",
    group: poolGroup,
    help: "Maximum number of tasks a pool worker can execute before it's terminated and replaced by a new worker.",
    parse: integer(1),
  },
  maxMemoryPerChild: {
    flags: ["--max-memory-per-child"],
    metavar: "INTEGER",
    group: poolGroup,
    help: "Maximum amount of resident memory, in KiB, that may be consumed by a child process before it will be replaced by a new one.  If a single task causes a child process to exceed this limit, the task will be completed and the child process will be replaced afterwards. Default: no limit.",
    parse: integer(1),
  },
  grace: {
    flags: ["--grace"],
    metavar: "SECONDS",
    group: workerGroup,
    help: "Seconds a warm shutdown may take: what still runs then is given back, or ended as in a cold shutdown.",
    parse: limit,
  },
  purge: { flags: ["--purge", "--discard"], group: queueGroup, help: "Erase the waiting messages before starting." },
  queues: {
    flags: ["-Q", "--queues"],
    metavar: "COMMA SEPARATED LIST",
    group: queueGroup,
    help: "Consume these queues alone.",
    parse: commaSeparated,
  },
  excludeQueues: {
    flags: ["-X", "--exclude-queues"],
    metavar: "COMMA SEPARATED LIST",
    group: queueGroup,
    help: "Consume all configured queues but these.",
    parse: commaSeparated,
  },
  include: {
    flags: ["-I", "--include"],
    metavar: "COMMA SEPARATED LIST",
    group: queueGroup,
    help: "More modules to import.",
    parse: commaSeparated,
  },
  metricsPort: {
    flags: ["--metrics-port"],
    metavar: "INTEGER",
    group: features,
    help: "Serve Prometheus metrics, /livez and /readyz on this port. Default: off.",
    parse: integer(0),
  },
  metricsHost: {
    flags: ["--metrics-host"],
    metavar: "ADDRESS",
    group: features,
    help: "Address the metrics are served on; default 127.0.0.1.",
  },
  withoutGossip: { flags: ["--without-gossip"], group: features },
  withoutMingle: { flags: ["--without-mingle"], group: features },
  withoutHeartbeat: { flags: ["--without-heartbeat"], group: features },
  heartbeatInterval: { flags: ["--heartbeat-interval"], metavar: "INTEGER", group: features, parse: integer(1) },
  autoscale: {
    flags: ["--autoscale"],
    metavar: "<MIN WORKERS>, <MAX WORKERS>",
    group: features,
    help: "Grow and shrink the pool with what there is to do, between these sizes.",
    parse: autoscaleBounds,
  },
  beat: { flags: ["-B", "--beat"], group: beatGroup },
  scheduleFilename: { flags: ["-s", "--schedule-filename", "--schedule"], metavar: "TEXT", group: beatGroup },
  scheduler: { flags: ["--scheduler"], metavar: "TEXT", group: beatGroup },
  ...daemonOptions,
} as const satisfies OptionSpecs;

type Values = OptionValues<typeof workerOptionSpecs>;

/** `tq worker`: runs tasks until told to stop. */
export const workerCommand: CommandModule = {
  description: `Start worker instance.

Examples
--------

$ tq --app=proj worker -l INFO
$ tq -A proj worker -l INFO -Q hipri,lopri
$ tq -A proj worker --concurrency=4
$ tq -A proj worker --concurrency=1 -P solo
$ tq -A proj worker -- worker.prefetch_multiplier=1`,
  define(command) {
    command.usage("[OPTIONS] [-- key=value...]").argument("[key=value...]", "Settings for this worker.");
    addOptions(command, workerOptionSpecs);
    hideArguments(command);
  },
  async run(command, session) {
    // Before there is a worker that heeds them: one would end the process, the other let in a debugger.
    const early = onSignal(["SIGUSR1", "SIGUSR2"], () => undefined);
    const values = optionsFor(command, workerOptionSpecs, session);
    const extra = parseConfigArguments(command.args, "worker");
    noticeMissing(values, session.output);
    const { hostname } = values;
    const flags = {
      ...extra,
      ...(session.globals.noColor ? { workerLogColor: false } : {}),
      ...(values.logFormat === "json" ? { workerLogFormat: "json" } : {}),
    };
    return await runDaemon(
      { session, command: "worker", values, hostname, flags },
      async ({ app, spec, overrides, loadSeconds }, { logfile, pidfile }, supervision) => {
        const { Worker } = await import("../worker/worker.ts");
        const worker = new Worker(app, {
          ...workerOptions(values, session.globals.quiet),
          ...(logfile === null ? {} : { logfile }),
          ...(pidfile === null ? {} : { pidfile }),
          appSpec: spec,
          overrides,
          loadSeconds,
          supervision,
        });
        // Waiting for messages need not keep a process open (an empty memory broker does not): being a worker does.
        const alive = new MessageChannel();
        alive.port1.ref();
        endWithStandIn(session.env);
        // Its children run the tasks, and it hands messages on.
        if (["prefork", "processes"].includes(values.pool ?? app.conf.settings.workerPool)) {
          keepYoungGeneration();
          collectLess();
        }
        try {
          const exitCode = await worker.run();
          return worker.wantsRestart ? await restartProcess() : exitCode;
        } finally {
          alive.port1.close();
        }
      },
    ).finally(() => early[Symbol.dispose]());
  },
};

function workerOptions(values: Values, quiet: boolean | undefined): WorkerOptions {
  const {
    optimization,
    pool,
    detach: _detach,
    logFormat: _logFormat,
    scheduler: _scheduler,
    uid: _uid,
    gid: _gid,
    umask: _umask,
    executable: _executable,
    ...same
  } = values;
  return {
    ...same,
    cwd: process.cwd(),
    ...(quiet ? { quiet } : {}),
    // `default` is another word for `fair`, and `processes` for `prefork`.
    ...(optimization === undefined ? {} : { optimization: optimization === "default" ? "fair" : optimization }),
    ...(pool === undefined ? {} : { pool: pool === "processes" ? "prefork" : pool }),
  };
}

/** What is left out without harm is said once. */
function noticeMissing(values: Values, output: Output): void {
  const given: Readonly<Record<string, boolean>> = {
    "--scheduler": values.scheduler !== undefined,
  };
  for (const [flag, isGiven] of Object.entries(given)) {
    if (isGiven) output.notice(`${flag} has no effect yet in tq ${version}.`);
  }
}

/** `10,3` or `3,10`: at most ten, at least three; one number is the most. */
function autoscaleBounds(text: string): { readonly max: number; readonly min: number } {
  const numbers = text.split(",").map((part) => (/^\s*\d+\s*$/.test(part) ? Number(part) : Number.NaN));
  const [max = 0, min = 0] = numbers.sort((a, b) => b - a);
  if (numbers.length <= 2 && numbers.every(Number.isInteger) && max > 0) return { max, min };
  throw new InvalidArgumentError("Expected two comma separated integers or one integer, such as 10,3.");
}

/** The usage line shows the trailing settings; a list of one argument would only take room. */
function hideArguments(command: Command): void {
  command.configureHelp({ ...command.configureHelp(), visibleArguments: () => [] });
}
