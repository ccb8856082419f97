import { Ignore, MaxRetriesExceededError, Reject, Retry } from "../errors.ts";
import type { RetryOptions, TaskRequest } from "../task/context.ts";
import type { ErrorClass, TaskOptions } from "../task/task.ts";
import { exponentialBackoff } from "../util/backoff.ts";
import { argsRepr, kwargsRepr } from "../util/repr.ts";

/** Thrown by `self.retry()`: a `Retry` that knows what the next try is to look like. */
export class RetryRequest extends Retry {
  readonly options: RetryOptions;

  constructor(options: RetryOptions) {
    super("Task can be retried", { cause: options.cause, when: options.eta ?? options.countdown ?? null });
    this.name = "Retry";
    this.options = options;
  }
}

/** What a thrown value means for the task. */
export type Verdict =
  | { readonly kind: "failure"; readonly error: unknown; readonly expected: boolean }
  | { readonly kind: "retry"; readonly options: RetryOptions; readonly reason: unknown }
  | { readonly kind: "ignore" }
  | { readonly kind: "reject"; readonly requeue: boolean; readonly reason: string };

/** What is told of a call that cannot be retried any more: its arguments as logs may show them. */
type RetriedRequest = Pick<TaskRequest, "id" | "retries" | "args" | "kwargs"> &
  Partial<Pick<TaskRequest, "argsrepr" | "kwargsrepr">>;

/** Pure but for `random`: jitter draws from it. `overridden` is a `maxRetries` an earlier try has set. */
export function classify(
  thrown: unknown,
  task: { readonly name: string; readonly options: TaskOptions },
  request: RetriedRequest,
  random: () => number,
  overridden?: number | null,
): Verdict {
  if (thrown instanceof Retry) {
    const when = thrown.when;
    const options =
      thrown instanceof RetryRequest
        ? thrown.options
        : {
            ...(typeof when === "number" ? { countdown: when } : {}),
            ...(when instanceof Date ? { eta: when } : {}),
            cause: thrown.cause,
          };
    return retryOrFail(options, task, request, random, false);
  }
  if (thrown instanceof Ignore) return { kind: "ignore" };
  if (thrown instanceof Reject) return { kind: "reject", requeue: thrown.requeue, reason: thrown.reason };
  const { autoretryFor, dontAutoretryFor, retryKwargs } = task.options;
  if (isOneOf(thrown, autoretryFor) && !isOneOf(thrown, dontAutoretryFor)) {
    const limit = overridden === undefined ? {} : { maxRetries: overridden };
    const verdict = retryOrFail({ ...retryKwargs, ...limit, cause: thrown }, task, request, random, true);
    if (verdict.kind !== "retry") return verdict;
    // The limit is the task's own: only one that `self.retry` set is carried along.
    const { maxRetries: _, ...options } = verdict.options;
    return { ...verdict, options };
  }
  return failure(thrown, task.options);
}

function retryOrFail(
  options: RetryOptions,
  task: { readonly name: string; readonly options: TaskOptions },
  request: RetriedRequest,
  random: () => number,
  automatic: boolean,
): Verdict {
  const { maxRetries, retryBackoff, retryBackoffMax, retryJitter, defaultRetryDelay } = task.options;
  const limit = options.maxRetries === undefined ? maxRetries : options.maxRetries;
  if (limit !== null && request.retries >= limit) {
    if (options.cause !== undefined && options.cause !== null) return failure(options.cause, task.options);
    return failure(
      new MaxRetriesExceededError(
        `Can't retry ${task.name}[${request.id}] args:${request.argsrepr ?? argsRepr(request.args)} ` +
          `kwargs:${request.kwargsrepr ?? kwargsRepr(request.kwargs)}: ` +
          `it was retried ${request.retries} times, maxRetries is ${limit}`,
        { args: request.args, kwargs: request.kwargs },
      ),
      task.options,
    );
  }
  if (automatic && retryBackoff !== false) {
    // Celery lets backoff win over a countdown in retry_kwargs (autoretry.py).
    const countdown = exponentialBackoff({
      factor: Math.max(1, Math.trunc(Number(retryBackoff))),
      retries: request.retries,
      maximum: retryBackoffMax,
      fullJitter: retryJitter,
      random,
    });
    return { kind: "retry", options: { ...options, countdown }, reason: options.cause };
  }
  const given = options.countdown !== undefined || options.eta !== undefined;
  return {
    kind: "retry",
    options: given ? options : { ...options, countdown: defaultRetryDelay },
    reason: options.cause,
  };
}

function failure(error: unknown, options: TaskOptions): Verdict {
  return { kind: "failure", error, expected: isOneOf(error, options.throws) };
}

const isOneOf = (error: unknown, classes: readonly ErrorClass[]): boolean =>
  classes.some((one) => error instanceof one);
