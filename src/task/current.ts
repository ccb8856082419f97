import { AsyncLocalStorage } from "node:async_hooks";
import type { Logger } from "../log.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";

/** The run in whose course code is executing: what calls made from it inherit. */
export interface CurrentRun {
  readonly id: string;
  readonly name: string;
  /** Lines carry the task's name and id. */
  readonly log: () => Logger;
  readonly rootId: string;
  readonly priority: number | null;
  /** Calls made so far, for the `children` of the result. */
  readonly children: ResultTuple[];
}

/**
 * Follows the running task through its awaits. One storage for the process on purpose: which
 * task is running is a property of the call stack, not of an app.
 */
export const currentRun = new AsyncLocalStorage<CurrentRun>();
