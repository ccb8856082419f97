import { parseBrokerUrl, type SqliteUrl } from "../../config/url.ts";
import { BrokerConnectionError, OperationalError } from "../../errors.ts";
import type { Message } from "../../protocol/message.ts";
import { thisProcess } from "../../system/process-identity.ts";
import { openSqlite, type Sqlite } from "../../system/sqlite.ts";
import type {
  Address,
  Broker,
  DeadLetters,
  HandOverStep,
  ParkedMessage,
  ParkedOptions,
  Publication,
  Queue,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import { type BrokerOptions, mostDeadLetters } from "../options.ts";
import type { Located, LocateOptions } from "../whereabouts.ts";
import { bell } from "./bell.ts";
import { SqliteDeadLetters } from "./dead-letters.ts";
import { readHead, writeHead } from "./head.ts";
import { Keeper } from "./keeper.ts";
import { locateIn } from "./locating.ts";
import { SqliteNotes } from "./notes.ts";
import { Queries } from "./queries.ts";
import { brokerSchema } from "./schema.ts";
import { asLoss, SqliteDelivery, SqliteSubscription } from "./subscription.ts";

/** Messages written or removed in one transaction: a few milliseconds' worth. */
const handful = 250;

/**
 * The broker in a file, `sqlite://./.tq/tq.db`: for one machine, without a server, for any
 * number of processes.
 *
 * Transport options: `lease` (6), seconds after which a consumer in another container counts as
 * dead when it is not heard of; `safety_poll` (0.5), seconds between two looks for news in case
 * the system does not tell of them.
 */
export function createSqliteBroker(url: string, options: BrokerOptions): SqliteBroker {
  return new SqliteBroker((parseBrokerUrl(url) as SqliteUrl).path, options);
}

interface Connected {
  readonly db: Sqlite;
  readonly queries: Queries;
  readonly keeper: Keeper;
}

export class SqliteBroker implements Broker {
  readonly transport = "sqlite";
  readonly priorityOrder = "lowest-first";
  readonly displayUrl: string;
  readonly deadLetters: DeadLetters;
  readonly shelf: DeadLetters;
  readonly revokes: SqliteNotes;
  readonly #path: string;
  readonly #options: BrokerOptions;
  readonly #subscriptions = new Set<SqliteSubscription>();
  readonly #declared = new Map<string, Queue>();
  #connecting: Promise<Connected> | undefined;
  #connected: Connected | undefined;
  #closing: Promise<void> | undefined;

  constructor(path: string, options: BrokerOptions) {
    this.#path = path;
    this.#options = options;
    this.displayUrl = `sqlite://${path}`;
    this.revokes = new SqliteNotes((work) => this.#use(work));
    this.deadLetters = new SqliteDeadLetters((work) => this.#use(work), options.maxBodySize);
    this.shelf = new SqliteDeadLetters((work) => this.#use(work), options.maxBodySize, true);
  }

  async connect(): Promise<void> {
    if (this.#closing !== undefined) throw this.#notOpen();
    this.#connecting ??= this.#open();
    try {
      this.#connected = await this.#connecting;
    } catch (error) {
      this.#connecting = undefined;
      throw asLoss(error);
    }
  }

  async declare(queue: Queue): Promise<void> {
    const key = JSON.stringify(queue);
    if (this.#connected && this.#declared.has(key)) return;
    await this.#use((db, queries) => db.write(() => queries.declare(queue)));
    this.#declared.set(key, queue);
  }

  async publish(message: Message, address: Address): Promise<void> {
    const head = writeHead(message);
    await this.#use((db, queries) =>
      db.write(() => this.#insert(db, queries, { message, address }, head, this.#route(queries, address))),
    );
  }

  async publishMany(publications: readonly Publication[]): Promise<void> {
    await this.#use(async (db, queries) => {
      const writes: Promise<void>[] = [];
      for (let start = 0; start < publications.length; start += handful) {
        const some = publications.slice(start, start + handful);
        const heads = some.map(({ message }) => writeHead(message));
        writes.push(
          db.write(() => {
            const routes = new Map<string, readonly string[]>();
            for (const [index, publication] of some.entries()) {
              const key = JSON.stringify(publication.address);
              const route = routes.get(key) ?? this.#route(queries, publication.address);
              routes.set(key, route);
              this.#insert(db, queries, publication, heads[index] as string, route);
            }
          }),
        );
        // Lets what was written so far go, so that all of it is not held twice.
        if (writes.length % 8 === 0) await Promise.all(writes.splice(0));
      }
      await Promise.all(writes);
    });
  }

  async handOver({ delivery, publications, result }: HandOverStep): Promise<boolean> {
    const heads = publications.map(({ message }) => writeHead(message));
    return await this.#use(async (db, queries) => {
      if (result !== null && (result.store !== "sqlite" || result.path !== db.path))
        throw new TypeError("a result of another store was handed over");
      const step = (): void => {
        for (const [index, publication] of publications.entries())
          this.#insert(db, queries, publication, heads[index] as string, this.#route(queries, publication.address));
        result?.write();
      };
      if (delivery instanceof SqliteDelivery) return await delivery.ackWith(step, publications.length > 0);
      await db.write(step);
      return true;
    });
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    return await this.#use(async (db, queries) => {
      const { keeper } = this.#connected as Connected;
      const id = await db.write(() => queries.addConsumer(options.node, this.#identity(), Date.now()));
      const subscription = new SqliteSubscription(
        {
          db,
          queries,
          keeper,
          id,
          maxBodySize: this.#options.maxBodySize,
          mostDeadLetters: this.#options.mostDeadLetters ?? mostDeadLetters,
          onClosed: (closed) => this.#subscriptions.delete(closed),
        },
        options,
      );
      this.#subscriptions.add(subscription);
      return subscription;
    });
  }

  size(queue: string): Promise<number> {
    return this.#use((db, queries) => db.read(() => queries.size(queue)));
  }

  peek(queue: string): Promise<Message | null> {
    return this.#use(async (db, queries) => {
      const head = await db.read(() => queries.nextHead(queue));
      return head === undefined ? null : readHead(head, "").message;
    });
  }

  parked(): Promise<number> {
    return this.#use((db, queries) => db.read(() => queries.parked()));
  }

  async parkedMessages({ queues, limit }: ParkedOptions): Promise<readonly ParkedMessage[]> {
    const rows = await this.#use((db, queries) => db.read(() => queries.listParked(queues, limit)));
    return rows.flatMap(({ head, body, exchange, routingKey, queue, due, redelivered }) => {
      const { message, damage } = readHead(head, body);
      return damage === null
        ? [{ message, address: { exchange, routingKey }, queue, due: new Date(due), redelivered }]
        : [];
    });
  }

  async locate(options: LocateOptions): Promise<Located> {
    const here = { identity: this.#identity(), lease: this.#lease };
    const places = await this.#use((db, queries) => locateIn(db, queries, options, here));
    return { kind: "located", places, unsearched: [] };
  }

  purge(queue: string): Promise<number> {
    return this.#use((db, queries) => inHandfuls((limit) => db.write(() => queries.purgeSome(queue, limit))));
  }

  async delete(queue: Queue): Promise<void> {
    for (const [key, { name }] of this.#declared) if (name === queue.name) this.#declared.delete(key);
    await this.#use(async (db, queries) => {
      await db.write(() => queries.dropQueue(queue.name));
      await inHandfuls((limit) => db.write(() => queries.emptySome(queue.name, limit)));
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  /** Ends it as `kill -9` would, leaving to others what was held. For tests. */
  async abandon(): Promise<void> {
    for (const subscription of [...this.#subscriptions]) subscription.abandon();
    await this.close();
  }

  async #close(): Promise<void> {
    const connected = this.#connected ?? (await this.#connecting?.catch(() => undefined));
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    this.#connected = undefined;
    await connected?.db.close();
  }

  async #open(): Promise<Connected> {
    const { safety_poll: safetyPoll } = this.#options.transportOptions;
    const db = await openSqlite(this.#path, typeof safetyPoll === "number" ? { safetyPoll } : {});
    try {
      await db.migrate("broker", brokerSchema);
    } catch (error) {
      await db.close();
      throw error;
    }
    const queries = new Queries(db);
    const keeper = new Keeper(db, queries, {
      lease: this.#lease,
      identity: this.#identity(),
      mayBlock: this.#options.mayBlock ?? false,
      logger: this.#options.logger,
    });
    return { db, queries, keeper };
  }

  /** Inside `write`: one row in each of these queues. */
  #insert(
    db: Sqlite,
    queries: Queries,
    { message, address }: Publication,
    head: string,
    route: readonly string[],
  ): void {
    const priority = Math.min(9, Math.max(0, Math.trunc(Number(message.properties.priority ?? 0)) || 0));
    const row = { exchange: address.exchange, routingKey: address.routingKey, priority, head, body: message.body };
    for (const queue of route) queries.insert(queue, row);
    db.ring(bell);
  }

  #route(queries: Queries, address: Address): readonly string[] {
    const { exchange, routingKey } = address;
    if (exchange === "") return [routingKey];
    const type = queries.exchangeType(exchange);
    const bound = type === undefined ? [] : queries.boundQueues(exchange, type, routingKey);
    if (bound.length > 0 || type === "fanout" || type === "topic") return bound;
    return this.#declareAgain(queries, address) ?? this.#nowhere(address, type !== undefined);
  }

  /** A queue this connection declared may have been deleted by another process since: the message is not lost to that. */
  #declareAgain(queries: Queries, { exchange, routingKey }: Address): readonly string[] | undefined {
    const mine = [...this.#declared.values()].filter(
      (queue) => queue.exchange.name === exchange && queue.routingKey === routingKey && !queue.autoDelete,
    );
    for (const queue of mine) queries.declare(queue);
    return mine.length > 0 ? mine.map(({ name }) => name) : undefined;
  }

  /** As in AMQP: a message for which an exchange has no queue is dropped, one for no exchange is refused. */
  #nowhere({ exchange, type }: Address, known: boolean): readonly string[] {
    if (known || type === "fanout" || type === "topic") return [];
    throw new OperationalError(
      `there is no exchange ${JSON.stringify(exchange)}: declare a queue bound to it before publishing`,
    );
  }

  /** Seconds. */
  get #lease(): number {
    const { lease } = this.#options.transportOptions;
    return typeof lease === "number" ? lease : 6;
  }

  /** `machine` as transport option plays a process of another machine, whose life cannot be looked at. */
  #identity() {
    const { machine } = this.#options.transportOptions;
    const identity = thisProcess();
    return typeof machine === "string" ? { ...identity, machine } : identity;
  }

  async #use<Value>(work: (db: Sqlite, queries: Queries) => Promise<Value>): Promise<Value> {
    const connected = this.#connected;
    if (!connected || this.#closing !== undefined) throw this.#notOpen();
    try {
      return await work(connected.db, connected.queries);
    } catch (error) {
      throw error instanceof OperationalError ? asLoss(error) : error;
    }
  }

  #notOpen(): BrokerConnectionError {
    return new BrokerConnectionError(
      `${this.displayUrl} is ${this.#closing !== undefined ? "closed" : "not connected yet"}`,
    );
  }
}

async function inHandfuls(step: (limit: number) => Promise<number>): Promise<number> {
  for (let total = 0; ; ) {
    const count = await step(handful);
    total += count;
    if (count < handful) return total;
  }
}
