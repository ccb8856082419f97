import { BrokerConnectionError, OperationalError } from "../../errors.ts";
import type { Message } from "../../protocol/message.ts";
import { bytesOfBase64 } from "../../util/base64.ts";
import {
  type Address,
  type Broker,
  type DeadLetter,
  type DeadLetters,
  mostParkedBody,
  type ParkedMessage,
  type ParkedOptions,
  type Publication,
  type Queue,
  type SubscribeOptions,
  type Subscription,
} from "../broker.ts";
import { redriven } from "../marks.ts";
import type { Notes } from "../notes.ts";
import type { BrokerOptions } from "../options.ts";
import type { Located, LocateOptions } from "../whereabouts.ts";
import type { Graves } from "./graves.ts";
import { MemoryStore } from "./store.ts";
import { MemorySubscription } from "./subscription.ts";

/**
 * The one state in a module of this folder: the URL is the address of a store within this
 * process, as a host and port are outside of it. Two brokers made from one URL must meet.
 */
const stores = new Map<string, MemoryStore>();

/**
 * A broker whose messages live in this process and end with it: for tests, and the reference for
 * what the port means. `memory://name`; those of one name share their messages.
 */
export function createMemoryBroker(url: string, options: BrokerOptions): MemoryBroker {
  const name = url.replace(/^memory:\/*/, "");
  const store = stores.get(name) ?? new MemoryStore();
  stores.set(name, store);
  return new MemoryBroker(`memory://${name}`, store, options);
}

export class MemoryBroker implements Broker {
  readonly transport = "memory";
  readonly priorityOrder = "lowest-first";
  readonly displayUrl: string;
  readonly deadLetters: DeadLetters;
  readonly shelf: DeadLetters;
  readonly revokes: Notes;
  readonly #store: MemoryStore;
  readonly #options: BrokerOptions;
  readonly #subscriptions = new Set<MemorySubscription>();
  #state: "new" | "connected" | "closed" = "new";

  constructor(displayUrl: string, store: MemoryStore, options: BrokerOptions) {
    this.displayUrl = displayUrl;
    this.#store = store;
    this.#options = options;
    this.revokes = store.revokes;
    this.deadLetters = new MemoryDeadLetters(store, store.dead);
    this.shelf = new MemoryDeadLetters(store, store.shelf);
  }

  /** For tests: what waits is so many seconds nearer to its time. */
  travel(seconds: number): void {
    this.#store.travel(seconds * 1000);
  }

  async connect(): Promise<void> {
    if (this.#state === "connected") return;
    this.#state = "connected";
    this.#store.attach();
  }

  async declare(queue: Queue): Promise<void> {
    this.#mustBeConnected();
    this.#store.declare(queue);
  }

  async publish(message: Message, address: Address): Promise<void> {
    this.#mustBeConnected();
    this.#send(message, address);
  }

  async publishMany(publications: readonly Publication[]): Promise<void> {
    this.#mustBeConnected();
    for (const { message, address } of publications) this.#send(message, address);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    this.#mustBeConnected();
    const subscription = new MemorySubscription(this.#store, options, this.#options, (closed) =>
      this.#subscriptions.delete(closed),
    );
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async size(queue: string): Promise<number> {
    this.#mustBeConnected();
    return this.#store.size(queue);
  }

  async peek(queue: string): Promise<Message | null> {
    this.#mustBeConnected();
    return this.#store.peek(queue);
  }

  async parked(): Promise<number> {
    this.#mustBeConnected();
    return this.#store.parked;
  }

  async parkedMessages({ queues, limit }: ParkedOptions): Promise<readonly ParkedMessage[]> {
    this.#mustBeConnected();
    return this.#store.parkedFor(new Set(queues), limit).map(({ due, entry }) => ({
      message: bytesOfBase64(entry.message.body) > mostParkedBody ? { ...entry.message, body: "" } : entry.message,
      address: entry.address,
      queue: entry.queue,
      due: new Date(due),
      redelivered: entry.redelivered,
    }));
  }

  async locate(options: LocateOptions): Promise<Located> {
    this.#mustBeConnected();
    return { kind: "located", places: this.#store.locate(options), unsearched: [] };
  }

  async purge(queue: string): Promise<number> {
    this.#mustBeConnected();
    return this.#store.purge(queue);
  }

  async delete(queue: Queue): Promise<void> {
    this.#mustBeConnected();
    this.#store.delete(queue.name);
  }

  async close(): Promise<void> {
    if (this.#state !== "connected") return;
    this.#state = "closed";
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    this.#store.detach();
  }

  #send(message: Message, address: Address): void {
    if (this.#store.publish(message, address)) return;
    // A broadcast nobody has subscribed to reaches nobody, and that is all right.
    if (address.type === "fanout" || address.type === "topic") return;
    throw new OperationalError(
      `there is no exchange ${JSON.stringify(address.exchange)}: declare a queue bound to it before publishing`,
    );
  }

  #mustBeConnected(): void {
    if (this.#state === "connected") return;
    throw new BrokerConnectionError(`${this.displayUrl} is ${this.#state === "new" ? "not connected yet" : "closed"}`);
  }
}

class MemoryDeadLetters implements DeadLetters {
  readonly #store: MemoryStore;

  readonly #graves: Graves;

  constructor(store: MemoryStore, graves: Graves) {
    this.#store = store;
    this.#graves = graves;
  }

  async count(): Promise<number> {
    return this.#graves.all.length;
  }

  async list({ limit = 100, offset = 0 } = {}): Promise<readonly DeadLetter[]> {
    return this.#graves.all.slice(offset, offset + limit).map(({ id, entry, reason, node, at }) => ({
      id,
      queue: entry.queue,
      reason,
      at,
      node,
      size: bytesOfBase64(entry.message.body),
      message: entry.message,
      raw: null,
    }));
  }

  async redrive(ids: readonly string[]): Promise<number> {
    const dead = this.#graves.exhume(ids);
    for (const { entry } of dead) this.#store.requeue(entry, redriven(entry.message.headers));
    return dead.length;
  }

  async purge(ids?: readonly string[]): Promise<number> {
    return this.#graves.exhume(ids).length;
  }
}
