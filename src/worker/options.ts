import type { Supervision } from "../system/supervision.ts";

/** What a worker can be told beyond its app's settings; left out means: as the settings say. Durations are seconds. */
export interface WorkerOptions {
  /** `-A`, as given: children load the app by it. */
  readonly appSpec?: string;
  /** What loading the app took here: children, which load it too, are given time for it. Default 0. */
  readonly loadSeconds?: number;
  /** `-n`; default `celery@<host>`. */
  readonly hostname?: string;
  readonly loglevel?: string;
  /** Path; default stderr. `%n %h %p %i %I` are expanded. */
  readonly logfile?: string;
  readonly concurrency?: number;
  /** Asynchronous tasks each child or thread runs at once; default 1. */
  readonly async?: number;
  /** The pool grows and shrinks between these with what there is to do. */
  readonly autoscale?: { readonly max: number; readonly min: number };
  readonly pool?: string;
  /** `-Q`. */
  readonly queues?: readonly string[];
  /** `-X`. */
  readonly excludeQueues?: readonly string[];
  /** `-I`. */
  readonly include?: readonly string[];
  /** `fair` (default): a child gets a task when it is idle; `fast`: short tasks go in small batches. */
  readonly optimization?: string;
  readonly prefetchMultiplier?: number;
  /** Take a message only when a slot is free. */
  readonly disablePrefetch?: boolean;
  readonly purge?: boolean;
  readonly maxTasksPerChild?: number;
  /** KiB. */
  readonly maxMemoryPerChild?: number;
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
  readonly taskEvents?: boolean;
  /** Serve Prometheus metrics, `/livez` and `/readyz` on this port; 0 takes a free one. Default: none of it. */
  readonly metricsPort?: number;
  /** Address they are served on; default 127.0.0.1. */
  readonly metricsHost?: string;
  /** Do not listen to the events of other workers. */
  readonly withoutGossip?: boolean;
  /** No worker-online, worker-heartbeat and worker-offline events. */
  readonly withoutHeartbeat?: boolean;
  /** Seconds between two worker-heartbeat events; default 2. */
  readonly heartbeatInterval?: number;
  readonly withoutMingle?: boolean;
  /** File that keeps what was revoked over restarts. `%n %h %p` are expanded. */
  readonly statedb?: string;
  readonly pidfile?: string;
  /** Seconds a warm shutdown may take before it turns cold. */
  readonly grace?: number;
  /** `-B`: beat runs in this worker. */
  readonly beat?: boolean;
  /** `-s`: the file that keeps beat's schedule. */
  readonly scheduleFilename?: string;
  /** No banner. */
  readonly quiet?: boolean;
  readonly cwd?: string;
  /** Whoever started this process and waits for it; by default found in the environment. */
  readonly supervision?: Supervision;
  /** Settings of the command line, for the children too. */
  readonly overrides?: Readonly<Record<string, unknown>>;
}
