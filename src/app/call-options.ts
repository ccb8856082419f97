import type { Broker } from "../broker/broker.ts";
import { type SignatureLike, signatureDict } from "../protocol/signature.ts";
import type { Producer } from "../task/producer.ts";
import type { ErrorClass } from "../task/task.ts";

/** Options of one call (inventory C.1). Durations are seconds. */
export interface CallOptions {
  /** Instead of a random UUID; any text. */
  readonly taskId?: string;
  readonly kwargs?: Readonly<Record<string, unknown>>;
  /** Seconds from now; not before. Wins over `eta`. */
  readonly countdown?: number;
  /** Not before. */
  readonly eta?: Date | string;
  /** Not after: seconds from now, or an instant. */
  readonly expires?: number | Date | string;
  readonly queue?: string;
  readonly exchange?: string;
  readonly exchangeType?: "direct" | "topic" | "fanout";
  readonly routingKey?: string;
  /** 0 to 255. RabbitMQ serves high ones first, Redis and the embedded store low ones. */
  readonly priority?: number;
  readonly serializer?: string;
  readonly compression?: string;
  readonly timeLimit?: number;
  readonly softTimeLimit?: number;
  /** Name to show in logs and monitors. */
  readonly shadow?: string;
  /** True: no result is stored. False: it is, even if the task's definition says otherwise. */
  readonly ignoreResult?: boolean;
  readonly headers?: Readonly<Record<string, unknown>>;
  readonly argsrepr?: string;
  readonly kwargsrepr?: string;
  /** Called with the result, or list of them, when the task succeeds. */
  readonly link?: SignatureLike | readonly SignatureLike[];
  /** Called when it fails. */
  readonly linkError?: SignatureLike | readonly SignatureLike[];
  /** Try again when the broker cannot be reached; default `taskPublishRetry`. */
  readonly retry?: boolean;
  readonly retryPolicy?: {
    readonly maxRetries?: number | null;
    readonly intervalStart?: number;
    readonly intervalStep?: number;
    readonly intervalMax?: number;
    /** Errors to try again after as well; those of the connection always are. */
    readonly retryErrors?: readonly ErrorClass[];
  };
  /** Ends the tries: the call rejects with its reason. What the broker has by then is sent. */
  readonly signal?: AbortSignal;
  /** Headers that go along to everything the call leads to; see `Signature#stamp`. */
  readonly stamps?: Readonly<Record<string, unknown>>;
  /** 1: kept in memory by the broker; 2: written to disk, the default. */
  readonly deliveryMode?: 1 | 2;
  readonly rootId?: string;
  readonly parentId?: string;
  readonly groupId?: string;
  readonly groupIndex?: number;
  readonly replyTo?: string;
  readonly correlationId?: string;
  /** Whether a task calling this one lists it among its children; default true. */
  readonly addToParent?: boolean;
  readonly mandatory?: boolean;
  /** Seconds after which the broker may drop the message. */
  readonly expiration?: number;
  /** Sends through this producer's connection; see `app.producer()`. */
  readonly producer?: Producer;
  /** Sends through this connection, which stays open; see `app.connection()`. A `producer` comes before it. */
  readonly connection?: Broker;
}

const wireNames: Readonly<Record<string, string>> = {
  taskId: "task_id",
  exchangeType: "exchange_type",
  routingKey: "routing_key",
  timeLimit: "time_limit",
  softTimeLimit: "soft_time_limit",
  ignoreResult: "ignore_result",
  linkError: "link_error",
  retryPolicy: "retry_policy",
  deliveryMode: "delivery_mode",
  rootId: "root_id",
  parentId: "parent_id",
  groupId: "group_id",
  groupIndex: "group_index",
  replyTo: "reply_to",
  correlationId: "correlation_id",
  addToParent: "add_to_parent",
};

/** The options under the names signatures carry them by. Celery's own snake case passes as it is. */
export function wireOptions(options: CallOptions): Record<string, unknown> {
  const wire: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options)) {
    if (key === "kwargs" || value === undefined) continue;
    if (key === "stamps") {
      Object.assign(wire, value, { stamped_headers: Object.keys(value as object) });
      continue;
    }
    const name = wireNames[key] ?? key;
    wire[name] = name === "link" || name === "link_error" ? linksOf(value as CallOptions["link"]) : value;
  }
  return wire;
}

function linksOf(links: CallOptions["link"] | null): unknown {
  if (!links) return links;
  return Array.isArray(links) ? links.map(signatureDict) : signatureDict(links as SignatureLike);
}
