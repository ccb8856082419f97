import type { Broker, Delivery, Queue, Subscription } from "../broker/broker.ts";
import type { Logger } from "../log.ts";

export interface ConsumerParts {
  readonly broker: Broker;
  readonly hostname: string;
  readonly queues: () => readonly Queue[];
  /** Most deliveries held unsettled; 0 is no bound. */
  readonly prefetch: () => number;
  readonly onDelivery: (delivery: Delivery) => void;
  readonly onLost: (error: Error) => void;
  readonly logger: Logger;
}

/** Subscribes the worker to its task queues, anew after every connect. */
export class Consumer {
  readonly #parts: ConsumerParts;
  #subscription: Subscription | undefined;
  #paused = false;

  constructor(parts: ConsumerParts) {
    this.#parts = parts;
  }

  /** Rejects with `BrokerConnectionError`; then nothing is subscribed. */
  async subscribe(): Promise<void> {
    await this.close().catch(() => undefined);
    if (this.#paused) return;
    const { broker, hostname, queues, prefetch, onDelivery } = this.#parts;
    const onLost = (error: Error): void => this.#lost(error);
    const subscription = await broker.subscribe({ node: hostname, prefetch: prefetch(), onDelivery, onLost });
    this.#subscription = subscription;
    try {
      for (const queue of queues()) await subscription.consume(queue);
    } catch (error) {
      await this.close().catch(() => undefined);
      throw error;
    }
    // Told to stop in between.
    if (this.#paused) subscription.pause();
  }

  /** Takes nothing more; what is held can still be settled. */
  pause(): void {
    this.#paused = true;
    this.#subscription?.pause();
  }

  /** Gives back what is unsettled. */
  async close(): Promise<void> {
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
  }
}
