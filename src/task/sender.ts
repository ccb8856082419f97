import { randomUUID } from "node:crypto";
import type { Broker, Publication, Queue } from "../broker/broker.ts";
import type { Call, Plan, PlannedChord } from "../canvas/plan.ts";
import { deliveryMode } from "../config/policies.ts";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured, MessageTooLarge } from "../errors.ts";
import type { Message } from "../protocol/message.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { createTaskHeaders, type Embed, sentHeader, type TaskMessage } from "../protocol/task-message.ts";
import type { EncodedBody } from "../serialization/registry.ts";
import { encodeBody } from "../serialization/registry.ts";
import { formatIso, parseIso } from "../util/iso8601.ts";
import { argsRepr, kwargsRepr } from "../util/repr.ts";
import { currentRun } from "./current.ts";
import { Producer } from "./producer.ts";
import { Publisher, type PublishPolicy } from "./publisher.ts";
import type { TaskRegistry } from "./registry.ts";
import type { Router } from "./router.ts";
import type { Signals } from "./signals.ts";
import type { ErrorClass, Task } from "./task.ts";
import { type PublishSpan, tracing } from "./tracing.ts";

/** A message made of a call, with all it needs to leave. */
interface Prepared {
  readonly id: string;
  readonly call: Call;
  readonly publication: Publication;
  readonly queue: Queue | null;
  readonly policy: PublishPolicy;
  /** Its place in a trace, where somebody traces. */
  span?: PublishSpan;
}

export interface SenderParts {
  readonly settings: () => Settings;
  readonly router: () => Router;
  readonly registry: TaskRegistry;
  readonly publisher: Publisher;
  readonly signals: Signals;
  /** `reply_to` of every call: the reply queue of an rpc backend, else empty. */
  readonly replyTo: () => string;
  /** `gen<pid>@<host>`. */
  readonly origin: string;
  readonly openChord: (chord: PlannedChord) => Promise<void>;
  /** Sends `task-sent` events; never rejects: a call does not fail for want of its event. */
  readonly tellSent: (events: readonly Readonly<Record<string, unknown>>[]) => Promise<void>;
  readonly now?: () => Date;
}

/** Options of a call that are not message properties: everything apply_async understands. */
const knownOptions = new Set([
  "task_id",
  "root_id",
  "parent_id",
  "group_id",
  "group_index",
  "chord",
  "chain",
  "link",
  "link_error",
  "queue",
  "exchange",
  "exchange_type",
  "routing_key",
  "priority",
  "countdown",
  "eta",
  "expires",
  "time_limit",
  "soft_time_limit",
  "serializer",
  "compression",
  "headers",
  "shadow",
  "ignore_result",
  "replaced_task_nesting",
  "stamped_headers",
  "retries",
  "retry",
  "retry_policy",
  "argsrepr",
  "kwargsrepr",
  "origin",
  "reply_to",
  "correlation_id",
  "delivery_mode",
  "add_to_parent",
  "expiration",
  "producer",
  "publisher",
  "connection",
  "mandatory",
  "immediate",
  "declare",
  "timelimit",
  "result_cls",
  "task_type",
  "route_name",
  "router",
  "confirm_timeout",
  "timeout",
  "stamps",
  "signal",
]);

/** Messages that are ready to leave, with the queues they need. */
export interface ReadyCalls {
  readonly publications: readonly Publication[];
  readonly queues: readonly Queue[];
}

/** Whoever gets calls run: by message, or here and now when eager. */
export interface CallSender {
  /** Makes messages of calls for somebody else to send. Left out where no messages are sent. */
  makeReady?(calls: readonly Call[]): Promise<ReadyCalls>;
  /** Opens the chords of a plan: before any of its messages leaves. */
  openChords?(plan: Plan): Promise<void>;
  /** Resolves to the call's id. */
  send(call: Call): Promise<string>;
  sendPlan(plan: Plan): Promise<void>;
}

/** Turns calls into messages, routes them and sees them into the broker. */
export class Sender implements CallSender {
  readonly #parts: SenderParts;

  constructor(parts: SenderParts) {
    this.#parts = parts;
  }

  /** Sends one call; resolves to its id once the broker has it. */
  async send(call: Call): Promise<string> {
    const [id] = await this.sendAll([call]);
    return id as string;
  }

  /** Opens the chords of a plan, then sends its calls together. */
  async sendPlan(plan: Plan): Promise<void> {
    await this.openChords(plan);
    await this.sendAll(plan.calls);
  }

  async openChords(plan: Plan): Promise<void> {
    for (const chord of plan.chords) await this.#parts.openChord(chord);
  }

  /** The calls as messages, told of as if they were sent: they are handed over with the end of the task that makes them. */
  async makeReady(calls: readonly Call[]): Promise<ReadyCalls> {
    const prepared = await this.#prepareAll(calls);
    await this.#tellAfter(prepared);
    const queues = new Map(prepared.flatMap(({ queue }) => (queue ? [[queue.name, queue] as const] : [])));
    return { publications: prepared.map(({ publication }) => publication), queues: [...queues.values()] };
  }

  async #prepareAll(calls: readonly Call[]): Promise<Prepared[]> {
    const prepared: Prepared[] = [];
    const tracer = tracing();
    for (const call of calls) {
      const made = this.#prepare(call);
      const one = made instanceof Promise ? await made : made;
      if (tracer !== null) one.span = tracer.publish(one.publication, one.queue?.name ?? null);
      prepared.push(one);
    }
    if (this.#parts.signals.has("beforeTaskPublish")) for (const one of prepared) await this.#announce(one);
    return prepared;
  }

  /** Sends many calls in as few steps as the broker allows. */
  async sendAll(calls: readonly Call[]): Promise<string[]> {
    const prepared = await this.#prepareAll(calls);
    const [first] = prepared;
    if (!first) return [];
    const queues = new Map<string, Queue>();
    for (const { queue } of prepared) if (queue) queues.set(queue.name, queue);
    try {
      await this.#publisherOf(calls[0]?.options ?? {}).publish(
        prepared.map((one) => one.publication),
        [...queues.values()],
        first.policy,
      );
    } catch (error) {
      for (const { span } of prepared) span?.end(error);
      throw error;
    }
    await this.#tellAfter(prepared);
    return prepared.map((one) => one.id);
  }

  /** What the call says; else the app's. */
  #publisherOf({ producer, connection }: Call["options"]): Pick<Publisher, "publish"> {
    if (producer instanceof Producer) return producer;
    if (!connection) return this.#parts.publisher;
    const broker = connection as Broker;
    return new Publisher(async () => {
      await broker.connect();
      return broker;
    });
  }

  async #tellAfter(prepared: readonly Prepared[]): Promise<void> {
    const { signals, settings } = this.#parts;
    for (const { span } of prepared) span?.end();
    if (settings().taskSendSentEvent) await this.#tellSent(prepared);
    if (!signals.has("afterTaskPublish")) return;
    for (const { publication, call } of prepared) {
      const headers = publication.message.headers as TaskMessage["headers"];
      const { exchange, routingKey } = publication.address;
      const { args, kwargs } = call;
      await signals.send("afterTaskPublish", { task: headers.task, headers, args, kwargs, exchange, routingKey });
    }
  }

  /** Of tasks whose `sendEvents` is off nothing is told. */
  async #tellSent(prepared: readonly Prepared[]): Promise<void> {
    const { registry, tellSent } = this.#parts;
    const told = prepared.filter(
      ({ publication }) => registry.get(String(publication.message.headers.task))?.options.sendEvents !== false,
    );
    if (told.length > 0) await tellSent(told.map(sentEvent));
  }

  async #announce(prepared: Prepared): Promise<void> {
    const { message, address } = prepared.publication;
    await this.#parts.signals.send("beforeTaskPublish", {
      task: String(message.headers.task),
      headers: message.headers as Record<string, unknown>,
      properties: message.properties as Record<string, unknown>,
      args: prepared.call.args,
      kwargs: prepared.call.kwargs,
      exchange: address.exchange,
      routingKey: address.routingKey,
      retryPolicy: prepared.policy.retry ? { ...prepared.policy } : null,
    });
  }

  #prepare(call: Call): Prepared | Promise<Prepared> {
    const settings = this.#parts.settings();
    const task = this.#parts.registry.get(call.task);
    const { options } = call;
    const serializer = text(options.serializer) ?? task?.options.serializer ?? settings.taskSerializer;
    const compression = text(options.compression) ?? task?.options.compression ?? settings.taskCompression;
    const embed: Embed = {
      callbacks: signatures(options.link),
      errbacks: signatures(options.link_error),
      chain: (options.chain as readonly SignatureDict[] | undefined) ?? null,
      chord: (options.chord as SignatureDict | undefined) ?? null,
    };
    const value = [call.args, call.kwargs, embed];
    const plain = encodeBody(value, serializer, compression ?? null);
    const body =
      compression === null && embed.chord
        ? whenDone(plain, (encoded) =>
            encoded.size > workflowBytes ? encodeBody(value, serializer, workflowCompression) : encoded,
          )
        : plain;
    return body instanceof Promise
      ? body.then((encoded) => this.#assemble(call, task, settings, encoded))
      : this.#assemble(call, task, settings, body);
  }

  #assemble(call: Call, task: Task | undefined, settings: Settings, body: EncodedBody): Prepared {
    const { options } = call;
    const now = this.#parts.now?.() ?? new Date();
    const run = currentRun.getStore();
    const id = text(options.task_id) ?? randomUUID();
    const route = this.#parts.router().route(options, call.task, call.args, call.kwargs, task);
    const merged = route.options;
    const eta = etaOf(options, now);
    const expires = expiresOf(options.expires ?? task?.options.expires ?? null, now);
    const inherited = settings.taskInheritParentPriority ? (run?.priority ?? null) : null;
    const priority =
      number(options.priority) ??
      number(merged.priority) ??
      task?.options.priority ??
      inherited ??
      settings.taskDefaultPriority ??
      0;
    const timelimit = limitsOf(options);
    const stamped = (options.stamped_headers as readonly string[] | null | undefined) ?? null;
    const stamps: Record<string, unknown> = {};
    for (const name of stamped ?? []) if (name in options) stamps[name] = options[name];
    // Added to what is fresh already: a copy of twenty fields would cost as much as printing them.
    let headers: Record<string, unknown> = createTaskHeaders({
      task: call.task,
      id,
      shadow: text(options.shadow) ?? text(task?.options.shadowName?.(call.args, call.kwargs)),
      eta: eta === null ? null : formatIso(eta),
      expires: expires === null ? null : formatIso(expires),
      group: text(options.group_id),
      group_index: number(options.group_index),
      retries: number(options.retries) ?? 0,
      timelimit,
      root_id: text(options.root_id) ?? run?.rootId ?? id,
      parent_id: text(options.parent_id) ?? run?.id ?? null,
      argsrepr: text(options.argsrepr) ?? argsRepr(call.args),
      kwargsrepr: text(options.kwargsrepr) ?? kwargsRepr(call.kwargs),
      origin: text(options.origin) ?? this.#parts.origin,
      ignore_result: typeof options.ignore_result === "boolean" ? options.ignore_result : null,
      replaced_task_nesting: number(options.replaced_task_nesting) ?? 0,
      stamped_headers: stamped,
      stamps,
    }) as unknown as Record<string, unknown>;
    if (body.compression !== undefined) headers.compression = body.compression;
    if (options.headers) headers = { ...headers, ...(options.headers as Readonly<Record<string, unknown>>) };
    headers[sentHeader] = now.getTime() / 1000;
    const message: Message = {
      headers,
      properties: {
        correlation_id: text(options.correlation_id) ?? id,
        reply_to: text(options.reply_to) ?? this.#parts.replyTo(),
        delivery_mode:
          deliveryMode.parse(options.delivery_mode) ?? task?.options.deliveryMode ?? settings.taskDefaultDeliveryMode,
        priority,
        ...expirationOf(options, expires, now),
        ...extraProperties(options, stamped),
      },
      contentType: body.contentType,
      contentEncoding: body.contentEncoding,
      body: body.body,
    };
    const { size } = body;
    if (size > settings.workerMaxBodySize) {
      throw new MessageTooLarge(
        `the arguments of ${call.task} take ${size} bytes, more than workerMaxBodySize (${settings.workerMaxBodySize}): ` +
          "store the data elsewhere and pass a reference, or raise the setting on both sides",
        size,
        settings.workerMaxBodySize,
      );
    }
    if (run && options.add_to_parent !== false) run.children.push([[id, null], null]);
    return {
      id,
      call,
      publication: { message, address: route.address },
      queue: route.queue,
      policy: policyOf(settings, options),
    };
  }
}

/** The fields of a `task-sent` event, in Celery's order (protocol 12.3). */
function sentEvent({ publication, queue }: Prepared): Readonly<Record<string, unknown>> {
  const { message, address } = publication;
  const headers = message.headers as TaskMessage["headers"];
  return {
    uuid: headers.id,
    root_id: headers.root_id,
    parent_id: headers.parent_id,
    name: headers.task,
    args: headers.argsrepr,
    kwargs: headers.kwargsrepr,
    retries: headers.retries,
    eta: headers.eta,
    expires: headers.expires,
    queue: queue?.name ?? (address.exchange === "" ? address.routingKey : address.exchange),
    exchange: address.exchange,
    routing_key: address.routingKey,
  };
}

/**
 * Every member of a chord carries all that is to follow, nearly the same text each time. Beyond so
 * many bytes the body of such a message is deflated, which every Celery reads; otherwise six chords of
 * ten in a row would take 150 kB when they begin. A compression of one's own is used instead.
 */
const workflowBytes = 4096;
const workflowCompression = "zlib";

function whenDone<T, R>(value: T | Promise<T>, then: (value: T) => R | Promise<R>): R | Promise<R> {
  return value instanceof Promise ? value.then(then) : then(value);
}

function policyOf(settings: Settings, options: Readonly<Record<string, unknown>>): PublishPolicy {
  const given = {
    ...settings.taskPublishRetryPolicy,
    ...(options.retry_policy as object | null | undefined),
  } as Record<string, unknown>;
  const pick = (snake: string, camel: string, fallback: number): number =>
    number(given[camel]) ?? number(given[snake]) ?? fallback;
  const max = given.maxRetries === undefined ? given.max_retries : given.maxRetries;
  return {
    retry: typeof options.retry === "boolean" ? options.retry : settings.taskPublishRetry,
    maxRetries: max === null ? null : (number(max) ?? 3),
    intervalStart: pick("interval_start", "intervalStart", 0),
    intervalStep: pick("interval_step", "intervalStep", 0.2),
    intervalMax: pick("interval_max", "intervalMax", 0.2),
    ...(Array.isArray(given.retryErrors) ? { retryErrors: given.retryErrors as readonly ErrorClass[] } : {}),
    ...(options.signal instanceof AbortSignal ? { signal: options.signal } : {}),
  };
}

const lowestCountdown = -(2 ** 31);

function etaOf(options: Readonly<Record<string, unknown>>, now: Date): Date | null {
  const countdown = number(options.countdown);
  if (countdown !== null) {
    if (countdown < lowestCountdown) throw new ImproperlyConfigured(`countdown is out of range: ${countdown}`);
    return countdown === 0 ? null : new Date(now.getTime() + countdown * 1000);
  }
  return instant(options.eta, "eta");
}

/** Seconds from now, or an instant (inventory C5). */
function expiresOf(value: unknown, now: Date): Date | null {
  const seconds = number(value);
  if (seconds !== null) {
    if (seconds < lowestCountdown) throw new ImproperlyConfigured(`expires is out of range: ${seconds}`);
    return new Date(now.getTime() + seconds * 1000);
  }
  return instant(value, "expires");
}

function instant(value: unknown, option: string): Date | null {
  if (value === null || value === undefined) return null;
  const date = value instanceof Date ? value : typeof value === "string" ? readIso(value) : null;
  if (date === null || Number.isNaN(date.getTime())) {
    throw new ImproperlyConfigured(`${option} must be a Date or an ISO 8601 text, got: ${String(value)}`);
  }
  return date;
}

/** Python's times without an offset are UTC. */
function readIso(text: string): Date | null {
  try {
    return parseIso(text);
  } catch {
    return null;
  }
}

/** When the broker may drop the message: as the call says (seconds), else when the task expires. */
function expirationOf(
  options: Readonly<Record<string, unknown>>,
  expires: Date | null,
  now: Date,
): { readonly expiration?: string } {
  const given = number(options.expiration);
  if (given === null && expires === null) return {};
  const ms = given !== null ? given * 1000 : (expires as Date).getTime() - now.getTime();
  return { expiration: String(Math.max(0, Math.round(ms))) };
}

function limitsOf(options: Readonly<Record<string, unknown>>): readonly [number | null, number | null] {
  const stored = options.timelimit as readonly [number | null, number | null] | undefined;
  const hard = number(options.time_limit) ?? stored?.[0] ?? null;
  const soft = number(options.soft_time_limit) ?? stored?.[1] ?? null;
  if (hard !== null && soft !== null && soft > hard) {
    throw new ImproperlyConfigured("soft_time_limit must be less than or equal to time_limit");
  }
  return [hard, soft];
}

/** `link` may be one signature or a list (protocol 4.1). */
function signatures(value: unknown): readonly SignatureDict[] | null {
  if (value === null || value === undefined) return null;
  const list = Array.isArray(value) ? (value as readonly SignatureDict[]) : [value as SignatureDict];
  return list.length === 0 ? null : list;
}

function extraProperties(
  options: Readonly<Record<string, unknown>>,
  stamped: readonly string[] | null,
): Record<string, unknown> {
  const extra: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options)) {
    if (!knownOptions.has(key) && value !== null && value !== undefined && !stamped?.includes(key)) extra[key] = value;
  }
  return extra;
}

const text = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
const number = (value: unknown): number | null => (typeof value === "number" ? value : null);
