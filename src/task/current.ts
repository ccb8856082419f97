import { AsyncLocalStorage } from "node:async_hooks";
import type { ResultTuple } from "../protocol/task-meta.ts";
import type { TaskContext } from "./context.ts";

/** The run in whose course code is executing: what calls made from it inherit. */
export interface CurrentRun {
  readonly id: string;
  readonly name: string;
  /** What the task itself sees. */
  readonly context: () => TaskContext;
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

/** A task that is simply called, and the run in whose course it is. */
interface DirectCall {
  readonly context: TaskContext;
  readonly within: CurrentRun | undefined;
}

const directCall = new AsyncLocalStorage<DirectCall>();

/** Calls `work`, in which the task of `context` is the current one: a task that is simply called. */
export function callDirectly<T>(context: TaskContext, work: () => T): T {
  return directCall.run({ context, within: currentRun.getStore() }, work);
}

/**
 * The task in whose course this code executes, however many functions and awaits below it; undefined
 * outside of any. A task that another one simply calls is the current one while it runs (inventory A9).
 */
export function currentTask(): TaskContext | undefined {
  const [run, direct] = [currentRun.getStore(), directCall.getStore()];
  return direct !== undefined && direct.within === run ? direct.context : run?.context();
}

/** The same, but for the task a message or `apply` is for: not one that was simply called by it. */
export function currentWorkerTask(): TaskContext | undefined {
  return currentRun.getStore()?.context();
}
