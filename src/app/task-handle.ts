import type { MaxRetriesExceededError, OperationalError } from "../errors.ts";
import type { BaseTask } from "../task/base-task.ts";
import type { RetryOptions, TaskContext } from "../task/context.ts";
import type { TaskHandlers } from "../task/handlers.ts";
import type { AckPolicy, ErrorClass, Task, TaskOptions, TaskSchemas } from "../task/task.ts";
import type { CallOptions } from "./call-options.ts";
import type { Chunks } from "./canvas.ts";
import type { Anything, Given, Leading, OnlyArgument, Remaining } from "./canvas-types.ts";
import type { AsyncResult } from "./result.ts";
import type { Signature, SignatureOptions } from "./signature.ts";

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
  /** A handle on the result of a call of this task made anywhere. */
  asyncResult(id: string): AsyncResult<Awaited<R>>;
  /** What a call rejects with when the broker cannot be reached: `error instanceof add.OperationalError`. */
  readonly OperationalError: typeof OperationalError;
  readonly MaxRetriesExceededError: typeof MaxRetriesExceededError;
  /** Many calls with the same options in one go: as few round trips as the broker allows. */
  delayMany(calls: readonly A[], options?: CallOptions): Promise<AsyncResult<Awaited<R>>[]>;
  /**
   * The call, not made yet: for `link`, chains, groups and chords. Arguments left out are those of
   * the beginning: whoever calls the signature puts them before the ones given here.
   */
  s<const G extends Given<A>>(...args: G): Signature<Remaining<A, G>, Awaited<R>>;
  /** The same, complete: it takes nothing from whoever calls it, such as the step before it. */
  si(...args: A): Signature<Anything, Awaited<R>>;
  /** As `s`, with the options of `applyAsync`. */
  signature<const G extends Given<A>>(
    args: G,
    options?: SignatureOptions & { readonly immutable?: false },
  ): Signature<Remaining<A, G>, Awaited<R>>;
  signature(args: A, options: SignatureOptions & { readonly immutable: true }): Signature<Anything, Awaited<R>>;
  /** With keyword arguments, which may stand for any of the positional ones. */
  signature(
    args: readonly unknown[],
    options: CallOptions & { readonly kwargs: Readonly<Record<string, unknown>>; readonly immutable?: boolean },
  ): Signature<Anything, Awaited<R>>;
  /** One message that calls the task with each of the items, one after another. */
  map(items: Iterable<OnlyArgument<A>>): Signature<Anything, Awaited<R>[]>;
  /** The same with items that are the arguments of a call: `add.starmap([[1, 2], [3, 4]])`. */
  starmap(items: Iterable<A>): Signature<Anything, Awaited<R>[]>;
  /** Such items in messages of `size` each: a group of lists. */
  chunks(items: Iterable<A>, size: number): Chunks<Awaited<R>[][]>;
}

export type BoundFunction<A extends unknown[], R, T extends object = object> = (self: TaskContext<T>, ...args: A) => R;
export type { ErrorClass, RetryOptions, TaskContext };
