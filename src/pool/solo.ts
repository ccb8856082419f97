import type { Executor } from "../execution/executor.ts";
import type { Job } from "../execution/job.ts";
import type { Pool, PoolResult, Runner } from "./pool.ts";

/** One task at a time, in the worker's own process: nothing can stop a task that does not want to. */
export class SoloPool implements Pool {
  readonly kind = "solo";
  readonly size = 1;
  readonly #executor: Executor;
  readonly #runner: Runner = { pid: process.pid, name: "MainProcess" };
  #last: Promise<unknown> = Promise.resolve();
  #stopped = false;

  constructor(executor: Executor) {
    this.#executor = executor;
  }

  async start(): Promise<void> {}

  run(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    const mine = this.#last.then(() => this.#execute(job, onAccepted));
    this.#last = mine;
    return mine;
  }

  async #execute(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    if (this.#stopped)
      return { outcome: { kind: "lost", accepted: false, exitCode: null, signal: null }, runner: null };
    const ready = await this.#executor.prepare(job);
    if (ready.kind !== "ready") return { outcome: ready, runner: this.#runner };
    onAccepted(this.#runner);
    return { outcome: await this.#executor.run(ready), runner: this.#runner };
  }

  terminate(): boolean {
    return false;
  }

  async resize(): Promise<void> {}

  async restart(): Promise<void> {}

  stats(): Readonly<Record<string, unknown>> {
    return {
      implementation: "tq:solo",
      "max-concurrency": 1,
      processes: [process.pid],
      "max-tasks-per-child": null,
      timeouts: [],
    };
  }

  /** When `signal` aborts it leaves the running task behind: the process is about to end. */
  async stop(signal: AbortSignal): Promise<void> {
    this.#stopped = true;
    const cut = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener("abort", () => resolve(), { once: true });
    });
    await Promise.race([this.#last, cut]);
  }
}
