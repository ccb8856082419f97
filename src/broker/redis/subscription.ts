import { randomUUID } from "node:crypto";
import type { OperationalError } from "../../errors.ts";
import { type DecodedEnvelope, decodeEnvelope, decodeEnvelopeBytes } from "../../protocol/envelope.ts";
import { MessageOfBytes } from "../../protocol/message-of-bytes.ts";
import { bytesOfBase64 } from "../../util/base64.ts";
import type { Delivery, Queue, SubscribeOptions, Subscription } from "../broker.ts";
import { damageOfSize } from "../damage.ts";
import type { RedisConnection } from "./connection.ts";
import { RedisDelivery } from "./delivery.ts";
import { fanoutPattern, listKey, queueLists, takeOrder } from "./keys.ts";
import type { Ledger } from "./ledger.ts";
import type { RedisListener } from "./listener.ts";
import { untake } from "./returning.ts";
import { turnScript } from "./scripts.ts";

/** Messages one take brings at most. */
const takeAtOnce = 256;
/** Queues up to which a take itself has Redis announce what comes to them: what that costs Redis grows with their square. */
const fewQueues = 8;

/** Which queue comes first after one has given a message (`queue_order_strategy`). */
export type QueueOrder = "round_robin" | "priority" | "sorted";

/** The answer of the turn script; texts come as bytes. */
type Turn = [lease: 0 | 1, more: 0 | 1, ...taken: (Buffer | number)[]];

/** What a subscription needs of the connections it lives on. */
export interface Flow {
  readonly connection: RedisConnection;
  readonly listener: RedisListener;
  readonly isOpen: boolean;
  /** Lets whoever waits for a change of these lists go on. */
  wake(): void;
}

/**
 * One flow of deliveries. It takes as many at a time as it has room for, one take at a time while
 * messages come one by one, two while they come in masses, so that Redis works while they are handed over.
 */
export class RedisSubscription implements Subscription {
  readonly #options: SubscribeOptions;
  readonly #flow: Flow;
  readonly #ledger: Ledger;
  readonly #declare: (queue: Queue) => Promise<void>;
  readonly #remove: (queue: Queue) => Promise<void>;
  readonly #onClosed: (subscription: RedisSubscription) => void;
  readonly #maxBodySize: number;
  readonly #order: QueueOrder;
  readonly #noAck: boolean;
  readonly #queues = new Map<string, { readonly queue: Queue; readonly leave: () => Promise<void> }>();
  /** Whose lists are taken from, in the order they are looked at. */
  #turns: string[] = [];
  #prefetch: number;
  #state: "open" | "paused" | "closing" | "ended" = "open";
  #held = 0;
  /** Room promised to takes under way. */
  #asked = 0;
  #inFlight = 0;
  /** Something may wait. */
  #due = false;
  /** The last take left something. */
  #more = false;
  #idle: (() => void)[] = [];
  #closed: Promise<void> | undefined;
  /** Popped for good while nobody may get it: handed over on resume, else put back. */
  #kept: { readonly queue: string; readonly bytes: Buffer }[] = [];

  constructor(parts: {
    readonly options: SubscribeOptions;
    readonly flow: Flow;
    readonly ledger: Ledger;
    readonly declare: (queue: Queue) => Promise<void>;
    /** Deletes a queue that ends with its consumer. */
    readonly remove: (queue: Queue) => Promise<void>;
    readonly onClosed: (subscription: RedisSubscription) => void;
    readonly maxBodySize: number;
    readonly order: QueueOrder;
  }) {
    this.#options = parts.options;
    this.#flow = parts.flow;
    this.#ledger = parts.ledger;
    this.#declare = parts.declare;
    this.#remove = parts.remove;
    this.#onClosed = parts.onClosed;
    this.#maxBodySize = parts.maxBodySize;
    this.#order = parts.order;
    this.#noAck = parts.options.noAck ?? false;
    this.#prefetch = parts.options.prefetch;
  }

  async consume(queue: Queue): Promise<void> {
    if (this.#queues.has(queue.name)) return;
    const isFanout = queue.exchange.type === "fanout";
    const { keys } = this.#ledger;
    const entry = { queue, leave: async (): Promise<void> => undefined };
    this.#queues.set(queue.name, entry);
    try {
      if (isFanout) {
        const pattern = fanoutPattern(keys, queue.exchange.name, queue.routingKey);
        entry.leave = await this.#flow.listener.listen(pattern, (text) => this.#broadcast(queue.name, text));
      }
      await this.#declare(queue);
    } catch (error) {
      this.#queues.delete(queue.name);
      throw error;
    }
    // A broadcast that nobody acknowledges has no list: it is heard or missed.
    if (isFanout && this.#noAck) return;
    this.#turns = this.#order === "sorted" ? [...this.#turns, queue.name].sort() : [...this.#turns, queue.name];
    // The next queue may follow at once: one look at them together.
    this.#due = true;
    this.#ledger.scheduleSoon();
  }

  async cancel(queue: string): Promise<void> {
    const entry = this.#queues.get(queue);
    if (entry === undefined) return;
    this.#queues.delete(queue);
    this.#turns = this.#turns.filter((name) => name !== queue);
    await entry.leave();
    await this.#settled();
  }

  setPrefetch(count: number): void {
    this.#prefetch = count;
    this.wake();
  }

  pause(): void {
    if (this.#state === "open") this.#state = "paused";
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#state = "open";
    for (const { queue, bytes } of this.#kept.splice(0)) this.#deliver(queue, bytes, null);
    this.wake();
  }

  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    const mine = deliveries.filter((one): one is RedisDelivery => one instanceof RedisDelivery && one.owner === this);
    const tags = mine.filter((delivery) => delivery.settle()).map(({ tag }) => tag as string);
    if (tags.length > 0) await this.#ledger.giveBack(tags, "RPUSH");
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  /** Whether a change of this list concerns it. */
  watches(list: string): boolean {
    return this.#turns.some((queue) => queueLists(this.#ledger.keys, queue).includes(list));
  }

  /** Something may have come. */
  wake(): void {
    this.#due = true;
    this.#ledger.flush();
  }

  /** Look again, whatever was announced: at the next turn, without hurry. */
  lookAgain(): void {
    this.#due = true;
  }

  /** The connections it lives on are gone. */
  lose(error: OperationalError): void {
    if (this.#state === "ended" || this.#state === "closing") return;
    this.#state = "ended";
    this.#onClosed(this);
    this.#options.onLost(error);
  }

  /** Takes, when there is room and something may wait; what was acknowledged meanwhile travels along. */
  turn(): void {
    while (this.#wantsTurn()) {
      const room = this.#room();
      this.#due = this.#more;
      this.#send(room);
      if (!this.#more) return;
    }
  }

  #wantsTurn(): boolean {
    return (
      this.#due &&
      this.#state === "open" &&
      this.#turns.length > 0 &&
      this.#inFlight < (this.#more ? 2 : 1) &&
      this.#room() > 0 &&
      this.#flow.isOpen
    );
  }

  #room(): number {
    if (this.#prefetch === 0) return takeAtOnce;
    if (this.#noAck) return Math.min(takeAtOnce, Math.max(1, this.#prefetch));
    // While messages come in masses, two takes share the room: one is handed over, one is under way.
    const most = this.#more ? Math.max(8, Math.ceil(this.#prefetch / 2)) : takeAtOnce;
    return Math.min(takeAtOnce, most, this.#prefetch - this.#held - this.#asked);
  }

  #send(room: number): void {
    const { keys, consumerId, heldKey } = this.#ledger;
    const queues = this.#turns;
    const acks = this.#noAck ? { tags: [], settle: () => undefined } : this.#ledger.takeAcks();
    const lists = takeOrder(keys, queues);
    const few = queues.length <= fewQueues;
    this.#inFlight += 1;
    this.#asked += room;
    const answer = this.#flow.connection.run<Turn>(
      turnScript,
      [keys.unacked, keys.unackedIndex, heldKey, keys.consumers, ...(few ? lists : [])],
      [
        consumerId,
        `tq-${randomUUID()}-`,
        acks.tags.length,
        room,
        // Base64 is a third longer; headers have room to spare.
        Math.ceil((this.#maxBodySize * 4) / 3) + 1_048_576,
        this.#noAck ? "1" : "0",
        this.#order === "round_robin" ? "1" : "0",
        queues.length,
        ...queues.map((queue) => JSON.stringify(queue)),
        ...acks.tags,
        ...(few ? [] : lists),
      ],
      "bytes",
    );
    const taken = answer.then(
      (turn) => {
        this.#inFlight -= 1;
        this.#asked -= room;
        acks.settle();
        if (turn[0] === 0) {
          this.#due = true;
          this.#ledger.lapse(consumerId);
        } else this.#receive(queues, turn);
        if (!few && !this.#due) this.#expect(lists);
        this.#goOn();
      },
      (error: unknown) => {
        this.#inFlight -= 1;
        this.#asked -= room;
        acks.settle(error);
        // The connection says so itself; anything else would come back at every take.
        if (this.#flow.isOpen) this.lose(error as OperationalError);
        this.#goOn();
      },
    );
    this.#ledger.track(taken);
  }

  /** Has Redis announce what comes to these lists; what came since they were looked at is seen now. */
  #expect(lists: readonly string[]): void {
    this.#flow.connection.call<number>("exists", ...lists).then(
      (filled) => {
        if (filled > 0) this.wake();
      },
      () => undefined, // looked at again within a second
    );
  }

  #goOn(): void {
    if (this.#inFlight === 0) for (const resolve of this.#idle.splice(0)) resolve();
    if (this.#due) this.#askAgain();
  }

  /**
   * One at a time would be a script call for each: a quarter of the window is taken together, or,
   * where that is long in coming, whatever there is room for a millisecond later.
   */
  #askAgain(): void {
    if (this.#room() >= this.#prefetch / 4) this.#ledger.schedule();
    else this.#ledger.scheduleSoon();
  }

  #receive(queues: readonly string[], turn: Turn): void {
    this.#more = turn[1] === 1;
    if (this.#more) this.#due = true;
    if (turn.length <= 2) return;
    if (this.#state !== "open" && !this.#noAck) {
      this.#giveBackUnseen(queues, turn);
      return;
    }
    let last = "";
    for (let at = 2; at < turn.length; at += 3) {
      last = queues[(turn[at + 1] as number) - 1] as string;
      const bytes = turn[at + 2] as Buffer;
      if (this.#state === "open") this.#deliver(last, bytes, this.#noAck ? null : tagOf(turn[at]));
      else this.#kept.push({ queue: last, bytes });
    }
    if (this.#order === "round_robin") this.#rotate(last);
  }

  /** kombu `scheduling.py#round_robin_cycle`: who gave a message goes to the end. */
  #rotate(queue: string): void {
    if (this.#turns.length < 2 || !this.#turns.includes(queue)) return;
    const at = this.#turns.indexOf(queue) + 1;
    this.#turns = [...this.#turns.slice(at), ...this.#turns.slice(0, at)];
  }

  #deliver(queue: string, bytes: Buffer, tag: string | null): void {
    const { envelope, size } = readTaken(bytes);
    const delivery = new RedisDelivery(this.#ledger, {
      message: envelope.message,
      address: envelope.address,
      redelivered: envelope.redelivered,
      damage: damageOfSize(size, this.#maxBodySize) ?? envelope.damage,
      queue,
      tag,
      node: this.#options.node,
      owner: this,
      onSettled: this.#onSettled,
    });
    if (tag !== null) this.#held += 1;
    this.#options.onDelivery(delivery);
  }

  readonly #onSettled = (): void => {
    this.#held -= 1;
    if (this.#due) this.#askAgain();
  };

  /** Published to a fanout exchange this subscription listens to. */
  #broadcast(queue: string, text: string): void {
    if (this.#state === "ended" || this.#state === "closing" || !this.#queues.has(queue)) return;
    if (this.#noAck) {
      if (this.#state === "open") this.#deliver(queue, Buffer.from(text), null);
      return;
    }
    // Kept in the queue's own list first: from there it is taken, held and given back like any other.
    const { priority } = decodeEnvelope(text).message.properties;
    this.#flow.connection.call("lpush", listKey(this.#ledger.keys, queue, priority), text).then(
      () => this.wake(),
      () => undefined,
    );
  }

  /** Taken while nobody may get them any more: back to where they were, without a mark. */
  #giveBackUnseen(queues: readonly string[], turn: Turn): void {
    const { keys, heldKey } = this.#ledger;
    const taken: { tag: string; list: string }[] = [];
    for (let at = 2; at < turn.length; at += 3) {
      const { priority } = readTaken(turn[at + 2] as Buffer).envelope.message.properties;
      const queue = queues[(turn[at + 1] as number) - 1] as string;
      taken.push({ tag: tagOf(turn[at]), list: listKey(keys, queue, priority) });
    }
    this.#due = true;
    this.#ledger.track(
      untake({ connection: this.#flow.connection, keys, held: heldKey }, taken).then(() => this.#flow.wake()),
    );
  }

  /** Resolves when no take is under way. */
  async #settled(): Promise<void> {
    if (this.#inFlight > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  async #close(): Promise<void> {
    const lost = this.#state === "ended";
    if (!lost) {
      this.#state = "closing";
      await this.#settled();
    }
    const held = [...this.#ledger.held].filter(({ owner }) => owner === this);
    const tags = held.filter((delivery) => delivery.settle()).map(({ tag }) => tag as string);
    // Told over the next connection when there is none now; nobody needs to wait for that.
    if (tags.length > 0) this.#ledger.giveBack(tags, "RPUSH").catch(() => undefined);
    await this.#ledger.drain();
    if (!lost && this.#flow.isOpen) await this.#leave().catch(() => undefined);
    this.#state = "ended";
    this.#onClosed(this);
  }

  async #leave(): Promise<void> {
    const { keys } = this.#ledger;
    for (const { queue, bytes } of this.#kept.splice(0).reverse()) {
      const { priority } = decodeEnvelopeBytes(bytes).message.properties;
      await this.#flow.connection.call("rpush", listKey(keys, queue, priority), bytes);
    }
    for (const { queue, leave } of this.#queues.values()) {
      await leave();
      // As kombu does when a channel closes: only those of fanout exchanges have no other consumer.
      if (queue.autoDelete && queue.exchange.type === "fanout") await this.#remove(queue);
    }
  }
}

const tagOf = (bytes: Buffer | number | undefined): string => (bytes as Buffer).toString("latin1");

/**
 * What the turn script gives for a message, and the bytes of its body. Of one above the limit it
 * gives the end alone: in kombu's order what stands there, behind the body, tells whose it is.
 */
function readTaken(bytes: Buffer): { readonly envelope: DecodedEnvelope; readonly size: number } {
  if (bytes[0] !== 0) {
    const envelope = decodeEnvelopeBytes(bytes);
    return { envelope, size: bytesOfBase64(MessageOfBytes.bytesOf(envelope.message) ?? envelope.message.body) };
  }
  const text = bytes.toString();
  const mark = text.indexOf("\0", 1);
  const behindBody = text.slice(text.indexOf('"', mark) + 1);
  return { envelope: decodeEnvelope(`{"body": ""${behindBody}`), size: Number(text.slice(1, mark)) };
}
