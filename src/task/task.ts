import type { TaskContext } from "./context.ts";
import type { TaskHandlers } from "./handlers.ts";
import type { Parameters } from "./parameters.ts";
import type { ArgsSchema, Schema } from "./schema.ts";

/** A class of errors, as `throws` and `autoretryFor` list them. */
export type ErrorClass = abstract new (...args: never[]) => Error;

/** The options of a task which decide what becomes of its message (inventory G40 to G47). */
export interface AckPolicy {
  /** Acknowledge after the task has run, not just before. It must then bear running twice. */
  readonly acksLate: boolean;
  /** With `acksLate`: whether a failure is acknowledged; otherwise it goes to the dead-letter store. */
  readonly acksOnFailure: boolean;
  /** With `acksLate`: whether a hard time limit is acknowledged; otherwise the message is requeued. */
  readonly acksOnTimeout: boolean;
  /** With `acksLate`: requeue when the child running the task dies. */
  readonly rejectOnWorkerLost: boolean;
}

/** Every option set: defaults were filled in from the settings. Durations are seconds. */
export interface TaskOptions extends AckPolicy {
  readonly bind: boolean;
  readonly queue: string | null;
  readonly exchange: string | null;
  readonly exchangeType: "direct" | "topic" | "fanout" | null;
  readonly routingKey: string | null;
  /** 1: its messages are kept in the broker's memory; 2: written to disk; null: `taskDefaultDeliveryMode`. */
  readonly deliveryMode: 1 | 2 | null;
  readonly priority: number | null;
  readonly serializer: string;
  readonly compression: string | null;
  /** URL of a result store of the task's own; null: the app's. Its results go there and are read there. */
  readonly backend: string | null;
  readonly ignoreResult: boolean;
  readonly storeErrorsEvenIfIgnored: boolean;
  readonly trackStarted: boolean;
  readonly rateLimit: string | number | null;
  readonly timeLimit: number | null;
  readonly softTimeLimit: number | null;
  /** Seconds after publishing, or an instant, when a call expires unless it says otherwise. */
  readonly expires: number | Date | null;
  /** Null retries for ever. */
  readonly maxRetries: number | null;
  readonly defaultRetryDelay: number;
  readonly autoretryFor: readonly ErrorClass[];
  readonly dontAutoretryFor: readonly ErrorClass[];
  readonly retryKwargs: { readonly maxRetries?: number | null; readonly countdown?: number };
  /** False: `defaultRetryDelay` each time; true: 1, 2, 4, 8 … seconds; a number multiplies that. */
  readonly retryBackoff: boolean | number;
  readonly retryBackoffMax: number;
  /** A random delay between 0 and the computed one, so that retries do not come in waves. */
  readonly retryJitter: boolean;
  /** Expected errors: a failure all the same, but logged without traceback. */
  readonly throws: readonly ErrorClass[];
  readonly sendEvents: boolean;
  /** Whether calls made by a run are listed among the children of its result. */
  readonly trail: boolean;
  /** Store results of eager runs too. */
  readonly storeEagerResult: boolean;
  /** Name to show in logs and monitors instead of the task's, made of a call; null for the task's own. */
  readonly shadowName:
    | ((args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>) => string | null | undefined)
    | null;
  readonly resultReprMaxsize: number;
  /** Check a call's arguments against the function's parameters before sending and before running. */
  readonly typing: boolean;
  /** Parameter names for keyword arguments; `"y?"` marks an optional one. Default: read from the function. */
  readonly params: readonly string[] | null;
}

/** What a task's arguments and result must fit, where it says so. */
export interface TaskSchemas {
  /** For a tuple of all arguments, or for each of them. Checked when calling and again when running. */
  readonly args?: ArgsSchema;
  readonly returns?: Schema;
}

/** A function workers can run, under a name both sides know. */
export interface Task {
  readonly name: string;
  readonly options: TaskOptions;
  readonly parameters: Parameters;
  readonly handlers: TaskHandlers;
  /** Of the task's class: one for each process. */
  readonly instance: object;
  readonly schemas: TaskSchemas;
  run(context: TaskContext, args: readonly unknown[]): unknown;
}
