import { callersHeaders } from "../protocol/callers-headers.ts";
import type { MessageProperties } from "../protocol/message.ts";
import type { TaskBody, TaskHeaders } from "../protocol/task-message.ts";
import type { Call } from "./plan.ts";
import { type Kwargs, mergeOptions, type Options, without } from "./signature.ts";

/** What a retry changes. Everything left out stays as it was. */
export interface RetryChanges {
  /** Not before this instant, ISO 8601; comes before `countdown`. */
  readonly eta?: string | null | undefined;
  /** Not before so many seconds from now. */
  readonly countdown?: number | null | undefined;
  readonly args?: readonly unknown[] | undefined;
  readonly kwargs?: Kwargs | undefined;
  /** Where the message came from: there it goes again (protocol 5.4). */
  readonly address?: { readonly exchange: string; readonly routingKey: string } | undefined;
  /** Further options of `retry()`, which win over all others: `queue`, `priority`, `expires` … */
  readonly options?: Options | undefined;
}

type Headers = TaskHeaders & Readonly<Record<string, unknown>>;

/**
 * The message of the next try (protocol 5.4): the same call in everything but `retries`, the
 * time, and, for a call that a client sent, its parent, which becomes the task itself.
 */
export function planRetry(
  headers: Headers,
  properties: MessageProperties,
  body: TaskBody,
  changes: RetryChanges = {},
): Call {
  const next = { ...headers, retries: headers.retries + 1, parent_id: headers.parent_id ?? headers.id };
  return planAgain(next, properties, body, changes);
}

/** The call of a message once more, as it was but for the changes (inventory B61). */
export function planAgain(
  headers: Headers,
  properties: MessageProperties,
  [args, kwargs, embed]: TaskBody,
  changes: RetryChanges = {},
): Call {
  const repeated = changes.args === undefined && changes.kwargs === undefined;
  const [hard, soft] = headers.timelimit;
  const options: Options = {
    ...whereTo(changes.address),
    task_id: headers.id,
    root_id: headers.root_id ?? headers.id,
    parent_id: headers.parent_id,
    group_id: headers.group,
    group_index: headers.group_index,
    retries: headers.retries,
    ...(changes.eta ? { eta: changes.eta } : { countdown: changes.countdown }),
    expires: headers.expires,
    time_limit: hard,
    soft_time_limit: soft,
    priority: properties.priority,
    delivery_mode: properties.delivery_mode,
    reply_to: properties.reply_to,
    correlation_id: properties.correlation_id,
    shadow: headers.shadow,
    origin: headers.origin,
    ignore_result: headers.ignore_result,
    replaced_task_nesting: headers.replaced_task_nesting,
    compression: headers.compression,
    ...(headers.stamped_headers === null ? {} : { ...headers.stamps, stamped_headers: headers.stamped_headers }),
    ...(repeated ? { argsrepr: headers.argsrepr, kwargsrepr: headers.kwargsrepr } : {}),
    headers: callersHeaders(headers),
    link: embed.callbacks,
    link_error: embed.errbacks,
    chain: embed.chain,
    chord: embed.chord,
  };
  return {
    task: headers.task,
    args: changes.args ?? args,
    kwargs: changes.kwargs ?? kwargs,
    options: retryOptions(options, changes.options ?? {}),
  };
}

/** What a retry says wins; a queue of its own comes instead of the exchange the message came through. */
function retryOptions(options: Options, given: Options): Options {
  return mergeOptions(given.queue ? without(options, "exchange", "routing_key") : options, given);
}

/** Through the anonymous exchange a routing key is the name of a queue. */
function whereTo(address: RetryChanges["address"]): Options {
  if (address === undefined) return {};
  if (address.exchange === "") return { queue: address.routingKey };
  return { exchange: address.exchange, routing_key: address.routingKey };
}
