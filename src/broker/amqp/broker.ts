import { setTimeout as delay } from "node:timers/promises";
import { type AmqpUrl, maskUrl } from "../../config/url.ts";
import type { Message } from "../../protocol/message.ts";
import type {
  Address,
  Broker,
  DeadLetters,
  ParkedMessage,
  Publication,
  Queue,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import { type BrokerOptions, mostDeadLetters } from "../options.ts";
import type { Located } from "../whereabouts.ts";
import { amqpUrl } from "./address.ts";
import { AmqpDeadLetters, deadLetterQueue, shelfQueue } from "./dead-letters.ts";
import type { AmqpDelivery } from "./delivery.ts";
import { KnownExchanges } from "./exchanges.ts";
import { notConnected, textOf } from "./failures.ts";
import { type Link, openLink } from "./link.ts";
import { AmqpNotes } from "./notes.ts";
import { delayQueues, delayRoute, longestWaitMs, Parking } from "./parking.ts";
import { type Outgoing, Publisher } from "./publisher.ts";
import { AmqpSubscription, type SubscriptionHost } from "./subscription.ts";
import { declareQueue, ifExists, readyMessages } from "./topology.ts";
import { copyOf, detourHeader, detourOf, publishOptions } from "./wire.ts";

/** The publishing connection and all that is remembered of it. */
interface Line {
  readonly link: Link;
  readonly publisher: Publisher;
  readonly parking: Parking;
  /** Queues declared over this line, as they were asked for. */
  readonly declared: Map<string, string>;
  readonly exchanges: KnownExchanges;
}

/**
 * RabbitMQ by AMQP 0-9-1. Publishing and consuming have a connection each, so that a publisher
 * the broker holds back does not hold back acknowledgements; the consuming one is made with the
 * first subscription.
 */
class AmqpBroker implements Broker {
  readonly transport = "amqp";
  readonly priorityOrder = "highest-first";
  readonly displayUrl: string;
  readonly deadLetters: DeadLetters;
  readonly shelf: DeadLetters;
  readonly revokes: AmqpNotes;

  readonly #url: AmqpUrl;
  readonly #options: BrokerOptions;
  readonly #host: SubscriptionHost;
  readonly #subscriptions = new Set<AmqpSubscription>();
  /** What `declare` was asked for, to be made again on the next connection. */
  readonly #topology = new Map<string, Queue>();
  readonly #exclusive = new Set<string>();
  #line: Line | null = null;
  #connecting: Promise<Line> | null = null;
  #consuming: Promise<Link> | null = null;
  #consumingLink: Link | null = null;
  #refusesChannelPrefetch = false;
  /** Aborted by `close`: nobody waits for a connection that is still being made. */
  #closing = new AbortController();

  constructor(url: string, options: BrokerOptions) {
    this.#url = amqpUrl(url);
    this.#options = options;
    this.displayUrl = maskUrl(url);
    const deadLetters = new AmqpDeadLetters(() => this.#aliveLine(), {
      queue: deadLetterQueue,
      maxBodySize: options.maxBodySize,
      most: options.mostDeadLetters ?? mostDeadLetters,
    });
    const shelf = new AmqpDeadLetters(() => this.#aliveLine(), {
      queue: shelfQueue,
      maxBodySize: options.maxBodySize,
      most: 0,
    });
    this.deadLetters = deadLetters;
    this.shelf = shelf;
    this.revokes = new AmqpNotes(() => this.#aliveLine(), "tq.revokes");
    const consumerPrefetchOnly = (): boolean =>
      this.#refusesChannelPrefetch || (this.#consumingLink?.version[0] ?? 0) >= 4;
    this.#host = {
      maxBodySize: options.maxBodySize,
      get consumerPrefetchOnly() {
        return consumerPrefetchOnly();
      },
      detectQuorumQueues: options.detectQuorumQueues ?? true,
      declare: (queue) => this.#declareAlways(queue),
      park: (delivery, dueMs) => this.#park(delivery, dueMs),
      bury: (delivery, about, node) => (about.shelf ? shelf : deadLetters).bury(delivery, about.reason, node),
      requeueAs: (delivery, headers) => this.#requeueAs(delivery, headers),
      ended: (subscription) => this.#subscriptions.delete(subscription),
    };
  }

  async connect(signal?: AbortSignal): Promise<void> {
    await this.#connect(signal);
  }

  async #connect(signal?: AbortSignal): Promise<Line> {
    if (this.#line?.link.alive) return this.#line;
    this.#connecting ??= this.#openLine(signal).finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #openLine(signal?: AbortSignal): Promise<Line> {
    const until = signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal;
    const link = await openLink(this.#url, this.displayUrl, this.#options, "publishing", () => undefined, until);
    // Who consumes declares over this one when it reconnects: it must not be found dead only then.
    link.watch(() => this.#subscriptions.size > 0);
    const exchanges = new KnownExchanges(link);
    const declared = new Map<string, string>();
    const publisher = new Publisher(link, () => {
      exchanges.forgetAll();
      declared.clear();
    });
    const line: Line = { link, publisher, exchanges, parking: new Parking(link), declared };
    try {
      await line.publisher.open();
      await this.#declareAgain(line);
    } catch (error) {
      await link.close();
      throw error;
    }
    this.#line = line;
    return line;
  }

  /** Transient entities are gone when the broker restarted; whoever asked for them counts on them. */
  async #declareAgain(line: Line): Promise<void> {
    for (const queue of this.#topology.values()) {
      try {
        await this.#declareOn(line, queue);
      } catch (error) {
        if (!line.link.alive) throw error;
        // Somebody declared it otherwise meanwhile: the next `declare` tells its caller.
        this.#topology.delete(queue.name);
        this.#options.logger?.warn({ queue: queue.name, error: textOf(error) }, "queue could not be declared again");
      }
    }
  }

  async declare(queue: Queue): Promise<void> {
    const line = await this.#aliveLine();
    if (queue.exclusive) {
      // Only the connection that declares an exclusive queue may consume it.
      await declareQueue(await this.#consumingLine(), queue);
      this.#exclusive.add(queue.name);
      line.exchanges.learn(queue.exchange);
      return;
    }
    if (line.declared.get(queue.name) === JSON.stringify(queue)) return;
    await this.#declareOn(line, queue);
    if (!queue.autoDelete) this.#topology.set(queue.name, queue);
  }

  async #declareOn(line: Line, queue: Queue): Promise<void> {
    await declareQueue(line.link, queue);
    line.declared.set(queue.name, JSON.stringify(queue));
    line.exchanges.learn(queue.exchange);
  }

  async publish(message: Message, address: Address): Promise<void> {
    const line = this.#line?.link.alive ? this.#line : await this.#aliveLine();
    const known = line.exchanges.mustArrive(address);
    const mandatory = typeof known === "boolean" ? known : await known;
    if (mandatory === null) return;
    await line.publisher.publish(outgoing({ message, address }, mandatory));
  }

  async publishMany(publications: readonly Publication[]): Promise<void> {
    const line = await this.#aliveLine();
    const routes = new Map<string, boolean | null>();
    for (const { address } of publications) {
      const key = routeKey(address);
      if (!routes.has(key)) routes.set(key, await line.exchanges.mustArrive(address));
    }
    const all = function* (): Iterable<Outgoing> {
      for (const publication of publications) {
        const mandatory = routes.get(routeKey(publication.address)) ?? null;
        if (mandatory !== null) yield outgoing(publication, mandatory);
      }
    };
    await line.publisher.publishAll(all());
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    await this.#aliveLine();
    const link = await this.#consumingLine();
    const subscription = new AmqpSubscription(link, await link.openChannel(), this.#host, options);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  async size(queue: string): Promise<number> {
    return (await readyMessages(await this.#linkOf(queue), queue)) ?? 0;
  }

  async peek(): Promise<Message | null> {
    return null;
  }

  async parked(): Promise<number> {
    const { link } = await this.#aliveLine();
    const counts = await Promise.all(delayQueues.map((queue) => readyMessages(link, queue)));
    return counts.reduce<number>((sum, count) => sum + (count ?? 0), 0);
  }

  async parkedMessages(): Promise<readonly ParkedMessage[]> {
    return [];
  }

  async locate(): Promise<Located> {
    return { kind: "untold" };
  }

  async purge(queue: string): Promise<number> {
    const link = await this.#linkOf(queue);
    const purged = await ifExists(link.control((channel) => channel.purgeQueue(queue)));
    return purged?.messageCount ?? 0;
  }

  async delete(queue: Queue): Promise<void> {
    const line = await this.#aliveLine();
    const link = await this.#linkOf(queue.name);
    await link.control((channel) => channel.deleteQueue(queue.name));
    line.declared.delete(queue.name);
    line.parking.forget(queue.name);
    this.#topology.delete(queue.name);
    this.#exclusive.delete(queue.name);
  }

  async close(): Promise<void> {
    // An attempt under way must not leave a connection behind.
    this.#closing.abort(notConnected(this.displayUrl, new Error("it was closed")));
    this.#closing = new AbortController();
    await Promise.allSettled([this.#connecting, this.#consuming]);
    await Promise.allSettled([...this.#subscriptions].map((subscription) => subscription.close()));
    const links = [this.#consumingLink, this.#line?.link];
    this.#consumingLink = null;
    this.#line = null;
    await Promise.all(links.map((link) => link?.close()));
  }

  // ── for subscriptions and dead letters ─────────────────────────────────────

  async #declareAlways(queue: Queue): Promise<void> {
    this.#line?.declared.delete(queue.name);
    await this.declare(queue);
  }

  async #park(delivery: AmqpDelivery, dueMs: number): Promise<void> {
    const line = await this.#aliveLine();
    // What is due before the levels can be trusted waits here, unacknowledged, and goes straight back.
    if (!line.parking.isPrepared(delivery.queue)) await untilFirst(line.parking.prepare(delivery.queue), dueMs);
    const waitMs = dueMs - Date.now();
    const route = delayRoute(delivery.queue, waitMs);
    const detour = detourOf(delivery.received, waitMs > longestWaitMs ? { due: dueMs } : {});
    const copy = copyOf(delivery.raw, delivery.received, { [detourHeader]: detour });
    await line.publisher.publish({ ...copy, ...route, mandatory: true });
  }

  async #requeueAs(delivery: AmqpDelivery, headers: Readonly<Record<string, unknown>>): Promise<void> {
    const { publisher } = await this.#aliveLine();
    const detour = detourOf(delivery.received, { redelivered: true });
    const copy = copyOf(delivery.raw, delivery.received, { ...headers, [detourHeader]: detour });
    await publisher.publish({ exchange: "", routingKey: delivery.queue, ...copy, mandatory: true });
  }

  /**
   * The publishing line. When it was lost while messages still flow in, nobody was told and
   * nobody will connect again, so one attempt is made here; otherwise a lost line is an error.
   */
  async #aliveLine(): Promise<Line> {
    const line = this.#line;
    if (line?.link.alive) return line;
    if (this.#subscriptions.size > 0) return this.#connect();
    throw notConnected(this.displayUrl, line?.link.failure);
  }

  async #consumingLine(): Promise<Link> {
    if (this.#consumingLink?.alive) return this.#consumingLink;
    this.#consuming ??= this.#openConsuming().finally(() => {
      this.#consuming = null;
    });
    return this.#consuming;
  }

  async #openConsuming(): Promise<Link> {
    const onLost = (error: Error): void => {
      if (/NOT_IMPLEMENTED|global qos/i.test(error.message)) this.#refusesChannelPrefetch = true;
      // Queues are declared over the other one when somebody subscribes anew.
      if (this.#consumingLink?.fellSilent) this.#line?.link.doubt();
    };
    const until = this.#closing.signal;
    const link = await openLink(this.#url, this.displayUrl, this.#options, "consuming", onLost, until);
    link.watch();
    this.#consumingLink = link;
    return link;
  }

  /** An exclusive queue is shown only to the connection that declared it. */
  async #linkOf(queue: string): Promise<Link> {
    const { link } = await this.#aliveLine();
    return this.#exclusive.has(queue) && this.#consumingLink ? this.#consumingLink : link;
  }
}

/** Resolves with `work`, or at the given time if that is earlier; rejects only with `work` in time. */
async function untilFirst(work: Promise<void>, timeMs: number): Promise<void> {
  const timer = new AbortController();
  const waitMs = Math.min(Math.max(timeMs - Date.now(), 0), 2 ** 31 - 1);
  const time = delay(waitMs, undefined, { signal: timer.signal, ref: false }).catch(() => undefined);
  work.catch(() => undefined);
  try {
    await Promise.race([work, time]);
  } finally {
    timer.abort();
  }
}

const routeKey = ({ exchange, type }: Address): string => `${type ?? ""} ${exchange}`;

function outgoing({ message, address }: Publication, mandatory: boolean): Outgoing {
  return {
    exchange: address.exchange,
    routingKey: address.routingKey,
    content: Buffer.from(message.body, "base64"),
    options: publishOptions(message),
    mandatory,
  };
}

/** A broker on RabbitMQ; nothing is connected before `connect`. Throws `ImproperlyConfigured` for another kind of URL. */
export function createAmqpBroker(url: string, options: BrokerOptions): Broker {
  return new AmqpBroker(url, options);
}
