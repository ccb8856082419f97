import { setTimeout as delay, setImmediate as nextTurn } from "node:timers/promises";
import type { Message as AmqpMessage } from "amqplib";
import { Chain, type Place } from "../../util/chain.ts";
import type { Delivery, Queue, Rejection, SubscribeOptions, Subscription } from "../broker.ts";
import { Acknowledgements } from "./acknowledgements.ts";
import { AmqpDelivery, type Burial, type Settler } from "./delivery.ts";
import { connectionLost, refused, replyCodeOf, replyCodes, textOf } from "./failures.ts";
import type { Link, LinkChannel } from "./link.ts";
import { needsConsumerPrefetch, readyMessages } from "./topology.ts";
import { Watchdog, type Watched } from "./watchdog.ts";
import { readMessage } from "./wire.ts";

/** What a subscription needs of the broker it belongs to. */
export interface SubscriptionHost {
  readonly maxBodySize: number;
  /** This broker takes no prefetch count for a whole channel: RabbitMQ 4, or one that said so (G36). */
  readonly consumerPrefetchOnly: boolean;
  /** Whether the type of a queue decides, too (`workerDetectQuorumQueues`). */
  readonly detectQuorumQueues: boolean;
  /** Makes the queue exist, whether or not it is remembered to. */
  declare(queue: Queue): Promise<void>;
  /** Stores a copy that comes back when due. */
  park(delivery: AmqpDelivery, due: number): Promise<void>;
  /** Stores a copy among the dead letters. */
  bury(delivery: AmqpDelivery, about: Burial, node: string): Promise<void>;
  /** Stores a copy with further headers behind what waits in its queue. */
  requeueAs(delivery: AmqpDelivery, headers: Readonly<Record<string, unknown>>): Promise<void>;
  /** Called once when the flow has ended, whether by `close` or by loss. */
  ended(subscription: AmqpSubscription): void;
}

interface Consumer {
  readonly queue: Queue;
  /** Null while nothing flows from this queue. */
  tag: string | null;
  /** The prefetch count it was begun with, where it counts per consumer. */
  prefetch: number;
  cancelled: boolean;
}

type State = "open" | "closed" | "lost";

/** The field holds 16 bits; Celery too takes more for no bound (G34). */
const maxPrefetch = 65_535;
/** Milliseconds a closing flow waits for copies being stored. */
const copyMs = 2_000;
/** Milliseconds ahead of time at which a returned message is taken for due: the clocks of two hosts. */
const dueSlackMs = 2_000;

/**
 * One channel and what flows over it. The channel's end is the flow's end: deliveries of a
 * channel that is gone are lost, and their settling does nothing, so that no tag is ever
 * acknowledged on a channel it was not given by.
 */
export class AmqpSubscription implements Subscription, Settler, Watched {
  readonly #link: Link;
  readonly #held: LinkChannel;
  readonly #host: SubscriptionHost;
  readonly #options: SubscribeOptions;
  readonly #noAck: boolean;
  readonly #consumers = new Map<string, Consumer>();
  readonly #acknowledgements: Acknowledgements;
  readonly #watchdog: Watchdog;
  /** Arrived and not handed over: there was no room, or the flow is paused. */
  #waiting: AmqpDelivery[] = [];
  /** Handed over and not settled. */
  #inHand = 0;
  #state: State = "open";
  #paused = false;
  #prefetch: number;
  /** The prefetch count of the whole channel the broker was told last. */
  #channelPrefetch = 0;
  #work: Promise<void> = Promise.resolve();
  readonly #copying = new Chain<Promise<void>>();
  #arrivals = 0;
  #closing: Promise<void> | null = null;

  constructor(link: Link, held: LinkChannel, host: SubscriptionHost, options: SubscribeOptions) {
    this.#link = link;
    this.#held = held;
    this.#host = host;
    this.#options = options;
    this.#noAck = options.noAck === true;
    this.#prefetch = clampPrefetch(options.prefetch);
    held.channel.on("close", () => this.#channelClosed());
    this.#acknowledgements = new Acknowledgements(held);
    this.#watchdog = new Watchdog(this, () =>
      this.#lose(new Error("messages wait in the queue and are not delivered")),
    );
  }

  get lost(): boolean {
    return this.#state !== "open";
  }

  async consume(queue: Queue): Promise<void> {
    this.#check();
    const known = this.#consumers.get(queue.name);
    if (known && !known.cancelled) return;
    await this.#host.declare(queue);
    const consumer: Consumer = { queue, tag: null, prefetch: 0, cancelled: false };
    const before = this.#work;
    // A cancellation of the same queue still under way comes first.
    await before.catch(() => undefined);
    this.#check();
    this.#consumers.set(queue.name, consumer);
    try {
      await this.#reconcile();
    } catch (error) {
      if (this.#consumers.get(queue.name) === consumer) this.#consumers.delete(queue.name);
      throw error;
    }
  }

  async cancel(queue: string): Promise<void> {
    const consumer = this.#consumers.get(queue);
    if (!consumer || this.#state !== "open") return;
    consumer.cancelled = true;
    await this.#reconcile();
  }

  setPrefetch(count: number): void {
    this.#prefetch = clampPrefetch(count);
    this.#reconcileSoon();
    this.#handOver();
  }

  pause(): void {
    if (this.#paused) return;
    this.#paused = true;
    this.#reconcileSoon();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#reconcileSoon();
    this.#handOver();
  }

  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    // While the broker takes this for a consumer it would give them to it again.
    await this.#work;
    await Promise.all(deliveries.map((delivery) => delivery.reject({ requeue: true })));
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    if (this.#copying.size > 0) await this.#copiesStored();
    if (this.#state !== "open") return;
    this.#acknowledgements.flush();
    this.#end("closed");
    if (this.#held.open) {
      // The answer proves that every ack before it was read; what is unsettled goes back with the channel.
      await this.#link.closeChannel(this.#held).then(
        () => this.#acknowledgements.settle(null),
        (error) => this.#acknowledgements.settle(connectionLost(this.#link.displayUrl, error)),
      );
    }
    this.#acknowledgements.settle(null);
  }

  /** Waits for what is being parked or buried, so that it is not given back as well; not for ever. */
  async #copiesStored(): Promise<void> {
    this.pause();
    const giveUp = new AbortController();
    const tooLate = delay(copyMs, undefined, { signal: giveUp.signal }).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#copying), tooLate]);
    giveUp.abort();
    // Their acks are written in continuations of the same promises.
    await nextTurn();
  }

  // ── for the watchdog ───────────────────────────────────────────────────────

  get arrivals(): number {
    return this.#arrivals;
  }

  get hungry(): boolean {
    return this.#state === "open" && !this.#paused && this.#hasRoom();
  }

  /** Those that flow; of a single active consumer it is not known whether it is this one. */
  get queues(): readonly string[] {
    const flowing = [...this.#consumers.values()].filter(({ tag }) => tag !== null);
    return flowing.flatMap(({ queue }) => (queue.arguments["x-single-active-consumer"] === true ? [] : queue.name));
  }

  async ready(queue: string): Promise<number> {
    return (await readyMessages(this.#link, queue)) ?? 0;
  }

  // ── settling ───────────────────────────────────────────────────────────────

  ack(delivery: AmqpDelivery): Promise<void> {
    const forgotten = this.#acknowledgements.ack(delivery.place as Place<number>);
    this.#release();
    return forgotten;
  }

  async park(delivery: AmqpDelivery, due: Date): Promise<void> {
    await this.#inPlaceOf(delivery, this.#host.park(delivery, due.getTime()));
  }

  /** Acknowledges a message once its copy is stored; when the flow ended meanwhile, both exist. */
  async #inPlaceOf(delivery: AmqpDelivery, copied: Promise<void>): Promise<void> {
    const place = this.#copying.add(copied);
    try {
      await copied;
    } finally {
      this.#copying.remove(place);
    }
    if (this.#state === "open") await this.ack(delivery);
  }

  async bury(delivery: AmqpDelivery, about: Burial): Promise<void> {
    // The queue's owner has said where its dead letters go.
    if (!about.shelf && delivery.source.arguments["x-dead-letter-exchange"] !== undefined)
      return this.#reject(delivery, false);
    await this.#inPlaceOf(delivery, this.#host.bury(delivery, about, this.#options.node));
  }

  requeue(delivery: AmqpDelivery, headers: Rejection["headers"]): Promise<void> {
    if (headers !== undefined) return this.#inPlaceOf(delivery, this.#host.requeueAs(delivery, headers));
    return this.#reject(delivery, true);
  }

  async #reject(delivery: AmqpDelivery, requeue: boolean): Promise<void> {
    const forgotten = this.#acknowledgements.reject(delivery.place as Place<number>, requeue);
    this.#release();
    await forgotten;
  }

  /** A slot is free again. */
  #release(): void {
    this.#inHand -= 1;
    this.#handOver();
  }

  // ── the flow ───────────────────────────────────────────────────────────────

  #arrived(consumer: Consumer, raw: AmqpMessage | null): void {
    if (this.#state !== "open") return;
    if (raw === null) {
      this.#cancelledByBroker(consumer);
      return;
    }
    this.#arrivals += 1;
    const received = readMessage(raw, consumer.queue.exchange.name, this.#host.maxBodySize);
    const place = this.#noAck ? null : this.#acknowledgements.expect(raw.fields.deliveryTag);
    const delivery = new AmqpDelivery(consumer.queue, raw, received, this, place);
    if (!this.#noAck && received.due !== null && received.due - Date.now() > dueSlackMs) {
      this.#parkOn(delivery, received.due);
      return;
    }
    this.#waiting.push(delivery);
    this.#handOver();
  }

  /** The wait was longer than one passage through the delay levels. */
  #parkOn(delivery: AmqpDelivery, due: number): void {
    this.#inHand += 1;
    delivery.park(new Date(due)).catch((error) => this.#lose(error));
  }

  #handOver(): void {
    while (this.#waiting.length > 0 && this.#hasRoom() && !this.#paused && this.#state === "open") {
      const delivery = this.#waiting.shift() as AmqpDelivery;
      if (!this.#noAck) this.#inHand += 1;
      this.#options.onDelivery(delivery);
    }
  }

  #hasRoom(): boolean {
    return this.#prefetch === 0 || this.#inHand < this.#prefetch;
  }

  /** The queue was deleted or has moved to another node of the cluster: declare it and begin again. */
  #cancelledByBroker(consumer: Consumer): void {
    consumer.tag = null;
    if (consumer.cancelled || this.#consumers.get(consumer.queue.name) !== consumer) return;
    const again = async (): Promise<void> => {
      await this.#host.declare(consumer.queue);
      await this.#reconcile();
    };
    again().catch((error) => this.#lose(error));
  }

  // ── what the broker is told ────────────────────────────────────────────────

  #reconcileSoon(): void {
    if (this.#state !== "open") return;
    this.#reconcile().catch((error) => this.#lose(error));
  }

  /** Makes consumers and prefetch counts at the broker what they should be; one change after the other. */
  #reconcile(): Promise<void> {
    const step = async (): Promise<void> => {
      if (this.#state !== "open") throw this.#link.failure ?? new Error("the subscription has ended");
      await this.#link.guard(this.#converge());
    };
    const done = this.#work.then(step, step);
    this.#work = done.catch(() => undefined);
    return done;
  }

  async #converge(): Promise<void> {
    const { channel } = this.#held;
    const perConsumer = this.#countsPerConsumer();
    const forChannel = perConsumer || this.#noAck ? 0 : this.#prefetch;
    if (forChannel !== this.#channelPrefetch) {
      await channel.prefetch(forChannel, true);
      this.#channelPrefetch = forChannel;
    }
    for (const [name, consumer] of [...this.#consumers]) {
      const wanted = !this.#paused && !consumer.cancelled;
      const forConsumer = perConsumer && !this.#noAck ? this.#prefetch : 0;
      const stale = consumer.tag !== null && (!wanted || consumer.prefetch !== forConsumer);
      const tag = consumer.tag;
      if (stale && tag !== null) {
        await channel.cancel(tag);
        consumer.tag = null;
      }
      if (wanted && consumer.tag === null) await this.#begin(consumer, forConsumer);
      if (consumer.cancelled && this.#consumers.get(name) === consumer) this.#consumers.delete(name);
    }
    this.#giveBack();
  }

  async #begin(consumer: Consumer, prefetch: number): Promise<void> {
    const { channel } = this.#held;
    if (this.#countsPerConsumer()) await channel.prefetch(prefetch, false);
    const { consumerTag } = await channel.consume(consumer.queue.name, (raw) => this.#arrived(consumer, raw), {
      noAck: this.#noAck,
    });
    consumer.tag = consumerTag;
    consumer.prefetch = prefetch;
  }

  #countsPerConsumer(): boolean {
    if (this.#host.consumerPrefetchOnly) return true;
    if (!this.#host.detectQuorumQueues) return false;
    return [...this.#consumers.values()].some(({ queue }) => needsConsumerPrefetch(queue));
  }

  /** What came while the flow was being stopped goes back: nobody here will take it soon. */
  #giveBack(): void {
    const stays: AmqpDelivery[] = [];
    for (const delivery of this.#waiting) {
      if (delivery.place === null || (!this.#paused && this.#consumers.has(delivery.queue))) {
        stays.push(delivery);
        continue;
      }
      // Nobody waits for the proof.
      this.#acknowledgements.reject(delivery.place, true).catch(() => undefined);
    }
    this.#waiting = stays;
  }

  // ── the end ────────────────────────────────────────────────────────────────

  #check(): void {
    if (this.#link.failure) throw this.#link.failure;
    if (this.#state !== "open" || !this.#held.open) {
      throw connectionLost(this.#link.displayUrl, this.#held.failure ?? "the subscription has ended");
    }
  }

  #channelClosed(): void {
    if (this.#state !== "open") return;
    this.#end("lost");
    // The reason of a lost link is known only after its channels were closed.
    queueMicrotask(() => this.#tellLost(this.#held.failure ?? new Error("the channel is closed")));
  }

  #lose(error: unknown): void {
    if (this.#state !== "open") return;
    this.#end("lost");
    void this.#link.closeChannel(this.#held).catch(() => undefined);
    this.#tellLost(error);
  }

  #end(state: "closed" | "lost"): void {
    this.#state = state;
    this.#watchdog.stop();
    this.#acknowledgements.end();
    this.#waiting = [];
    this.#host.ended(this);
  }

  #tellLost(reason: unknown): void {
    const error = this.#link.failure ?? flowEnded(this.#link.displayUrl, reason);
    this.#acknowledgements.settle(error);
    this.#options.onLost(error);
  }
}

const clampPrefetch = (count: number): number => (count > maxPrefetch || count < 0 ? 0 : Math.trunc(count));

/** Why a flow ended although its connection is there, with the way out for what a user can change. */
function flowEnded(displayUrl: string, reason: unknown): Error {
  if (replyCodeOf(reason) === replyCodes.preconditionFailed && /timed? ?out|timeout/i.test(textOf(reason))) {
    return refused(
      "RabbitMQ took back messages that were not acknowledged within its consumer_timeout; raise it in rabbitmq.conf " +
        "above the longest task, or acknowledge early",
      reason,
    );
  }
  return connectionLost(displayUrl, reason);
}
