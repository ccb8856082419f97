import type { Executor } from "../execution/executor.ts";
import type { Job } from "../execution/job.ts";
import type { Completed } from "../execution/outcome.ts";
import { RunHandle } from "../execution/run-handle.ts";
import { abandonedBecause } from "./abandon.ts";
import type { AbandonReason } from "./crew/member.ts";

/**
 * Runs jobs in the process or thread it lives in, and stops those it is told to. What it resolves
 * to for an abandoned job is of no account.
 */
export class JobRunner {
  readonly #executor: Executor;
  readonly #handles = new Map<number, RunHandle>();
  /** Whether a run can be told to stop while it runs; one at a time in a process of its own is killed instead. */
  readonly #stoppable: boolean;

  constructor(executor: Executor, options: { readonly stoppable: boolean }) {
    this.#executor = executor;
    this.#stoppable = options.stoppable;
  }

  async run(seq: number, job: Job, onAccepted: () => void): Promise<Completed> {
    const prepared = this.#executor.prepare(job);
    const ready = prepared instanceof Promise ? await prepared : prepared;
    if (ready.kind !== "ready") return ready;
    if (!this.#stoppable) {
      onAccepted();
      return await this.#executor.run(ready);
    }
    const handle = new RunHandle();
    this.#handles.set(seq, handle);
    try {
      onAccepted();
      return await this.#executor.run(ready, handle);
    } finally {
      this.#handles.delete(seq);
    }
  }

  /** False when the run has ended, or never was: its own end counts. */
  abandon(seq: number, reason: AbandonReason): boolean {
    return this.#handles.get(seq)?.abandon(abandonedBecause(reason)) ?? false;
  }
}
