import { randomUUID } from "node:crypto";
import type { OperationalError } from "../../errors.ts";
import type { Message } from "../../protocol/message.ts";
import { Chain } from "../../util/chain.ts";
import type { RedisConnection } from "./connection.ts";
import { type Deferred, deferred } from "./deferred.ts";
import { brokerError } from "./errors.ts";
import { type HandOverItem, sendHandOvers } from "./hand-over.ts";
import { listKey, type RedisKeys } from "./keys.ts";
import { type End, returnMessages } from "./returning.ts";
import { buryScript, parkScript, returnScript, turnScript } from "./scripts.ts";

/** A delivery as the ledger sees it. */
export interface HeldDelivery {
  readonly tag: string | null;
  readonly queue: string;
  readonly message: Message;
  /** Whose prefetch count it is in. */
  readonly owner: object;
  /** True for the one who settles it. */
  settle(): boolean;
  /** The lease was lost: somebody else has the message now. */
  lose(): void;
}

/** What one tick brought of one kind, and the promise all of it shares. */
interface Batch<Item> {
  readonly items: Item[];
  readonly done: Deferred<void>;
}

interface Burial {
  readonly tag: string;
  readonly queue: string;
  readonly reason: string;
  readonly node: string;
  readonly at: number;
  readonly shelf: boolean;
}

/** Acknowledged tags on their way, with whom to tell. */
export interface AckBatch {
  readonly tags: readonly string[];
  settle(error?: unknown): void;
}

/** Milliseconds acknowledgements wait for others, unless a take goes out before. */
const gatherMs = 1;

/** Tags one script call carries. */
const acksAtOnce = 2_000;

/**
 * What this process holds, and how it lets go. Everything of one tick travels together: acks in
 * one script call, with the next take where there is one.
 *
 * What could not be told to Redis because the connection is gone is kept and told over the next
 * one: a message nobody will settle again must not stay held for ever. Its promise has rejected by
 * then; nothing here happens twice, because each step asks first whether the message is still ours.
 */
export class Ledger {
  readonly keys: RedisKeys;
  /** Deliveries handed over and not settled, in the order they came. */
  readonly held = new Chain<HeldDelivery>();
  readonly #db: number;
  readonly #connection: () => RedisConnection | undefined;
  readonly #mostDead: number;
  readonly #onParked: (now: number, due: number) => void;
  readonly #onReturned: () => void;
  readonly #onLapsed: () => void;
  /** Lets subscriptions take what they want, acks along with it. */
  readonly #carry: () => void;
  #id = randomUUID();
  #acks: Batch<string> = newBatch();
  #parks: Batch<{ readonly tag: string; readonly due: number; readonly list: string }> = newBatch();
  #returns: Record<End, Batch<string>> = { LPUSH: newBatch(), RPUSH: newBatch() };
  #burials: Batch<Burial> = newBatch();
  #handOvers: Batch<HandOverItem> = newBatch();
  /** Sent to Redis, and not answered. */
  readonly #underWay = new Chain<readonly (string | { readonly tag: string })[]>();
  #scheduled: NodeJS.Immediate | undefined;
  #soon: NodeJS.Timeout | undefined;
  #inFlight = 0;
  readonly #works = new Chain<Promise<void>>();

  constructor(options: {
    readonly keys: RedisKeys;
    /** Database the messages are in. */
    readonly db: number;
    readonly connection: () => RedisConnection | undefined;
    /** 0 is no bound. */
    readonly mostDeadLetters: number;
    readonly carry: () => void;
    /** A message was parked: when the next of all parked ones is due, by Redis's clock. */
    readonly onParked: (now: number, due: number) => void;
    /** Messages went back into queues. */
    readonly onReturned: () => void;
    /** The lease was lost and needs to be begun anew, under a new id. */
    readonly onLapsed: () => void;
  }) {
    this.keys = options.keys;
    this.#db = options.db;
    this.#connection = options.connection;
    this.#mostDead = options.mostDeadLetters;
    this.#carry = options.carry;
    this.#onParked = options.onParked;
    this.#onReturned = options.onReturned;
    this.#onLapsed = options.onLapsed;
  }

  /** Under which this process holds messages. A new one after a lease was lost. */
  get consumerId(): string {
    return this.#id;
  }

  get heldKey(): string {
    return this.keys.heldPrefix + this.#id;
  }

  /** Tags of all messages that are with somebody here. */
  heldTags(): Set<string> {
    return new Set([...this.held].map(({ tag }) => tag as string));
  }

  /** The same, and of those that are not any more, or about which Redis is still to be told. */
  known(): Set<string> {
    const gathered = [
      this.#acks,
      this.#parks,
      this.#returns.LPUSH,
      this.#returns.RPUSH,
      this.#burials,
      this.#handOvers,
    ];
    const tags = [...gathered.map(({ items }) => items), ...this.#underWay].flatMap((items) =>
      items.map((item: string | { readonly tag: string }) => (typeof item === "string" ? item : item.tag)),
    );
    return new Set([...this.heldTags(), ...tags]);
  }

  /** Gathers for a moment: the next take carries it, and under load that one is never far. */
  ack(tag: string): Promise<void> {
    this.#acks.items.push(tag);
    this.scheduleSoon();
    return this.#acks.done.promise;
  }

  park(delivery: HeldDelivery, due: Date): Promise<void> {
    const list = listKey(this.keys, delivery.queue, delivery.message.properties.priority);
    return this.#add(this.#parks, { tag: delivery.tag as string, due: due.getTime() / 1000, list });
  }

  giveBack(tags: readonly string[], end: End): Promise<void> {
    const batch = this.#returns[end];
    batch.items.push(...tags);
    this.schedule();
    return batch.done.promise;
  }

  /** Behind what waits, as this envelope says it now. */
  async requeueAs({ tag, queue, message }: HeldDelivery, envelope: string): Promise<void> {
    const connection = this.#connection();
    if (connection === undefined) throw this.#notConnected();
    const { keys } = this;
    const list = listKey(keys, queue, message.properties.priority);
    const work = connection.run(
      returnScript,
      [keys.unacked, keys.unackedIndex, this.heldKey],
      ["LPUSH", tag as string, "", envelope, 1, list],
    );
    this.track(work);
    await work;
    this.#onReturned();
  }

  bury(tag: string, about: Omit<Burial, "tag" | "at">): Promise<void> {
    return this.#add(this.#burials, { tag, at: Date.now() / 1000, ...about });
  }

  /**
   * The step of a hand-over. Told again over the next connection when this one is lost: it is made
   * once all the same. What Redis refuses goes back to its queue.
   */
  handOver(item: HandOverItem): void {
    void this.#add(this.#handOvers, item).catch(() => undefined); // `item.done` tells
  }

  #add<Item>(batch: Batch<Item>, item: Item): Promise<void> {
    batch.items.push(item);
    this.schedule();
    return batch.done.promise;
  }

  /** At the end of this turn of the event loop, when all that came in has been seen. */
  schedule(): void {
    this.#scheduled ??= setImmediate(() => this.flush());
  }

  /** Within a millisecond: what is worth little alone waits for company. */
  scheduleSoon(): void {
    this.#soon ??= setTimeout(() => this.flush(), gatherMs);
  }

  /** Sends what has gathered, now. */
  flush(): void {
    clearImmediate(this.#scheduled);
    clearTimeout(this.#soon);
    this.#scheduled = undefined;
    this.#soon = undefined;
    this.#handOvers = this.#send(this.#handOvers, (connection, items) => this.#sendHandOvers(connection, items));
    this.#burials = this.#send(this.#burials, (connection, items) => this.#sendBurials(connection, items));
    this.#parks = this.#send(this.#parks, (connection, items) => this.#sendParks(connection, items));
    for (const end of ["LPUSH", "RPUSH"] as const) {
      this.#returns[end] = this.#send(this.#returns[end], (connection, items) =>
        this.#sendReturns(connection, items, end),
      );
    }
    this.#carry();
    // A turn under way is soon back and will take them along.
    if (this.#acks.items.length > 0 && this.#inFlight < 2) this.#sendAcksAlone();
  }

  /** The tags to forget that the next turn carries; empty when there are none. */
  takeAcks(): AckBatch {
    const batch = this.#acks;
    const tags = batch.items;
    if (tags.length === 0) return noAcks;
    const now: Batch<string> =
      tags.length <= acksAtOnce ? batch : { items: tags.splice(0, acksAtOnce), done: deferred() };
    if (now === batch) this.#acks = newBatch();
    else void now.done.promise.catch(() => undefined);
    const underWay = this.#underWay.add(now.items);
    return {
      tags: now.items,
      settle: (error) => {
        this.#underWay.remove(underWay);
        if (error === undefined) now.done.resolve();
        else {
          this.#acks.items.push(...now.items);
          now.done.reject(error);
          if (now !== batch) batch.done.reject(error);
        }
      },
    };
  }

  /** Counts a script call under way, so that few large ones are sent rather than many small ones. */
  track(turn: Promise<unknown>): void {
    this.#inFlight += 1;
    const work = turn
      .then(
        () => undefined,
        () => undefined,
      )
      .finally(() => {
        this.#inFlight -= 1;
        this.#works.remove(place);
        if (this.#acks.items.length > 0) this.scheduleSoon();
      });
    const place = this.#works.add(work);
  }

  /**
   * The lease of this id was lost: what was held under it belongs to others. Told twice of one
   * loss, it hears it once.
   */
  lapse(id: string): void {
    if (id !== this.#id) return;
    this.#id = randomUUID();
    for (const delivery of this.held) delivery.lose();
    this.#onLapsed();
  }

  /** Resolves when all that was settled so far has been told to Redis, or cannot be. */
  async drain(): Promise<void> {
    this.flush();
    while (this.#works.size > 0) {
      await Promise.all(this.#works);
      if (this.#connection() !== undefined) this.flush();
    }
  }

  #sendAcksAlone(): void {
    const acks = this.takeAcks();
    const connection = this.#connection();
    if (connection === undefined) {
      acks.settle(this.#notConnected());
      return;
    }
    const { keys } = this;
    const turn = connection.run<[number, number]>(
      turnScript,
      [keys.unacked, keys.unackedIndex, this.heldKey, keys.consumers],
      [this.#id, "", acks.tags.length, 0, 0, "0", "0", 0, ...acks.tags],
    );
    const id = this.#id;
    const told = turn.then(
      ([good]) => {
        if (good === 0) this.lapse(id);
        acks.settle();
      },
      (error: unknown) => acks.settle(error),
    );
    this.track(told);
  }

  #send<Item extends string | { readonly tag: string }>(
    batch: Batch<Item>,
    send: (connection: RedisConnection, items: readonly Item[]) => Promise<unknown>,
  ): Batch<Item> {
    if (batch.items.length === 0) return batch;
    const connection = this.#connection();
    const next: Batch<Item> = newBatch();
    if (connection === undefined) {
      next.items.push(...batch.items);
      batch.done.reject(this.#notConnected());
      return next;
    }
    const underWay = this.#underWay.add(batch.items);
    const work = send(connection, batch.items)
      .then(() => batch.done.resolve())
      .catch((error: unknown) => {
        // Told again over the next connection, with what gathers for it.
        if (!connection.isOpen) next.items.unshift(...batch.items);
        batch.done.reject(error);
      })
      .finally(() => {
        this.#underWay.remove(underWay);
        this.#works.remove(place);
      });
    const place = this.#works.add(work);
    return next;
  }

  async #sendParks(
    connection: RedisConnection,
    items: readonly { readonly tag: string; readonly due: number; readonly list: string }[],
  ): Promise<void> {
    const { keys } = this;
    for (let first = 0; first < items.length; first += 1000) {
      const args = items
        .slice(first, first + 1000)
        .flatMap(({ tag, due, list }) => [tag, due.toFixed(6), `${tag}\n${list}`]);
      const [, now, due] = await connection.run<[number, string, string]>(
        parkScript,
        [keys.unackedIndex, this.heldKey, keys.consumers, keys.parked],
        [this.#id, ...args],
      );
      this.#onParked(Number(now), Number(due));
    }
  }

  async #sendReturns(connection: RedisConnection, tags: readonly string[], end: End): Promise<void> {
    // What goes to the front is pushed last first, so that the first is in front (trap 27).
    const ordered = end === "RPUSH" ? [...tags].reverse() : tags;
    await returnMessages({ connection, keys: this.keys, held: this.heldKey, mine: true }, ordered, end);
    this.#onReturned();
  }

  async #sendBurials(connection: RedisConnection, burials: readonly Burial[]): Promise<void> {
    const { keys } = this;
    await Promise.all(
      burials.map(({ tag, shelf, ...about }) => {
        const { dead, about: aboutKey, index } = shelf ? keys.shelf : keys.dead;
        return connection.run(
          buryScript,
          [keys.unacked, keys.unackedIndex, this.heldKey, dead, aboutKey, index],
          [tag, "", randomUUID(), JSON.stringify(about), shelf ? 0 : this.#mostDead],
        );
      }),
    );
  }

  async #sendHandOvers(connection: RedisConnection, items: readonly HandOverItem[]): Promise<void> {
    try {
      await sendHandOvers(connection, this.keys, this.#db, items);
    } catch (error) {
      if (!connection.isOpen) throw error;
      for (const item of items) {
        item.done.reject(error);
        if (item.tag !== "") void this.giveBack([item.tag], "LPUSH").catch(() => undefined);
      }
    }
  }

  #notConnected(): OperationalError {
    return brokerError("the broker is not connected", true);
  }
}

const noAcks: AckBatch = { tags: [], settle: () => undefined };

function newBatch<Item>(): Batch<Item> {
  const done = deferred<void>();
  // Whoever settled a delivery may not care; the promise it was given still rejects for those who do.
  void done.promise.catch(() => undefined);
  return { items: [], done };
}
