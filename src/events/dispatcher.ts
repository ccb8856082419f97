import { hostname as hostOfThisMachine } from "node:os";
import type { Broker, Publication } from "../broker/broker.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { LamportClock } from "../protocol/clock.ts";
import { createEvent, type Event, eventRoutingKey, groupOf } from "../protocol/event.ts";
import { anonNodename } from "../protocol/nodename.ts";
import { encodeBody, loadSerializer } from "../serialization/registry.ts";
import { eventExchange } from "./exchange.ts";

export interface DispatcherParts {
  /** Where events go: connected, or the attempt fails and what may wait waits. */
  readonly broker: () => Broker | Promise<Broker>;
  readonly clock: LamportClock;
  /** Sender of the events; default `gen<pid>@<host>`, as for a process that is no worker. */
  readonly hostname?: string;
  /** Name of the exchange; default `celeryev`. */
  readonly exchange?: string;
  /** Default `json`. */
  readonly serializer?: string;
  /** Groups (`worker`, `task` …) that are sent; `all` lets everything out and cannot be switched. */
  readonly groups?: "all" | Iterable<string>;
  /** Told of what could not be sent, other than for want of a connection. */
  readonly onError?: (error: unknown) => void;
}

export type EventFields = Readonly<Record<string, unknown>>;

/** Events of one message; the most a reader has to take at once. */
const batchSize = 100;

/** Task events kept while there is no connection; the oldest go first. */
const mostKept = 10_000;

/**
 * Sends monitoring events. Those of tasks are gathered while the last batch is on its way, or to
 * the end of the tick, and travel as lists; all others at once, each by itself (protocol 12.1).
 * While there is no connection task events wait, in bounds, and all others are dropped: a
 * heartbeat of the past tells nothing.
 */
export class Dispatcher {
  readonly hostname: string;
  readonly #parts: DispatcherParts;
  readonly #groups: Set<string> | null;
  readonly #exchangeName: string;
  readonly #serializer: string;
  #buffer: Event[] = [];
  #sending: Promise<void> | undefined;
  #scheduled: NodeJS.Immediate | undefined;
  /** What is published singly and not there yet. */
  readonly #single = new Set<Promise<void>>();
  #offline = false;
  #dropped = 0;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.hostname = parts.hostname ?? anonNodename(process.pid, hostOfThisMachine());
    this.#groups = parts.groups === undefined || parts.groups === "all" ? null : new Set(parts.groups);
    this.#exchangeName = parts.exchange ?? "celeryev";
    this.#serializer = parts.serializer ?? "json";
  }

  /** Whether events of this group go out: ask before making fields that cost something. */
  sends(group: string): boolean {
    return this.#groups === null || this.#groups.has(group);
  }

  /** Lets events of a group out; false when they already went. */
  enable(group: string): boolean {
    if (this.sends(group)) return false;
    this.#groups?.add(group);
    return true;
  }

  /** Holds events of a group back; false when they did not go, or when the dispatcher was made to send all (`-E`). */
  disable(group: string): boolean {
    return this.#groups?.delete(group) ?? false;
  }

  /** Events lost because the connection was away for too long. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Sends when the group is on. Never throws and never waits. */
  send(type: string, fields: EventFields): void {
    const group = groupOf(type);
    if (!this.sends(group)) return;
    const event = this.#event(type, fields);
    if (group === "task") return this.#keep(event);
    const sent: Promise<void> = this.#publish([[type, event]])
      .catch((error: unknown) => void this.#failed(error))
      .finally(() => this.#single.delete(sent));
    this.#single.add(sent);
  }

  /**
   * Sends one event at once, by itself and whatever the groups are: what a task reports, and
   * `task-sent`. Resolves when the broker has it; rejects with `BrokerConnectionError` when it has not.
   */
  publish(type: string, fields: EventFields): Promise<void> {
    return this.publishAll(type, [fields]);
  }

  /** The same for many of one type. */
  async publishAll(type: string, all: readonly EventFields[]): Promise<void> {
    await this.#publish(all.map((fields) => [type, this.#event(type, fields)] as const));
  }

  /** The connection is there again: what waited for it goes. */
  resume(): void {
    this.#offline = false;
    this.#schedule();
  }

  /** Resolves when everything given to `send` is with the broker, or cannot be. */
  async flush(): Promise<void> {
    this.#offline = false;
    while (this.#buffer.length > 0 && !this.#offline) {
      this.#start();
      await this.#sending;
    }
    await this.#sending;
    await Promise.all(this.#single);
    clearImmediate(this.#scheduled);
    this.#scheduled = undefined;
  }

  #event(type: string, fields: EventFields): Event {
    const { clock } = this.#parts;
    return createEvent(type, fields, {
      hostname: this.hostname,
      pid: process.pid,
      now: new Date(),
      clock: clock.forward(),
    });
  }

  #keep(event: Event): void {
    this.#buffer.push(event);
    if (this.#buffer.length > mostKept) {
      // Many at once: a shift for each would cost more the longer the connection is away.
      const surplus = this.#buffer.splice(0, batchSize);
      this.#dropped += surplus.length;
    }
    if (!this.#offline) this.#schedule();
  }

  #schedule(): void {
    if (this.#buffer.length === 0 || this.#scheduled !== undefined || this.#sending !== undefined) return;
    this.#scheduled = setImmediate(() => {
      this.#scheduled = undefined;
      this.#start();
    });
  }

  /** One flight at a time: what gathers meanwhile makes the next one fuller. */
  #start(): void {
    if (this.#sending !== undefined || this.#buffer.length === 0) return;
    const events = this.#buffer;
    this.#buffer = [];
    const batches: [string, Event[]][] = [];
    for (let at = 0; at < events.length; at += batchSize)
      batches.push(["task.multi", events.slice(at, at + batchSize)]);
    this.#sending = this.#publish(batches)
      .catch((error: unknown) => {
        if (this.#failed(error)) this.#buffer = [...events, ...this.#buffer];
      })
      .finally(() => {
        this.#sending = undefined;
        if (!this.#offline) this.#schedule();
      });
  }

  /** Whether it failed for want of a connection, so that what can wait for the next one does. */
  #failed(error: unknown): boolean {
    if (error instanceof BrokerConnectionError) {
      this.#offline = true;
      return true;
    }
    this.#parts.onError?.(error);
    return false;
  }

  async #publish(all: readonly (readonly [type: string, body: Event | readonly Event[]])[]): Promise<void> {
    const broker = await this.#parts.broker();
    const { name, type } = eventExchange(this.#exchangeName, broker.transport);
    await loadSerializer(this.#serializer);
    const publications: Publication[] = [];
    for (const [eventType, event] of all) {
      const { body, contentType, contentEncoding } = await encodeBody(event, this.#serializer);
      publications.push({
        message: {
          headers: { hostname: this.hostname },
          properties: { delivery_mode: 1, priority: 0 },
          contentType,
          contentEncoding,
          body,
        },
        address: { exchange: name, routingKey: eventRoutingKey(eventType), type },
      });
    }
    const [only] = publications;
    if (publications.length === 1 && only) await broker.publish(only.message, only.address);
    else await broker.publishMany(publications);
  }
}
