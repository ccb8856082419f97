import type { Executor } from "../execution/executor.ts";
import { AsyncPool, type InPlaceOptions } from "./async.ts";

/**
 * One task at a time, in the worker's own process. A time limit or a termination is seen by tasks
 * that look at their signal; nothing can stop one that does not, and nothing runs beside it.
 */
export class SoloPool extends AsyncPool {
  override readonly kind = "solo";

  constructor(executor: Executor, options: Omit<InPlaceOptions, "width"> = {}) {
    super(executor, { ...options, width: 1 });
  }

  protected override get freesAtOnce(): boolean {
    return false;
  }

  override async resize(): Promise<void> {}
}
