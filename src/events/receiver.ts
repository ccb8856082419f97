import { randomUUID } from "node:crypto";
import type { Broker, Delivery, Queue, Subscription } from "../broker/broker.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { LamportClock } from "../protocol/clock.ts";
import { type Event, groupOf, type ReceivedEvent } from "../protocol/event.ts";
import { decodeBody, loadSerializer, normalizeAccept } from "../serialization/registry.ts";
import { eventExchange } from "./exchange.ts";

export interface ReceiverOptions {
  /** Which events, as a pattern over their types with dots: `#` (default) all, `task.#`, `worker.*`. */
  readonly routingKey?: string;
  /** Last part of the queue's name; default a new UUID. */
  readonly nodeId?: string;
}

/** The `event_*` settings a receiver follows; durations are seconds. */
export interface EventQueueSettings {
  readonly eventExchange: string;
  readonly eventQueuePrefix: string;
  readonly eventQueueTtl: number | null;
  readonly eventQueueExpires: number | null;
  readonly eventQueueExclusive: boolean;
  readonly eventQueueDurable: boolean;
  readonly eventSerializer: string;
}

export interface ReceiverParts {
  readonly settings: EventQueueSettings;
  readonly clock: LamportClock;
  /** Connected when first needed. */
  readonly broker: Broker;
  /** The broker is the receiver's own: `close` closes it. */
  readonly ownsBroker?: boolean;
  /** Name this receiver subscribes under. */
  readonly node: string;
  /** Asks workers for a heartbeat, so that they are known at once. */
  readonly wakeup?: () => Promise<void>;
  readonly onDamage?: (reason: string) => void;
}

/** Called with one event after another. */
export type EventHandler = (event: ReceivedEvent) => void;

/** The queue a receiver listens with (protocol 12.5): its own, and gone soon after it. */
export function eventQueue(
  settings: EventQueueSettings,
  transport: Broker["transport"],
  { routingKey = "#", nodeId = randomUUID() }: ReceiverOptions,
): Queue {
  const { eventQueueTtl: ttl, eventQueueExpires: expires, eventQueueDurable: durable } = settings;
  return {
    name: `${settings.eventQueuePrefix}.${nodeId}`,
    exchange: eventExchange(settings.eventExchange, transport),
    routingKey,
    durable,
    autoDelete: !durable,
    exclusive: settings.eventQueueExclusive && !durable,
    arguments: {
      ...(expires === null ? {} : { "x-expires": Math.round(expires * 1000) }),
      ...(ttl === null ? {} : { "x-message-ttl": Math.round(ttl * 1000) }),
    },
  };
}

/**
 * Listens to monitoring events. `capture` feeds them to handlers; iterating gives them one after
 * another. A lost connection ends neither: it is made again, and what was sent meanwhile is missed.
 */
export class Receiver implements AsyncDisposable {
  readonly #parts: ReceiverParts;
  readonly #options: ReceiverOptions;
  readonly #accept: ReadonlySet<string>;

  constructor(parts: ReceiverParts, options: ReceiverOptions = {}) {
    this.#parts = parts;
    this.#options = options;
    this.#accept = normalizeAccept([...new Set([parts.settings.eventSerializer, "json"])]);
  }

  /**
   * Subscribes once: resolves when events flow, with what ends it. `onLost` is told when the
   * connection goes.
   */
  async listen(onEvent: EventHandler, onLost: (error: Error) => void): Promise<Subscription> {
    const { broker, settings, node } = this.#parts;
    await loadSerializer(settings.eventSerializer);
    await broker.connect();
    const queue = eventQueue(settings, broker.transport, this.#options);
    const subscription = await broker.subscribe({
      node,
      prefetch: 0,
      noAck: true,
      onDelivery: (delivery) => this.#take(delivery, onEvent),
      onLost,
    });
    try {
      await subscription.consume(queue);
    } catch (error) {
      await subscription.close().catch(() => undefined);
      throw error;
    }
    return subscription;
  }

  /**
   * Hands events to handlers, by type, `*` for those that have none of their own, until `signal`
   * aborts, `limit` events have come, or `timeout` seconds have passed.
   */
  async capture(
    handlers: Readonly<Record<string, EventHandler>>,
    options: { readonly signal?: AbortSignal; readonly limit?: number; readonly timeout?: number } = {},
  ): Promise<void> {
    for await (const event of this.events(options)) (handlers[event.type] ?? handlers["*"])?.(event);
  }

  /** Events as they come. Ends as `capture` does. */
  async *events({
    signal,
    limit = Number.POSITIVE_INFINITY,
    timeout,
    wakeup = true,
  }: {
    readonly signal?: AbortSignal;
    readonly limit?: number;
    readonly timeout?: number;
    /** Ask workers for a heartbeat first; default yes. */
    readonly wakeup?: boolean;
  } = {}): AsyncGenerator<ReceivedEvent> {
    const ends = [signal, timeout === undefined ? undefined : AbortSignal.timeout(timeout * 1000)].filter(
      (one) => one !== undefined,
    );
    const ended = AbortSignal.any(ends);
    let left = limit;
    for (let attempt = 0; left > 0 && !ended.aborted; attempt += 1) {
      const flow = new Flow(ended);
      let subscription: Subscription;
      try {
        subscription = await this.listen(
          (event) => flow.push(event),
          () => flow.end(),
        );
      } catch (error) {
        // The first connect is the caller's to judge; later ones have once been good.
        if (attempt === 0 || !(error instanceof BrokerConnectionError)) throw error;
        await pause(Math.min(2, 0.2 * attempt), ended);
        continue;
      }
      try {
        if (wakeup) await this.#parts.wakeup?.().catch(() => undefined);
        for await (const event of flow) {
          yield event;
          left -= 1;
          if (left <= 0) break;
        }
      } finally {
        await subscription.close().catch(() => undefined);
      }
    }
  }

  /** Ends the receiver's own connection. */
  async close(): Promise<void> {
    if (this.#parts.ownsBroker) await this.#parts.broker.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #take(delivery: Delivery, onEvent: EventHandler): void {
    const refuse = (error: unknown): void => this.#parts.onDamage?.(String(error));
    if (delivery.damage !== null) return refuse(delivery.damage);
    try {
      const decoded = decodeBody(delivery.message, this.#accept);
      if (decoded instanceof Promise) decoded.then((body) => this.#hand(body, onEvent)).catch(refuse);
      else this.#hand(decoded, onEvent);
    } catch (error) {
      refuse(error);
    }
  }

  #hand(body: unknown, onEvent: EventHandler): void {
    for (const one of Array.isArray(body) ? (body as readonly unknown[]) : [body]) {
      const event = receive(one, this.#parts.clock, new Date());
      if (event !== null) onEvent(event);
      else this.#parts.onDamage?.(`not an event: ${JSON.stringify(one)?.slice(0, 200)}`);
    }
  }
}

/**
 * An event as a reader may rely on it: with a clock, and with when it came. Adjusts the reader's
 * clock, except by `task-sent`, whose sender's says nothing (protocol 11.1). Null for what is no
 * event: each reader needs at least type, hostname and timestamp, and of a task its uuid.
 *
 * Celery moves the timestamp by the sender's `utcoffset`; but seconds since 1970 are the same
 * everywhere, and so they are left as they are.
 */
export function receive(value: unknown, clock: LamportClock, now: Date): ReceivedEvent | null {
  if (typeof value !== "object" || value === null) return null;
  const event = value as Event;
  if (typeof event.type !== "string" || typeof event.hostname !== "string") return null;
  if (typeof event.timestamp !== "number" || !Number.isFinite(event.timestamp)) return null;
  if (groupOf(event.type) === "task" && typeof event.uuid !== "string") return null;
  return { ...event, clock: readClock(event, clock), local_received: now.getTime() / 1000 };
}

function readClock({ type, clock: sent }: Event, clock: LamportClock): number {
  if (type === "task-sent") return Math.max(clock.value, 1) - 1;
  if (typeof sent !== "number") return clock.forward();
  clock.adjust(sent);
  return sent;
}

/** A queue between a flow of events and whoever iterates them. */
class Flow implements AsyncIterable<ReceivedEvent> {
  readonly #waiting: ReceivedEvent[] = [];
  readonly #signal: AbortSignal;
  #wake: (() => void) | undefined;
  #ended = false;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  push(event: ReceivedEvent): void {
    this.#waiting.push(event);
    this.#wake?.();
  }

  end(): void {
    this.#ended = true;
    this.#wake?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<ReceivedEvent> {
    const stop = (): void => this.end();
    this.#signal.addEventListener("abort", stop, { once: true });
    if (this.#signal.aborted) stop();
    try {
      while (!this.#ended) {
        for (const event of this.#waiting.splice(0)) yield event;
        if (this.#waiting.length > 0 || this.#ended) continue;
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      this.#signal.removeEventListener("abort", stop);
    }
  }
}

function pause(seconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      clearTimeout(timer);
      signal.removeEventListener("abort", done);
      resolve();
    };
    const timer = setTimeout(done, seconds * 1000);
    signal.addEventListener("abort", done, { once: true });
  });
}
