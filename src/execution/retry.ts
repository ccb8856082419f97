import type { Call } from "../canvas/plan.ts";
import { planAgain, planRetry, type RetryChanges } from "../canvas/retry.ts";
import { createSignature } from "../canvas/signature.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import type { TaskBody } from "../protocol/task-message.ts";
import type { RequestChanges, RetryOptions } from "../task/context.ts";
import type { Job } from "./job.ts";

/** The message of the next try of a job; it goes where the first one went (protocol 5.4). */
export function retryCall(job: Job, body: TaskBody, options: RetryOptions): Call {
  const { headers, properties } = job.message;
  return withHeaders(planRetry(headers, properties, body, changesOf(job, options)), {
    ...options.headers,
    ...limitHeader(job, options),
  });
}

/** The call of a job as a signature (inventory B61). */
export function requestSignature(job: Job, body: TaskBody, changes: RequestChanges): SignatureDict {
  const { headers, properties } = job.message;
  const call = withHeaders(planAgain(headers, properties, body, changesOf(job, changes)), changes.headers ?? {});
  return createSignature(call.task, call.args, call.kwargs, call.options);
}

function changesOf(job: Job, options: RequestChanges): RetryChanges {
  const { exchange, routingKey } = job.address;
  return {
    args: options.args,
    kwargs: options.kwargs,
    eta: options.eta?.toISOString(),
    countdown: options.countdown,
    address: { exchange, routingKey: exchange === "" && routingKey === "" ? job.queue : routingKey },
    options: {
      queue: options.queue,
      exchange: options.exchange,
      routing_key: options.routingKey,
      priority: options.priority,
      expires: options.expires,
      time_limit: options.timeLimit,
      soft_time_limit: options.softTimeLimit,
      serializer: options.serializer,
      compression: options.compression,
      shadow: options.shadow,
    },
  };
}

function withHeaders(call: Call, more: Readonly<Record<string, unknown>>): Call {
  const headers = { ...(call.options.headers as object | undefined), ...more };
  return Object.keys(headers).length === 0 ? call : { ...call, options: { ...call.options, headers } };
}

/**
 * What `self.retry({ maxRetries })` has said once holds for the automatic retries of the same call as
 * well (Celery's `override_max_retries`, which it keeps in the process): the call carries it along.
 */
const maxRetriesHeader = "tq_max_retries";

function limitHeader(job: Job, options: RetryOptions): Readonly<Record<string, unknown>> {
  const limit = options.maxRetries === undefined ? overriddenLimit(job) : options.maxRetries;
  return limit === undefined ? {} : { [maxRetriesHeader]: limit };
}

/** The `maxRetries` an earlier try of this call has set; null is for ever, undefined says nothing. */
export function overriddenLimit(job: Job): number | null | undefined {
  const limit: unknown = job.message.headers[maxRetriesHeader];
  return limit === null || (typeof limit === "number" && limit >= 0) ? limit : undefined;
}

/** Celery's words for a retry: `Retry in 1s: KeyError('x')`. */
export function retryText(options: RetryOptions, reasonRepr: string | null): string {
  const when = options.eta ? `at ${options.eta.toISOString()}` : `in ${options.countdown ?? 0}s`;
  return reasonRepr === null ? `Retry ${when}` : `Retry ${when}: ${reasonRepr}`;
}
