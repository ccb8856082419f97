import type { SignatureDict } from "../protocol/signature.ts";
import type { TaskContext } from "./context.ts";
import { type HandlerName, handlerNames, type TaskHandlers } from "./handlers.ts";
import type { TaskOptions } from "./task.ts";

/**
 * Base of users' own task classes (exported as `Task`): `base: DatabaseTask` gives many tasks the
 * same handlers, options and state; a class with a `run` of its own is a task by itself
 * (`app.registerTask`). One instance for each task and process (inventory B41): what it keeps, a
 * connection for example, is shared by all its runs there. A run reaches it as `self.task`.
 */
export class BaseTask {
  /** Full name of the task; for a class with its own `run`. */
  readonly name?: string;
  /** Options for every task of this class; those of the task itself are stronger. */
  readonly options?: Partial<TaskOptions>;

  /** Called once, when the task is registered. */
  onBound(_app: unknown): void {}

  /** Before the task's own code; what it throws ends the task. */
  beforeStart(_self: TaskContext): unknown {
    return undefined;
  }

  /** The result is stored, callbacks are sent. */
  onSuccess(_self: TaskContext, _result: unknown): unknown {
    return undefined;
  }

  /** The failure is stored, errbacks are called. */
  onFailure(_self: TaskContext, _error: unknown, _traceback: string): unknown {
    return undefined;
  }

  /** The next try is sent. */
  onRetry(_self: TaskContext, _reason: unknown, _traceback: string): unknown {
    return undefined;
  }

  /** A replacement is about to be sent; what it throws keeps it from that, and ends the task. */
  onReplace(_self: TaskContext, _signature: SignatureDict): unknown {
    return undefined;
  }

  /** After success and failure: `value` is the result or the error. */
  afterReturn(_self: TaskContext, _state: string, _value: unknown): unknown {
    return undefined;
  }
}

/** A class that is a task by itself. */
export interface RunnableTask<A extends unknown[] = never[], R = unknown> extends BaseTask {
  run(self: TaskContext, ...args: A): R;
}

/** The handlers a task really has: those its class overrides, then those of its definition. */
export function handlersOf(instance: BaseTask, own: TaskHandlers): TaskHandlers {
  const handlers: { -readonly [Name in HandlerName]?: TaskHandlers[Name] } = {};
  for (const name of handlerNames) {
    const given = own[name];
    if (given) handlers[name] = given as never;
    else if (instance[name] !== BaseTask.prototype[name]) handlers[name] = instance[name].bind(instance) as never;
  }
  return handlers;
}
