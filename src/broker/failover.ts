import type { FailoverOrder } from "../config/policies.ts";
import { maskUrl } from "../config/url.ts";
import { BrokerConnectionError, ImproperlyConfigured } from "../errors.ts";
import type { Message } from "../protocol/message.ts";
import type {
  Address,
  Broker,
  DeadLetters,
  ParkedMessage,
  ParkedOptions,
  Publication,
  Queue,
  SubscribeOptions,
  Subscription,
} from "./broker.ts";
import type { Notes } from "./notes.ts";
import type { BrokerOptions } from "./options.ts";
import type { Located, LocateOptions } from "./whereabouts.ts";

type FailoverOptions = Pick<BrokerOptions, "failoverStrategy" | "logger"> & {
  /** What leads to each of them; for a strategy that is a function. */
  readonly urls?: readonly string[];
};

/** Most URLs read of a strategy that never ends. */
const mostAsked = 100;

/** One broker out of several; `random` decides the order under the strategy `shuffle`. */
export function createFailoverBroker(
  brokers: readonly Broker[],
  options: FailoverOptions,
  random: () => number = Math.random,
): Broker {
  return new FailoverBroker(brokers, options, random);
}

/**
 * Is the broker it last connected to. When that one cannot be reached, `connect` goes on with
 * the next, once around. The one in use is always tried first, as in kombu: after a short
 * interruption everybody stays where the messages are. Only one that let nobody subscribe comes
 * last: a connection to it that has silently died may still count as up.
 */
class FailoverBroker implements Broker {
  readonly #brokers: readonly Broker[];
  readonly #options: FailoverOptions;
  readonly #random: () => number;
  #current: Broker;
  /** The current one, when it refused its last subscriber a connection. */
  #suspect: Broker | undefined;
  #connecting: Promise<void> | undefined;
  #closed = false;

  constructor(brokers: readonly Broker[], options: FailoverOptions, random: () => number) {
    this.#brokers = brokers;
    this.#options = options;
    this.#random = random;
    this.#current = brokers[0] as Broker;
  }

  /** The one that is used now. */
  get serving(): Broker {
    return this.#current;
  }

  get sharesConnections(): boolean {
    return this.#brokers.every((broker) => broker.sharesConnections === true);
  }

  get transport(): Broker["transport"] {
    return this.#current.transport;
  }

  get displayUrl(): string {
    return this.#current.displayUrl;
  }

  get priorityOrder(): Broker["priorityOrder"] {
    return this.#current.priorityOrder;
  }

  get deadLetters(): DeadLetters {
    return this.#current.deadLetters;
  }

  get shelf(): DeadLetters {
    return this.#current.shelf;
  }

  get revokes(): Notes {
    return this.#current.revokes;
  }

  connect(signal?: AbortSignal): Promise<void> {
    this.#connecting ??= this.#connectToAny(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  declare(queue: Queue): Promise<void> {
    return this.#current.declare(queue);
  }

  publish(message: Message, address: Address): Promise<void> {
    return this.#current.publish(message, address);
  }

  publishMany(publications: readonly Publication[]): Promise<void> {
    return this.#current.publishMany(publications);
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    const broker = this.#current;
    try {
      return await broker.subscribe(options);
    } catch (error) {
      if (error instanceof BrokerConnectionError) this.#suspect = broker;
      throw error;
    }
  }

  size(queue: string): Promise<number> {
    return this.#current.size(queue);
  }

  peek(queue: string): Promise<Message | null> {
    return this.#current.peek(queue);
  }

  parked(): Promise<number> {
    return this.#current.parked();
  }

  parkedMessages(options: ParkedOptions): Promise<readonly ParkedMessage[]> {
    return this.#current.parkedMessages(options);
  }

  locate(options: LocateOptions): Promise<Located> {
    return this.#current.locate(options);
  }

  purge(queue: string): Promise<number> {
    return this.#current.purge(queue);
  }

  delete(queue: Queue): Promise<void> {
    return this.#current.delete(queue);
  }

  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all(this.#brokers.map((broker) => broker.close()));
  }

  async #connectToAny(signal: AbortSignal | undefined): Promise<void> {
    const failures: unknown[] = [];
    for (const broker of this.#inOrder()) {
      signal?.throwIfAborted();
      if (this.#closed) throw new BrokerConnectionError("the broker is closed");
      try {
        await broker.connect(signal);
      } catch (error) {
        signal?.throwIfAborted();
        failures.push(error);
        continue;
      }
      if (broker !== this.#current) {
        this.#options.logger?.warn(
          { from: this.#current.displayUrl, to: broker.displayUrl },
          `Broker ${this.#current.displayUrl} cannot be reached: going on with ${broker.displayUrl}`,
        );
      }
      this.#current = broker;
      this.#suspect = undefined;
      return;
    }
    const reasons = failures.map((error) => (error instanceof Error ? error.message : String(error)));
    throw new BrokerConnectionError(`none of ${this.#brokers.length} brokers can be reached: ${reasons.join("; ")}`, {
      cause: new AggregateError(failures),
    });
  }

  /** The current one, then the others: in the order given from there on, at random, or as the user's function says. */
  #inOrder(): Broker[] {
    const { failoverStrategy, urls = [] } = this.#options;
    if (typeof failoverStrategy === "function") return this.#currentFirst(this.#ordered(failoverStrategy, urls));
    const at = this.#brokers.indexOf(this.#current);
    const others = [...this.#brokers.slice(at + 1), ...this.#brokers.slice(0, at)];
    if (failoverStrategy === "shuffle") {
      for (let index = others.length - 1; index > 0; index -= 1) {
        const swap = Math.floor(this.#random() * (index + 1));
        [others[index], others[swap]] = [others[swap] as Broker, others[index] as Broker];
      }
    }
    return this.#currentFirst(others);
  }

  #currentFirst(others: readonly Broker[]): Broker[] {
    return this.#suspect === this.#current ? [...others, this.#current] : [this.#current, ...others];
  }

  #ordered(order: FailoverOrder, urls: readonly string[]): Broker[] {
    const chosen = new Set<Broker>();
    let asked = 0;
    for (const url of order(urls)) {
      const broker = this.#brokers[urls.indexOf(url)];
      if (broker === undefined) {
        throw new ImproperlyConfigured(
          `brokerFailoverStrategy must give URLs out of those it gets, gave: ${maskUrl(String(url))}`,
        );
      }
      if (broker !== this.#current) chosen.add(broker);
      asked += 1;
      if (chosen.size === this.#brokers.length - 1 || asked === mostAsked) break;
    }
    return [...chosen];
  }
}
