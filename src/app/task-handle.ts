import type { SignatureDict } from "../protocol/signature.ts";
import type { BaseTask } from "../task/base-task.ts";
import type { RetryOptions, TaskContext } from "../task/context.ts";
import type { TaskHandlers } from "../task/handlers.ts";
import type { AckPolicy, ErrorClass, Task, TaskOptions, TaskSchemas } from "../task/task.ts";
import type { CallOptions } from "./call-options.ts";
import type { AsyncResult } from "./result.ts";

/** What `app.task` takes beside the function: any option of a task, left out ones from the settings. */
export interface TaskDefinition<T extends object = object>
  extends Partial<Omit<TaskOptions, keyof AckPolicy | "bind">>,
    Partial<AckPolicy>,
    TaskHandlers<TaskContext<T>>,
    TaskSchemas {
  readonly name?: string;
  /** The task's class: handlers, options and state it shares with others of it. Default: the app's `taskCls`. */
  readonly base?: new () => T & BaseTask;
  /** Both halves of Celery's older `acks_on_failure_or_timeout` at once. */
  readonly acksOnFailureOrTimeout?: boolean;
}

/** Options of a call that runs here and now. */
export interface ApplyOptions extends CallOptions {
  /** Throw what the task throws, instead of leaving it to `get()`; default `taskEagerPropagates`. */
  readonly throw?: boolean;
}

/** Arguments of which the last ones may come by name. */
export type Leading<A extends readonly unknown[]> = A extends readonly [infer Head, ...infer Rest]
  ? readonly [] | readonly [Head, ...Leading<Rest>]
  : A;

/** A registered task: call it, or have a worker call it. `A` are its arguments, `R` what the function returns. */
export interface TaskHandle<A extends unknown[] = unknown[], R = unknown> {
  /** Runs here and now, without a message. */
  (...args: A): R;
  readonly taskName: string;
  readonly task: Task;
  /** Has a worker run it. Resolves once the broker has the message. */
  delay(...args: A): Promise<AsyncResult<Awaited<R>>>;
  /** The same with options; with `kwargs`, positional arguments may be left out. */
  applyAsync(args: A, options?: CallOptions): Promise<AsyncResult<Awaited<R>>>;
  applyAsync(
    args: Leading<A>,
    options: CallOptions & { readonly kwargs: Readonly<Record<string, unknown>> },
  ): Promise<AsyncResult<Awaited<R>>>;
  /** Runs the call here and now, as a worker would: serializers, retries, callbacks (inventory B48). */
  apply(args: A, options?: ApplyOptions): Promise<AsyncResult<Awaited<R>>>;
  /** Many calls with the same options in one go: as few round trips as the broker allows. */
  delayMany(calls: readonly A[], options?: CallOptions): Promise<AsyncResult<Awaited<R>>[]>;
  /** The call as data, for `link`, `linkError` and peers; options are those of `applyAsync`. */
  signature(args: Leading<A>, options?: CallOptions & { readonly immutable?: boolean }): SignatureDict;
}

export type BoundFunction<A extends unknown[], R, T extends object = object> = (self: TaskContext<T>, ...args: A) => R;
export type { ErrorClass, RetryOptions, TaskContext };
