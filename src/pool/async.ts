import type { Executor } from "../execution/executor.ts";
import type { Job } from "../execution/job.ts";
import type { Outcome } from "../execution/outcome.ts";
import { RunHandle } from "../execution/run-handle.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { abandonedBecause } from "./abandon.ts";
import type { Pool, PoolResult, Runner } from "./pool.ts";

interface Run {
  readonly job: Job;
  readonly handle: RunHandle;
  readonly end: (outcome: Outcome) => void;
}

export interface InPlaceOptions {
  /** Tasks at once. */
  readonly width: number;
  /** The pool has stopped. */
  readonly onEnd?: () => void;
}

/**
 * Many asynchronous tasks at once, in the worker's own event loop. A task that does not yield
 * holds up everything; one that ignores its signal can be given up, not stopped.
 */
export class AsyncPool implements Pool {
  readonly kind: string = "async";
  readonly #executor: Executor;
  readonly #runner: Runner = { pid: process.pid, name: "MainProcess" };
  readonly #runs = new Set<Run>();
  readonly #waiting: (() => void)[] = [];
  readonly #onEnd: () => void;
  #begun = 0;
  #width: number;
  #stopped = false;
  #idle: (() => void) | undefined;

  constructor(executor: Executor, options: InPlaceOptions) {
    this.#executor = executor;
    this.#onEnd = options.onEnd ?? (() => undefined);
    this.#width = options.width;
  }

  /** Whether the place of a task that was given up can be used before its code has ended. */
  protected get freesAtOnce(): boolean {
    return true;
  }

  get size(): number {
    return this.#width;
  }

  get slots(): number {
    return this.#width;
  }

  get width(): number {
    return this.#width;
  }

  async start(): Promise<void> {}

  async run(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    if (this.#begun < this.#width) this.#begun += 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve)); // let in with its place taken
    try {
      return await this.#execute(job, onAccepted);
    } finally {
      this.#begun -= 1;
      this.#next();
    }
  }

  terminate(taskId: string, signal: NodeJS.Signals): boolean {
    for (const run of this.#runs) {
      if (run.job.message.headers.id !== taskId || !run.handle.abandon(abandonedBecause("terminated"))) continue;
      run.end({ kind: "terminated", signal });
      return true;
    }
    return false;
  }

  async resize(width: number): Promise<void> {
    this.#width = Math.max(0, width);
    this.#next();
  }

  async restart(): Promise<void> {}

  stats(): Readonly<Record<string, unknown>> {
    return {
      implementation: `tq:${this.kind}`,
      "max-concurrency": this.#width,
      processes: [process.pid],
      "max-tasks-per-child": null,
      timeouts: [],
    };
  }

  /** When `signal` aborts, what still runs is left behind: the process is about to end. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopped = true;
    for (const resolve of this.#waiting.splice(0)) {
      this.#begun += 1;
      resolve();
    }
    await new Promise<void>((resolve) => {
      const cut = (): void => {
        for (const run of this.#runs) {
          run.handle.abandon(abandonedBecause("terminated"));
          run.end({ kind: "lost", accepted: true, exitCode: null, signal: null });
        }
        resolve();
      };
      this.#idle = () => {
        if (this.#begun > 0) return;
        signal.removeEventListener("abort", cut);
        resolve();
      };
      if (signal.aborted) cut();
      else signal.addEventListener("abort", cut, { once: true });
      this.#idle();
    });
    this.#onEnd();
  }

  async #execute(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    if (this.#stopped)
      return { outcome: { kind: "lost", accepted: false, exitCode: null, signal: null }, runner: null };
    const ready = await this.#executor.prepare(job);
    if (ready.kind !== "ready") return { outcome: ready, runner: this.#runner };
    const handle = new RunHandle();
    const outcome = await new Promise<Outcome>((resolve) => {
      let ending: Outcome | undefined;
      const end = (forced: Outcome): void => {
        ending ??= forced;
        if (this.freesAtOnce || forced.kind === "lost") resolve(ending);
      };
      const run: Run = { job, handle, end };
      this.#runs.add(run);
      onAccepted(this.#runner);
      const limit = this.#armHardLimit(run);
      void this.#executor.run(ready, handle).then((completed) => {
        clearTimeout(limit);
        this.#runs.delete(run);
        resolve(ending ?? completed);
      });
    });
    return { outcome, runner: this.#runner };
  }

  #armHardLimit(run: Run): NodeJS.Timeout | undefined {
    const { timeLimit } = run.job;
    if (timeLimit === null) return undefined;
    return setTimeout(
      () => {
        if (run.handle.abandon(abandonedBecause("time-limit"))) run.end({ kind: "time-limit", seconds: timeLimit });
      },
      Math.min(timeLimit * 1000, longestTimerMs),
    );
  }

  #next(): void {
    while (this.#begun < this.#width && this.#waiting.length > 0) {
      this.#begun += 1;
      this.#waiting.shift()?.();
    }
    this.#idle?.();
  }
}
