import { createRequire } from "node:module";
import type { Attributes, Context, Span, TextMapGetter, TextMapSetter } from "@opentelemetry/api";
import type { Publication } from "../broker/broker.ts";
import type { Message } from "../protocol/message.ts";

type Api = typeof import("@opentelemetry/api");

/** Where OpenTelemetry's API keeps what an SDK has registered, whichever copy of it the SDK uses. */
const registered = Symbol.for("opentelemetry.js.api.1");

/** How a traced run ended, as far as a trace tells of it. */
export interface TracedEnd {
  readonly kind: string;
  /** As `ValueError('x')`, of an end that is a failure. */
  readonly repr?: string;
  readonly traceback?: string;
  /** One of the task's `throws`. */
  readonly expected?: boolean;
}

/**
 * Spans for messages sent and tasks run, by OpenTelemetry's messaging conventions, with the W3C
 * trace context in the message's headers (`traceparent`, `tracestate`, `baggage`), where Celery's
 * instrumentation for Python puts and seeks it.
 */
export class Tracing {
  readonly #api: Api;

  constructor(api: Api) {
    this.#api = api;
  }

  /** Begins the span of a message to be sent, and writes its context into the headers given. */
  publish({ message, address: { exchange, routingKey } }: Publication, queue: string | null): PublishSpan {
    const { trace, context, propagation, SpanKind } = this.#api;
    const destination = queue ?? (exchange === "" ? routingKey : exchange);
    const span = this.#tracer().startSpan(`publish ${destination}`, {
      kind: SpanKind.PRODUCER,
      attributes: {
        ...attributesOf(message, destination),
        "messaging.operation.name": "publish",
        "messaging.operation.type": "send",
      },
    });
    propagation.inject(trace.setSpan(context.active(), span), message.headers as Record<string, unknown>, setter);
    return new PublishSpan(span, this.#api);
  }

  /** Runs a task inside the span of its processing, which continues the trace its message came with. */
  async process<End extends TracedEnd>(
    message: Pick<Message, "headers" | "properties">,
    queue: string,
    run: () => Promise<End>,
  ): Promise<End> {
    const { trace, context, propagation, SpanKind, ROOT_CONTEXT } = this.#api;
    const from: Context = propagation.extract(ROOT_CONTEXT, message.headers, getter);
    const span = this.#tracer().startSpan(
      `process ${queue}`,
      {
        kind: SpanKind.CONSUMER,
        attributes: {
          ...attributesOf(message, queue),
          "messaging.operation.name": "process",
          "messaging.operation.type": "process",
        },
      },
      from,
    );
    try {
      const end = await context.with(trace.setSpan(from, span), run);
      this.#conclude(span, end);
      return end;
    } finally {
      span.end();
    }
  }

  #conclude(span: Span, end: TracedEnd): void {
    span.setAttribute("celery.state", stateOf(end.kind));
    if (end.kind !== "failure" && end.kind !== "retry") return;
    const name = /^[\w.]+/.exec(end.repr ?? "")?.[0] ?? "Error";
    const stack = end.traceback === undefined ? {} : { stack: end.traceback };
    span.recordException({ name, message: end.repr ?? end.kind, ...stack });
    if (end.kind === "retry" || end.expected) return;
    span.setAttribute("error.type", name);
    span.setStatus({ code: this.#api.SpanStatusCode.ERROR, message: end.repr ?? end.kind });
  }

  #tracer() {
    return this.#api.trace.getTracer("tq");
  }
}

/** The span of one message on its way to the broker. */
export class PublishSpan {
  readonly #span: Span;
  readonly #api: Api;

  constructor(span: Span, api: Api) {
    this.#span = span;
    this.#api = api;
  }

  /** The broker has it, or will not have it. */
  end(error?: unknown): void {
    if (error !== undefined) {
      const failure = error instanceof Error ? error : new Error(String(error));
      this.#span.recordException(failure);
      this.#span.setAttribute("error.type", failure.name);
      this.#span.setStatus({ code: this.#api.SpanStatusCode.ERROR, message: failure.message });
    }
    this.#span.end();
  }
}

let loaded: Tracing | undefined;

/**
 * Tracing, once an SDK has registered itself in this process; else null, at the price of a look.
 * Only then is the API loaded, at once and not by promise: a call that is traced should not be
 * sent later than one that is not.
 */
export function tracing(): Tracing | null {
  if ((globalThis as Record<symbol, unknown>)[registered] === undefined) return null;
  loaded ??= new Tracing(createRequire(import.meta.url)("@opentelemetry/api") as Api);
  return loaded;
}

function attributesOf(message: Pick<Message, "headers" | "properties">, destination: string): Attributes {
  const { headers, properties } = message;
  return {
    "messaging.system": "celery",
    "messaging.destination.name": destination,
    "messaging.message.id": String(headers.id ?? ""),
    ...(typeof properties.correlation_id === "string"
      ? { "messaging.message.conversation_id": properties.correlation_id }
      : {}),
    "celery.task_name": String(headers.task ?? ""),
    ...(Number(headers.retries) > 0 ? { "celery.retries": Number(headers.retries) } : {}),
  };
}

function stateOf(kind: string): string {
  const states: Readonly<Record<string, string>> = { success: "SUCCESS", failure: "FAILURE", retry: "RETRY" };
  return states[kind] ?? kind.toUpperCase();
}

const setter: TextMapSetter<Record<string, unknown>> = {
  set(headers, key, value) {
    headers[key] = value;
  },
};

const getter: TextMapGetter<Readonly<Record<string, unknown>>> = {
  keys: (headers) => Object.keys(headers),
  get: (headers, key) => {
    const value = Object.hasOwn(headers, key) ? headers[key] : undefined;
    return typeof value === "string" ? value : undefined;
  },
};
