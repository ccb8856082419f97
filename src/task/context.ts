import type { Retry } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { SignatureDict, SignatureLike } from "../protocol/signature.ts";

/** The request a task is running for (Celery's `task.request`). */
export interface TaskRequest {
  readonly id: string;
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** Retries already made: 0 on the first run. */
  readonly retries: number;
  readonly isEager: boolean;
  /** True when the function was simply called, without a message. */
  readonly calledDirectly: boolean;
  readonly eta: string | null;
  readonly expires: string | null;
  /** Node name of the worker. */
  readonly hostname: string | null;
  readonly origin: string | null;
  readonly deliveryInfo: {
    readonly exchange: string;
    readonly routingKey: string;
    readonly priority: number | null;
    readonly redelivered: boolean;
  } | null;
  readonly replyTo: string | null;
  readonly correlationId: string | null;
  /** [hard, soft], seconds. */
  readonly timelimit: readonly [number | null, number | null];
  readonly callbacks: readonly SignatureDict[] | null;
  readonly errbacks: readonly SignatureDict[] | null;
  readonly chain: readonly SignatureDict[] | null;
  readonly chord: SignatureDict | null;
  readonly rootId: string | null;
  readonly parentId: string | null;
  readonly group: string | null;
  readonly groupIndex: number | null;
  readonly shadow: string | null;
  readonly ignoreResult: boolean;
  readonly replacedTaskNesting: number;
  /** Stamps by name; each is a list of values. */
  readonly stamps: Readonly<Record<string, readonly unknown[]>>;
  readonly stampedHeaders: readonly string[] | null;
  /** Headers the caller added, without Celery's own. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** Ids of the calls this task has made so far. */
  readonly children: readonly string[];
  /** Message properties under their wire names. */
  readonly properties: Readonly<Record<string, unknown>>;
  /** Language of the sender: `py`, `js`. */
  readonly lang: string;
  readonly argsrepr: string;
  readonly kwargsrepr: string;
  readonly utc: boolean;
  /** File the worker logs to; null for standard error. */
  readonly logfile: string | null;
  /** Level of the worker's log, as `INFO`; null outside a worker. */
  readonly loglevel: string | null;
}

export interface RetryOptions {
  /** Seconds to wait; default: the task's backoff or `defaultRetryDelay`. */
  readonly countdown?: number;
  readonly eta?: Date;
  /** Overrides the task's `maxRetries`; null retries for ever. */
  readonly maxRetries?: number | null;
  /** Why: becomes the error once there are no retries left. */
  readonly cause?: unknown;
  /** Other arguments for the next try. */
  readonly args?: readonly unknown[];
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** Where it goes; default: where this try came from. */
  readonly queue?: string;
  readonly exchange?: string;
  readonly routingKey?: string;
  readonly priority?: number;
  /** Seconds from now, or an instant; default: what the call said. */
  readonly expires?: number | Date;
  /** Seconds, as are those of the call, which hold otherwise. */
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
  readonly serializer?: string;
  readonly compression?: string;
  readonly shadow?: string;
  /** Added to those of the call. */
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** What a signature made of a request has of its own. */
export type RequestChanges = Omit<RetryOptions, "maxRetries" | "cause">;

/** What a running task sees: the first argument of a function registered with `bind: true`. */
export interface TaskContext<T extends object = object> {
  readonly name: string;
  /** The task's own object, one for each process: of its class, where `base` names one. */
  readonly task: T;
  readonly request: TaskRequest;
  /**
   * Aborts at the soft time limit, with `SoftTimeLimitExceeded`, and when the task is stopped from
   * outside. Code that never yields sees it too, if it asks: `self.signal.throwIfAborted()` in a
   * loop also looks at the clock.
   */
  readonly signal: AbortSignal;
  /** Waits so many seconds; rejects with the signal's reason when that aborts first. */
  sleep(seconds: number): Promise<void>;
  /** Waits for a promise; rejects with the signal's reason when that aborts first. What was begun goes on. */
  until<T>(promise: PromiseLike<T>): Promise<T>;
  /** Lines carry the task's name and id. */
  readonly log: Logger;
  /** Stores a state of one's own, such as `PROGRESS`; with `taskId` that of another task. Resolves when it is kept. */
  updateState(state: string, meta?: unknown, options?: { readonly taskId?: string }): Promise<void>;
  /**
   * Sends an event of one's own to monitors, whether the worker sends task events or not. `type`
   * should begin with `task-`. Resolves when the broker has it.
   */
  sendEvent(type: string, fields?: Readonly<Record<string, unknown>>): Promise<void>;
  /**
   * Leaves the task by throwing; the same call runs again later. Write `throw self.retry(…)`,
   * so that the compiler knows the code ends there. When no retries are left it throws
   * `cause`, or `MaxRetriesExceededError`.
   */
  retry(options?: RetryOptions & { readonly throw?: true }): never;
  /**
   * With `throw: false` the next try is sent at once and this one goes on: resolves to the `Retry` once
   * the broker has it. Rejects with what the other form would make of the task when no retries are left.
   */
  retry(options: RetryOptions & { readonly throw: false }): Promise<Retry>;
  /**
   * Ends the task and puts a signature in its place: what it comes to is the result of this call,
   * its callbacks, the rest of its chain and its place in a group go on from there. Write
   * `return await self.replace(…)`.
   */
  replace(signature: SignatureLike): Promise<never>;
  /**
   * Has the chord this task is a member of wait for one more call, whose result the body gets too.
   * `lazy`: it is not sent yet. Gives the signature, as it was or is to be sent.
   */
  addToChord(signature: SignatureLike, options?: { readonly lazy?: boolean }): Promise<SignatureDict>;
  /**
   * The very call this run is for, as a signature: same id, arguments, callbacks and place in its
   * workflow (Celery's `signature_from_request`); `app.signature` makes an object of it.
   */
  signatureFromRequest(changes?: RequestChanges): SignatureDict;
  /** Whether somebody has called `abort()` on this task's result. Asks the result store. */
  isAborted(): Promise<boolean>;
}
