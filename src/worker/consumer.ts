import type { Broker, Delivery, Queue, Subscription } from "../broker/broker.ts";
import type { Logger } from "../log.ts";

export interface ConsumerParts {
  readonly broker: Broker;
  readonly hostname: string;
  /** Those it begins with. */
  readonly queues: readonly Queue[];
  /** Most deliveries held unsettled; 0 is no bound. */
  readonly prefetch: () => number;
  /** Deliveries in hand with which the pool is busy for a moment. */
  readonly enough: () => number;
  /** The bound to begin with after a loss, and by how much it grows with each task that ends; null: as always. */
  readonly reduced: (max: number) => { readonly count: number; readonly active: number; readonly step: number } | null;
  readonly onDelivery: (delivery: Delivery) => void;
  readonly onLost: (error: Error) => void;
  readonly logger: Logger;
}

/** Subscribes the worker to its task queues, anew after every connect. */
export class Consumer {
  readonly #parts: ConsumerParts;
  /** What is consumed now, or will be after the next connect. */
  readonly #queues: Map<string, Queue>;
  #subscription: Subscription | undefined;
  /** Less than the bound, after a loss, until enough tasks have ended. */
  #reduction: { count: number; readonly step: number } | null = null;
  /** Slots with tasks whose messages are settled, where these count. */
  #occupied = 0;
  /** Every slot is taken so: nothing is fetched for now. */
  #full = false;
  #paused = false;
  #closed = false;

  constructor(parts: ConsumerParts) {
    this.#parts = parts;
    this.#queues = new Map(parts.queues.map((queue) => [queue.name, queue]));
  }

  get queues(): readonly Queue[] {
    return [...this.#queues.values()];
  }

  /** Most deliveries held unsettled; 0 is no bound. */
  get prefetchCount(): number {
    const max = this.#parts.prefetch();
    return this.#reduction === null ? max : Math.min(max || Number.POSITIVE_INFINITY, this.#reduction.count);
  }

  /** The bound has changed. */
  adjustPrefetch(): void {
    const wasFull = this.#full;
    this.#full = this.#occupied > 0 && this.#occupied >= this.prefetchCount;
    if (this.#full) return this.#subscription?.pause();
    this.#subscription?.setPrefetch(this.#room, this.#parts.enough());
    if (wasFull && !this.#paused) this.#subscription?.resume();
  }

  /**
   * With prefetching disabled: a task whose message is settled runs in a slot that no message stands
   * for, so one message less is taken; none while every slot is taken so. Call before it is settled.
   */
  occupy(): void {
    this.#occupied += 1;
    this.adjustPrefetch();
  }

  /** Such a task has ended. */
  vacate(): void {
    this.#occupied -= 1;
    this.adjustPrefetch();
  }

  /** A task has ended: after a reconnect there is room for more. */
  taskEnded(): void {
    const reduction = this.#reduction;
    if (reduction === null) return;
    reduction.count += reduction.step;
    const max = this.#parts.prefetch();
    if (reduction.count >= max) {
      this.#reduction = null;
      this.#parts.logger.info(
        "Resuming normal operations following a restart.\nPrefetch count has been restored to the maximum of %d",
        max,
      );
    }
    this.adjustPrefetch();
  }

  /** Consumes a queue more; false when it was consumed already. Rejects when the broker does not let it. */
  async add(queue: Queue): Promise<boolean> {
    if (this.#queues.has(queue.name)) return false;
    this.#queues.set(queue.name, queue);
    try {
      await this.#subscription?.consume(queue);
      return true;
    } catch (error) {
      this.#queues.delete(queue.name);
      throw error;
    }
  }

  /** Consumes a queue no more; what it has given stays in hand. */
  async cancel(queue: string): Promise<void> {
    this.#queues.delete(queue);
    await this.#subscription?.cancel(queue);
  }

  /**
   * Rejects with `BrokerConnectionError`; then nothing is subscribed. Paused, it takes nothing, but
   * what runs can still be settled, and keeps its lease.
   */
  async subscribe(): Promise<void> {
    await this.#end().catch(() => undefined);
    if (this.#closed) return;
    const { broker, hostname, onDelivery } = this.#parts;
    const subscription = await broker.subscribe({
      node: hostname,
      prefetch: this.#room,
      enough: this.#parts.enough(),
      onDelivery,
      onLost: (error) => this.#lost(error),
    });
    this.#subscription = subscription;
    try {
      for (const queue of this.#queues.values()) {
        if (this.#paused) break;
        await subscription.consume(queue);
      }
    } catch (error) {
      await this.#end().catch(() => undefined);
      throw error;
    }
    // Told to stop in between.
    if (this.#paused || this.#full) subscription.pause();
  }

  /** Whether messages flow, or would if there were any. */
  get consuming(): boolean {
    return this.#subscription !== undefined && !this.#paused && !this.#closed;
  }

  /** Takes nothing more; what is held can still be settled. */
  pause(): void {
    this.#paused = true;
    this.#subscription?.pause();
  }

  /** Returns deliveries to the head of their queues. Pause first. */
  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    await this.#subscription?.giveBack(deliveries);
  }

  /** Gives back what is unsettled; nothing is subscribed any more. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#end();
  }

  /** Messages that may be held now; 0 is no bound. */
  get #room(): number {
    return this.#occupied === 0 ? this.prefetchCount : Math.max(1, this.prefetchCount - this.#occupied);
  }

  async #end(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await subscription?.close();
  }

  /**
   * A flow that ended by itself is not closed: what the broker did not take back with it is still
   * ours, runs, and is settled over the next one. Giving it back would run it twice.
   */
  #lost(error: Error): void {
    this.#subscription = undefined;
    this.#parts.onLost(error);
    this.#reduce();
  }

  /** Fetches less than otherwise until tasks that outlived the connection have ended (inventory G38). */
  #reduce(): void {
    const max = this.#parts.prefetch();
    const reduced = this.#parts.reduced(max);
    this.#reduction = null;
    if (reduced === null || reduced.count >= max) return;
    const { count, active, step } = reduced;
    this.#reduction = { count, step };
    this.#parts.logger.info(
      "Temporarily reducing the prefetch count to %d to avoid over-fetching since %d tasks are currently being processed.\n" +
        "The prefetch count will be gradually restored to %d as the tasks complete processing.",
      count,
      active,
      max,
    );
  }
}
