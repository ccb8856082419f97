import type { SignatureDict } from "../protocol/signature.ts";
import type { TaskContext } from "./context.ts";

/**
 * What a task does around its run, in the process that runs it (inventory B.3). Each may be
 * asynchronous and is waited for. `self.request` has id, arguments and all else Celery hands to
 * its handlers one by one. `beforeStart` and `onReplace` belong to the run: what they throw ends the
 * task. What another handler throws is logged and changes nothing any more.
 */
export interface TaskHandlers<Self = TaskContext> {
  /** Before the task's own code. */
  readonly beforeStart?: (self: Self) => unknown;
  /** The result is stored, callbacks are sent. */
  readonly onSuccess?: (self: Self, result: unknown) => unknown;
  /** The failure is stored, errbacks are called. */
  readonly onFailure?: (self: Self, error: unknown, traceback: string) => unknown;
  /** The next try is sent. `reason` is the `cause` given to `retry`, or null. */
  readonly onRetry?: (self: Self, reason: unknown, traceback: string) => unknown;
  /** `self.replace` was called, and `signature` is about to be sent: what this throws keeps it from that. */
  readonly onReplace?: (self: Self, signature: SignatureDict) => unknown;
  /** After success and failure: `value` is the result or the error. */
  readonly afterReturn?: (self: Self, state: string, value: unknown) => unknown;
}

export const handlerNames = ["beforeStart", "onSuccess", "onFailure", "onRetry", "onReplace", "afterReturn"] as const;

export type HandlerName = (typeof handlerNames)[number];
