/** Lets whoever had a job run stop it from outside. One for each run, given to `Executor.run`. */
export class RunHandle {
  #stop: ((reason: unknown) => void) | undefined;
  #reason: unknown;
  /** The run was abandoned: its end is of no account, nothing of it is stored or sent. */
  discarded = false;
  /** The task's code has ended; what follows from that is on its way and counts. */
  ended = false;

  /** By the executor, once the run has a signal to abort. */
  attach(stop: (reason: unknown) => void): void {
    this.#stop = stop;
    if (this.discarded) stop(this.#reason);
  }

  /** Aborts the task's signal. False when its code has ended already: that end counts then. */
  abandon(reason: unknown): boolean {
    if (this.ended) return false;
    this.discarded = true;
    this.#reason = reason;
    this.#stop?.(reason);
    return true;
  }
}
