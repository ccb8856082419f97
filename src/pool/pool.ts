import type { Job } from "../execution/job.ts";
import type { Outcome } from "../execution/outcome.ts";
import type { ProcessReport } from "../system/process-report.ts";

/** Who runs a job: what the parent needs for logs and for `inspect active`. */
export interface Runner {
  readonly pid: number;
  /** `ForkPoolWorker-1`, as Celery names its children. */
  readonly name: string;
}

/** Runs tasks, and hides whether in processes, threads, or this very event loop. */
export interface Pool {
  /** `prefork`, `threads`, `solo`, `async`, or what a custom pool calls itself. */
  readonly kind: string;
  /** Tasks it runs at once. */
  readonly slots: number;
  /** How many jobs it takes at once, some of which may wait for others. Giving it more is the caller's mistake. */
  readonly size: number;
  /** What `resize` changes: children, threads, or tasks at once where there are neither. */
  readonly width: number;
  /** Children or threads that have ended since the start, for whatever reason; left out by pools without them. */
  readonly ended?: number;
  /** Resolves when every slot can take a job; rejects with `PoolStartError` if none ever can. */
  start(): Promise<void>;
  /** Never rejects: each way a job can end is an `Outcome`. `onAccepted` is called just before the task's code begins. */
  run(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult>;
  /** False when no running job has this task id, or this kind of pool cannot stop one. */
  terminate(taskId: string, signal: NodeJS.Signals): boolean;
  /** Grows at once, shrinks by what is idle first; a running job always finishes. */
  resize(width: number): Promise<void>;
  /** Replaces every child, each once its successor is ready; running jobs finish first. */
  restart(): Promise<void>;
  /** What `inspect stats` shows of it, under Celery's keys. */
  stats(): Readonly<Record<string, unknown>>;
  /**
   * Takes out of its hands what has not begun, in the order in which it came: what `run` promised of these
   * never settles, and whoever gave them may give them again. Left out by pools that begin what they are given.
   */
  recall?(): readonly Job[];
  /** Asks every child or thread what it is doing; one that does not answer within a second has no report, but where possible, within another three, its stack. Left out by pools without them. */
  report?(): Promise<readonly MemberReport[]>;
  /** Waits for running jobs; when `signal` aborts, kills what still runs. */
  stop(signal: AbortSignal): Promise<void>;
}

/** A child or thread, as the report of a worker shows it. */
export interface MemberReport {
  readonly runner: Runner;
  readonly role: "works" | "starting" | "spare" | "leaving";
  /** Null when it did not answer: its event loop is blocked. */
  readonly report: ProcessReport | null;
  /** The JavaScript that blocks it, the innermost call first; null when it is not blocked, or nobody can tell. */
  readonly stack: readonly string[] | null;
}

export interface PoolResult {
  readonly outcome: Outcome;
  readonly runner: Runner | null;
}
