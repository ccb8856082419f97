import type { Call } from "../canvas/plan.ts";
import { planRetry } from "../canvas/retry.ts";
import type { TaskBody } from "../protocol/task-message.ts";
import type { RetryOptions } from "../task/context.ts";
import type { Job } from "./job.ts";

/** The message of the next try of a job; it goes where the first one went (protocol 5.4). */
export function retryCall(job: Job, body: TaskBody, options: RetryOptions): Call {
  const { exchange, routingKey } = job.address;
  return planRetry(job.message.headers, job.message.properties, body, {
    args: options.args,
    kwargs: options.kwargs,
    eta: options.eta?.toISOString(),
    countdown: options.countdown,
    address: { exchange, routingKey: exchange === "" && routingKey === "" ? job.queue : routingKey },
    options: { queue: options.queue, priority: options.priority },
  });
}

/** Celery's words for a retry: `Retry in 1s: KeyError('x')`. */
export function retryText(options: RetryOptions, reasonRepr: string | null): string {
  const when = options.eta ? `at ${options.eta.toISOString()}` : `in ${options.countdown ?? 0}s`;
  return reasonRepr === null ? `Retry ${when}` : `Retry ${when}: ${reasonRepr}`;
}
