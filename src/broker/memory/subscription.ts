import type { Message } from "../../protocol/message.ts";
import { bytesOfBase64 } from "../../util/base64.ts";
import type { Address, Delivery, Queue, Rejection, SubscribeOptions, Subscription } from "../broker.ts";
import { damageOfSize } from "../damage.ts";
import { mostDeadLetters } from "../options.ts";
import type { Entry } from "./entry.ts";
import type { MemoryStore } from "./store.ts";

/** Deliveries handed over before others get their turn. */
const batch = 100;

/** A flow of deliveries out of a memory store. Hands over in a later turn of the event loop than the one a message came in. */
export class MemorySubscription implements Subscription {
  readonly #store: MemoryStore;
  readonly #options: SubscribeOptions;
  readonly #maxBodySize: number;
  readonly #mostDead: number;
  readonly #onClose: (subscription: MemorySubscription) => void;
  readonly held = new Set<Entry>();
  #queues: string[] = [];
  #prefetch: number;
  #paused = false;
  #closed = false;
  #pumping: NodeJS.Immediate | undefined;
  readonly #wake = (): void => {
    if (!this.#closed) this.#pumping ??= setImmediate(() => this.#pump());
  };

  constructor(
    store: MemoryStore,
    options: SubscribeOptions,
    limits: { readonly maxBodySize: number; readonly mostDeadLetters?: number },
    onClose: (subscription: MemorySubscription) => void,
  ) {
    this.#store = store;
    this.#options = options;
    this.#maxBodySize = limits.maxBodySize;
    this.#mostDead = limits.mostDeadLetters ?? mostDeadLetters;
    this.#onClose = onClose;
    this.#prefetch = options.prefetch;
    store.onArrival(this.#wake);
    store.holds(this);
  }

  async consume(queue: Queue): Promise<void> {
    this.#store.declare(queue);
    if (this.#closed || this.#queues.includes(queue.name)) return;
    this.#queues.push(queue.name);
    this.#store.consumerCame(queue.name);
    this.#wake();
  }

  async cancel(queue: string): Promise<void> {
    if (!this.#queues.includes(queue)) return;
    this.#queues = this.#queues.filter((name) => name !== queue);
    this.#store.consumerWent(queue);
  }

  setPrefetch(count: number): void {
    this.#prefetch = count;
    this.#wake();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#wake();
  }

  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    const entries = deliveries.flatMap((one) => (one instanceof MemoryDelivery ? [one.entry] : []));
    this.#store.giveBack(entries.filter((entry) => this.held.delete(entry)));
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    clearImmediate(this.#pumping);
    this.#store.offArrival(this.#wake);
    this.#store.giveBack([...this.held]);
    this.held.clear();
    this.#store.holdsNoMore(this);
    for (const queue of this.#queues) this.#store.consumerWent(queue);
    this.#onClose(this);
  }

  /** Takes the entry out of hand; false when it was settled or given back before. */
  settle(entry: Entry): boolean {
    if (!this.held.delete(entry)) return false;
    this.#wake();
    return true;
  }

  get mostDead(): number {
    return this.#mostDead;
  }

  get node(): string {
    return this.#options.node;
  }

  #pump(): void {
    this.#pumping = undefined;
    for (let count = 0; count < batch && this.#mayTake(); count += 1) {
      const entry = this.#takeNext();
      if (!entry) return;
      this.#hand(entry);
    }
    if (this.#mayTake()) this.#wake();
  }

  #mayTake(): boolean {
    return !this.#closed && !this.#paused && (this.#prefetch === 0 || this.held.size < this.#prefetch);
  }

  /** One entry from the first queue that has any; that queue then goes to the end of the turn. */
  #takeNext(): Entry | undefined {
    for (const queue of this.#queues) {
      const entry = this.#store.take(queue);
      if (!entry) continue;
      this.#queues = [...this.#queues.filter((name) => name !== queue), queue];
      return entry;
    }
    return undefined;
  }

  #hand(entry: Entry): void {
    if (!this.#options.noAck) this.held.add(entry);
    const damage = damageOfSize(bytesOfBase64(entry.message.body), this.#maxBodySize);
    this.#options.onDelivery(new MemoryDelivery(entry, damage, this, this.#store));
  }
}

class MemoryDelivery implements Delivery {
  readonly redelivered: boolean;
  readonly damage: string | null;
  readonly lost = false;
  readonly entry: Entry;
  readonly #subscription: MemorySubscription;
  readonly #store: MemoryStore;

  constructor(entry: Entry, damage: string | null, subscription: MemorySubscription, store: MemoryStore) {
    this.entry = entry;
    this.redelivered = entry.redelivered;
    this.damage = damage;
    this.#subscription = subscription;
    this.#store = store;
  }

  get message(): Message {
    return this.entry.message;
  }

  get queue(): string {
    return this.entry.queue;
  }

  get address(): Address {
    return this.entry.address;
  }

  async ack(): Promise<void> {
    this.#subscription.settle(this.entry);
  }

  async park(due: Date): Promise<void> {
    if (this.#subscription.settle(this.entry)) this.#store.park(this.entry, due.getTime() || Date.now());
  }

  async reject({ requeue, reason = "rejected", shelf = false, headers }: Rejection): Promise<void> {
    if (!this.#subscription.settle(this.entry)) return;
    if (requeue) return this.#store.requeue(this.entry, headers);
    const { node, mostDead } = this.#subscription;
    if (shelf) this.#store.shelf.bury(this.entry, reason, node, 0);
    else this.#store.dead.bury(this.entry, reason, node, mostDead);
  }
}
