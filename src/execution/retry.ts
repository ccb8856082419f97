import type { Call } from "../canvas/plan.ts";
import type { Embed } from "../protocol/task-message.ts";
import type { RetryOptions } from "../task/context.ts";
import type { Job } from "./job.ts";
import { userHeaders } from "./task-context.ts";

/**
 * The message of the next try (protocol 5.4): the same call in all things but `retries`, `eta`
 * and, for a call a client sent, its parent: itself. It goes where the first one went.
 */
export function retryCall(
  job: Job,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  embed: Embed,
  options: RetryOptions,
): Call {
  const { headers, properties } = job.message;
  const { exchange, routingKey } = job.address;
  const stamps: Record<string, unknown> = {};
  for (const name of headers.stamped_headers ?? []) stamps[name] = headers.stamps[name];
  const where =
    options.queue !== undefined
      ? { queue: options.queue }
      : exchange === ""
        ? { queue: routingKey === "" ? job.queue : routingKey }
        : { exchange, routing_key: routingKey };
  return {
    task: headers.task,
    args: options.args ?? args,
    kwargs: options.kwargs ?? kwargs,
    options: {
      ...where,
      task_id: headers.id,
      root_id: headers.root_id,
      parent_id: headers.parent_id ?? headers.id,
      group_id: headers.group,
      group_index: headers.group_index,
      retries: headers.retries + 1,
      ...(options.eta === undefined ? { countdown: options.countdown ?? 0 } : { eta: options.eta }),
      expires: headers.expires === null ? null : new Date(headers.expires),
      timelimit: headers.timelimit,
      priority: options.priority ?? properties.priority,
      shadow: headers.shadow,
      headers: userHeaders(headers),
      ...(headers.stamped_headers === null ? {} : { stamped_headers: headers.stamped_headers, ...stamps }),
      ignore_result: headers.ignore_result,
      replaced_task_nesting: headers.replaced_task_nesting,
      reply_to: properties.reply_to,
      correlation_id: properties.correlation_id,
      origin: headers.origin,
      delivery_mode: properties.delivery_mode,
      link: embed.callbacks,
      link_error: embed.errbacks,
      chain: embed.chain,
      chord: embed.chord,
      ...(options.args === undefined && options.kwargs === undefined
        ? { argsrepr: headers.argsrepr, kwargsrepr: headers.kwargsrepr }
        : {}),
    },
  };
}

/** Celery's words for a retry: `Retry in 1s: KeyError('x')`. */
export function retryText(options: RetryOptions, reasonRepr: string | null): string {
  const when = options.eta ? `at ${options.eta.toISOString()}` : `in ${options.countdown ?? 0}s`;
  return reasonRepr === null ? `Retry ${when}` : `Retry ${when}: ${reasonRepr}`;
}
