import type { Broker, Publication, Queue } from "../broker/broker.ts";
import { Publisher, type PublishPolicy } from "./publisher.ts";

interface Held {
  readonly publications: readonly Publication[];
  readonly queues: readonly Queue[];
  readonly policy: PublishPolicy;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

export interface ProducerOptions {
  /**
   * Calls gather and leave together, so many at a time, when `flush` is called, or after `linger`. A
   * call's promise still resolves only when the broker has its message. Default 0: each leaves at once.
   */
  readonly hold?: number;
  /** Seconds a call is held at most; default 0.05. */
  readonly linger?: number;
}

/**
 * A connection of one's own for publishing (`applyAsync(args, { producer })`), reused for many
 * calls, and, with `hold`, a gatherer of calls for bulk sending. Close it to send what is held.
 */
export class Producer implements AsyncDisposable {
  readonly #broker: () => Promise<Broker>;
  readonly #publisher: Publisher;
  readonly #hold: number;
  #opened: Promise<Broker> | undefined;
  #held: Held[] = [];
  #count = 0;
  readonly #linger: number;
  #timer: NodeJS.Timeout | undefined;

  /** `create` makes a broker, not connected yet; it becomes the producer's. */
  constructor(create: () => Promise<Broker>, options: ProducerOptions = {}) {
    this.#broker = async () => {
      this.#opened ??= create();
      const broker = await this.#opened;
      await broker.connect();
      return broker;
    };
    this.#publisher = new Publisher(this.#broker);
    this.#hold = options.hold ?? 0;
    this.#linger = options.linger ?? 0.05;
  }

  /** Resolves when the broker has all of them. */
  publish(publications: readonly Publication[], queues: readonly Queue[], policy: PublishPolicy): Promise<void> {
    if (this.#hold === 0) return this.#publisher.publish(publications, queues, policy);
    return new Promise((resolve, reject) => {
      this.#held.push({ publications, queues, policy, resolve, reject });
      this.#count += publications.length;
      // Each call is told by its own promise.
      const leave = (): void => void this.#sendHeld().catch(() => undefined);
      if (this.#count >= this.#hold) leave();
      else this.#timer ??= setTimeout(leave, this.#linger * 1000);
    });
  }

  /** Sends what is held; rejects, as each call does, when that cannot be done. */
  async flush(): Promise<void> {
    await new Promise((resolve) => setImmediate(resolve)); // calls just made are still on their way here
    await this.#sendHeld();
  }

  async #sendHeld(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    const held = this.#held.splice(0);
    this.#count = 0;
    const [first] = held;
    if (!first) return;
    const queues = new Map(held.flatMap((one) => one.queues.map((queue) => [queue.name, queue] as const)));
    try {
      await this.#publisher.publish(
        held.flatMap((one) => one.publications),
        [...queues.values()],
        first.policy,
      );
      for (const one of held) one.resolve();
    } catch (error) {
      for (const one of held) one.reject(error);
      throw error;
    }
  }

  async close(): Promise<void> {
    try {
      await this.flush();
    } finally {
      const opened = this.#opened;
      this.#opened = undefined;
      await opened?.then((broker) => broker.close());
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
