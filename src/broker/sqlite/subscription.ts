import { BrokerConnectionError } from "../../errors.ts";
import type { Message } from "../../protocol/message.ts";
import type { Pace, Sqlite } from "../../system/sqlite.ts";
import type { Address, Delivery, Queue, Rejection, SubscribeOptions, Subscription } from "../broker.ts";
import { damageOfSize } from "../damage.ts";
import { bell } from "./bell.ts";
import { readHead, writeHead } from "./head.ts";
import { dropIfLeft, type Keeper } from "./keeper.ts";
import type { ClaimedRow, Queries } from "./queries.ts";

/** Most messages taken in one transaction. */
const batch = 200;

export interface SubscriptionParts {
  readonly db: Sqlite;
  readonly queries: Queries;
  readonly keeper: Keeper;
  /** Id of the consumer's row. */
  readonly id: number;
  /** Bytes. */
  readonly maxBodySize: number;
  readonly mostDeadLetters: number;
  readonly onClosed: (subscription: SqliteSubscription) => void;
}

/**
 * A flow of deliveries out of the file. Takes as many as there is room for in one transaction,
 * together with the acks of the tick; while there is nothing to take it sleeps until the bell.
 */
export class SqliteSubscription implements Subscription {
  readonly #parts: SubscriptionParts;
  readonly #options: SubscribeOptions;
  /** Deliveries handed over and not settled. */
  #held = 0;
  readonly #stopListening: () => void;
  #queues: string[] = [];
  #prefetch: number;
  #enough: number | undefined;
  #paused = false;
  #taking = false;
  #takeAgain = false;
  #closing: Promise<void> | undefined;
  #lost = false;

  constructor(parts: SubscriptionParts, options: SubscribeOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#prefetch = options.prefetch;
    this.#enough = options.enough;
    this.#stopListening = parts.db.listen(bell, () => this.#refill());
    parts.keeper.add({ id: parts.id, node: options.node });
  }

  get mostDead(): number {
    return this.#parts.mostDeadLetters;
  }

  get node(): string {
    return this.#options.node;
  }

  async consume(queue: Queue): Promise<void> {
    const { db, queries, id } = this.#parts;
    let waits = false;
    await guard(
      db.write(() => {
        queries.declare(queue);
        queries.startConsuming(id, queue.name);
        // A look at all queues for each that is added would grow with the square of their number.
        waits = queries.hasWaiting(queue.name);
      }),
    );
    if (!this.#queues.includes(queue.name)) this.#queues.push(queue.name);
    if (waits) this.#refill(true);
  }

  async cancel(queue: string): Promise<void> {
    if (!this.#queues.includes(queue)) return;
    this.#queues = this.#queues.filter((name) => name !== queue);
    const { db, queries, id } = this.#parts;
    await guard(
      db.write(() => {
        queries.stopConsuming(id, queue);
        dropIfLeft(queries, queue);
      }),
    );
  }

  setPrefetch(count: number, enough?: number): void {
    this.#prefetch = count;
    this.#enough = enough;
    this.#refill();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#refill();
  }

  async giveBack(deliveries: readonly Delivery[]): Promise<void> {
    const ids = deliveries.flatMap((one) =>
      one instanceof SqliteDelivery && one.subscription === this && this.#letGo(one) ? [one.id] : [],
    );
    if (ids.length === 0 || this.#closing !== undefined) return;
    const { db, queries, id } = this.#parts;
    await guard(
      db.write(() => {
        queries.giveBackThese(ids, id);
        db.ring(bell);
      }),
    );
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends it as a killed process would: nothing is given back and nothing said. For tests of what others then do. */
  abandon(): void {
    this.#closing ??= Promise.resolve();
    this.#stopListening();
    this.#parts.keeper.remove(this.#parts.id);
    this.#parts.onClosed(this);
  }

  /** Takes a delivery out of hand by this step, once; resolves when it is committed, which has time while there is enough in hand. */
  async settle(delivery: SqliteDelivery, step: (queries: Queries, owner: number, db: Sqlite) => void): Promise<void> {
    await this.settleBy(delivery, step);
  }

  /** The same; resolves to what the step gives, or undefined when the delivery was out of hand already. */
  async settleBy<Value>(
    delivery: SqliteDelivery,
    step: (queries: Queries, owner: number, db: Sqlite) => Value,
    hurry = false,
  ): Promise<Value | undefined> {
    if (!this.#letGo(delivery) || this.#closing !== undefined) return undefined;
    const { db, queries, id: owner } = this.#parts;
    let value: Value | undefined;
    const settled = db.write(
      () => {
        value = step(queries, owner, db);
      },
      hurry ? "now" : this.#pace(),
    );
    // The room it made is filled in the same transaction.
    this.#refill(true);
    await guard(settled);
    return value;
  }

  async #close(): Promise<void> {
    const { db, keeper, id, onClosed } = this.#parts;
    this.#stopListening();
    keeper.remove(id);
    // When this fails the file cannot be written, and whoever can will find this consumer dead.
    await db.write(() => keeper.release(id)).catch(() => undefined);
    onClosed(this);
  }

  /** Takes what there is room for; `likely` skips the look whether anything waits. */
  #refill(likely = false): void {
    if (this.#closing !== undefined || this.#lost) return;
    if (this.#taking) {
      this.#takeAgain = true;
      return;
    }
    if (this.#room() === 0) return;
    this.#taking = true;
    this.#takeAgain = false;
    void this.#take(likely);
  }

  async #take(likely: boolean): Promise<void> {
    const { db, queries } = this.#parts;
    try {
      const any = likely || (await db.read(() => this.#queues.some((queue) => queries.hasWaiting(queue))));
      const rows = any ? await db.write(() => this.#claim(), this.#pace()) : [];
      this.#taking = false;
      this.#hand(rows);
      if (rows.length > 0 || this.#takeAgain) this.#refill();
    } catch (error) {
      this.#lose(error);
    }
  }

  /** What frees no slot that has nothing to do has time. */
  #pace(): Pace {
    const enough = this.#enough ?? this.#prefetch;
    return enough > 0 && this.#held >= enough ? "soon" : "now";
  }

  #room(): number {
    if (this.#closing !== undefined || this.#paused || this.#queues.length === 0) return 0;
    if (this.#prefetch === 0 || this.#options.noAck) return batch;
    return Math.min(batch, Math.max(0, this.#prefetch - this.#held));
  }

  /** Inside `write`: an equal share of the room for each queue, then the rest for those that have more. */
  #claim(): ClaimedRow[] {
    const room = this.#room();
    let left = room;
    const taken = new Map<string, ClaimedRow[]>(this.#queues.map((queue) => [queue, []]));
    for (const share of [Math.ceil(room / Math.max(1, this.#queues.length)), room]) {
      for (const [queue, rows] of taken) {
        const limit = Math.min(left, share - rows.length);
        if (limit <= 0) continue;
        const more = this.#claimFrom(queue, limit);
        rows.push(...more);
        left -= more.length;
      }
    }
    return interleave([...taken.values()]);
  }

  #claimFrom(queue: string, limit: number): ClaimedRow[] {
    const { queries, id, maxBodySize } = this.#parts;
    return this.#options.noAck
      ? queries.takeOut(queue, limit, maxBodySize)
      : queries.claim(queue, id, limit, maxBodySize);
  }

  #hand(rows: readonly ClaimedRow[]): void {
    const last = rows.at(-1);
    if (last)
      this.#queues = [
        ...this.#queues.filter((name) => name !== last.queue),
        ...this.#queues.filter((name) => name === last.queue),
      ];
    const unwanted: number[] = [];
    for (const row of rows) {
      // Committed after close began: goes back with all else this consumer holds.
      if (this.#closing !== undefined) return;
      if (!this.#options.noAck) {
        if (this.#paused || !this.#queues.includes(row.queue)) {
          unwanted.push(row.id);
          continue;
        }
        this.#held += 1;
      }
      this.#options.onDelivery(new SqliteDelivery(row, this, this.#parts.maxBodySize));
    }
    if (unwanted.length > 0) this.#untake(unwanted);
  }

  /** True for the one who takes it out of hand. */
  #letGo(delivery: SqliteDelivery): boolean {
    if (this.#options.noAck || !delivery.letGo()) return false;
    this.#held -= 1;
    return true;
  }

  #untake(ids: readonly number[]): void {
    const { db, queries, id } = this.#parts;
    const returned = db.write(() => {
      queries.untake(ids, id);
      db.ring(bell);
    });
    returned.catch((error) => this.#lose(error));
  }

  #lose(error: unknown): void {
    if (this.#closing !== undefined || this.#lost) return;
    this.#lost = true;
    this.#stopListening();
    this.#options.onLost(asLoss(error));
  }
}

export class SqliteDelivery implements Delivery {
  readonly message: Message;
  readonly queue: string;
  readonly address: Address;
  readonly redelivered: boolean;
  readonly damage: string | null;
  readonly lost = false;
  readonly id: number;
  readonly subscription: SqliteSubscription;
  readonly #size: number;
  #held = true;

  constructor(row: ClaimedRow, subscription: SqliteSubscription, maxBodySize: number) {
    const { message, damage } = readHead(row.head, row.body);
    this.message = message;
    this.damage = damage ?? damageOfSize(row.size, maxBodySize);
    this.queue = row.queue;
    this.address = { exchange: row.exchange, routingKey: row.routingKey };
    this.redelivered = row.redelivered;
    this.id = row.id;
    this.#size = row.size;
    this.subscription = subscription;
  }

  /** True the first time. */
  letGo(): boolean {
    const wasHeld = this.#held;
    this.#held = false;
    return wasHeld;
  }

  ack(): Promise<void> {
    return this.subscription.settle(this, (queries, owner) => queries.ack(this.id, owner, this.#size));
  }

  /** Acknowledged together with `more`, in one transaction; false, and neither is done, when it is another's by now. */
  async ackWith(more: () => void, hurry: boolean): Promise<boolean> {
    const step = (queries: Queries, owner: number): boolean => {
      if (!queries.ack(this.id, owner, this.#size)) return false;
      more();
      return true;
    };
    return (await this.subscription.settleBy(this, step, hurry)) ?? false;
  }

  park(due: Date): Promise<void> {
    // A date that is none would be stored as no date at all, and never be due.
    const at = Number.isNaN(due.getTime()) ? Date.now() : due.getTime();
    return this.subscription.settle(this, (queries, owner, db) => {
      if (queries.park(this.id, owner, at)) db.ring(bell);
    });
  }

  reject({ requeue, reason = "rejected", shelf = false, headers }: Rejection): Promise<void> {
    const { message } = this;
    const head = headers ? writeHead({ ...message, headers: { ...message.headers, ...headers } }) : null;
    return this.subscription.settle(this, (queries, owner, db) => {
      if (requeue) {
        if (queries.requeue(this.id, owner, head)) db.ring(bell);
        return;
      }
      const { node, mostDead } = this.subscription;
      queries.bury(this.id, owner, { reason, node, at: Date.now(), shelf });
      if (mostDead > 0 && !shelf) queries.trimDead(mostDead);
    });
  }
}

/** One of each list in turn. */
function interleave(lists: readonly (readonly ClaimedRow[])[]): ClaimedRow[] {
  const [only, ...others] = lists.filter((list) => list.length > 0);
  if (others.length === 0) return [...(only ?? [])];
  const all = [only ?? [], ...others];
  const longest = Math.max(...all.map((list) => list.length));
  const mixed: ClaimedRow[] = [];
  for (let index = 0; index < longest; index += 1) {
    for (const list of all) {
      const row = list[index];
      if (row) mixed.push(row);
    }
  }
  return mixed;
}

/** What a file that cannot be used comes to for whoever uses a broker. */
export function asLoss(error: unknown): BrokerConnectionError {
  if (error instanceof BrokerConnectionError) return error;
  return new BrokerConnectionError(error instanceof Error ? error.message : String(error), { cause: error });
}

async function guard(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    throw asLoss(error);
  }
}
