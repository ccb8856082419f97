import { parseBrokerUrl } from "../../config/url.ts";
import { ImproperlyConfigured } from "../../errors.ts";
import { decodeEnvelope } from "../../protocol/envelope.ts";
import { topicPattern } from "../../protocol/exchange.ts";
import type { Message } from "../../protocol/message.ts";
import { program } from "../../system/installation.ts";
import type {
  Address,
  Broker,
  DeadLetters,
  Exchange,
  HandOverStep,
  ParkedMessage,
  ParkedOptions,
  Publication,
  Queue,
  SubscribeOptions,
  Subscription,
} from "../broker.ts";
import { LeaseKeeper } from "../lease-keeper.ts";
import { type BrokerOptions, mostDeadLetters } from "../options.ts";
import type { Located, LocateOptions } from "../whereabouts.ts";
import { RedisConnection } from "./connection.ts";
import { RedisDeadLetters } from "./dead-letters.ts";
import { type Deferred, deferred } from "./deferred.ts";
import { RedisDelivery } from "./delivery.ts";
import { brokerError } from "./errors.ts";
import { RedisFlow } from "./flow.ts";
import { sendingsOf } from "./hand-over.ts";
import { bindingKey, bindingMember, permanentBindingKey, queueLists, type RedisKeys, redisKeys } from "./keys.ts";
import { leaseSeconds } from "./lease.ts";
import type { RedisLease } from "./lease-thread.ts";
import { Ledger } from "./ledger.ts";
import { type RedisLender, sameServer } from "./lending.ts";
import { locateIn } from "./locating.ts";
import { RedisNotes } from "./notes.ts";
import { positive, type RedisAddress, redisAddress } from "./options.ts";
import { Outbox } from "./outbox.ts";
import { readParked } from "./parked.ts";
import { type QueueOrder, RedisSubscription } from "./subscription.ts";

/** Seconds after which an unanswered look for messages means that the link is dead. */
const flowDeadline = 2;
/** The same for publishing and asking: patient with a server that writes to a slow disk. */
const commandDeadline = 10;

/**
 * A broker on Redis, wire-equal with kombu's. Connects when `connect` is called.
 *
 * Throws `ImproperlyConfigured` for a URL or options that cannot work.
 */
export function createRedisBroker(url: string, options: BrokerOptions): RedisBroker {
  const parsed = parseBrokerUrl(url);
  if (parsed.transport !== "redis") throw new ImproperlyConfigured("not the URL of a Redis broker");
  return new RedisBroker(url, redisAddress(parsed, url, options), options);
}

/**
 * Moves messages through Redis lists. It has at most three connections: one publishes and asks,
 * and from the first subscription on one takes and settles and one listens. What keeps results on
 * the same server may share them. While tasks block the event loop of a worker that runs them
 * itself, a thread has one more.
 */
export class RedisBroker implements Broker, RedisLender {
  readonly transport = "redis";
  readonly sharesConnections = true;
  readonly priorityOrder = "lowest-first";
  readonly displayUrl: string;
  readonly deadLetters: DeadLetters;
  readonly shelf: DeadLetters;
  readonly revokes: RedisNotes;
  readonly #url: string;
  readonly #address: RedisAddress;
  readonly #options: BrokerOptions;
  readonly #keys: RedisKeys;
  readonly #ledger: Ledger;
  readonly #subscriptions = new Set<RedisSubscription>();
  /** What was declared here; an exchange nobody declared counts as direct (protocol 6.3). */
  readonly #exchanges = new Map<string, Exchange["type"]>();
  #declared = new Map<string, Promise<void>>();
  #commands: RedisConnection | undefined;
  #outbox: Outbox | undefined;
  #connecting: Promise<void> | undefined;
  #flow: Promise<RedisFlow> | undefined;
  #openFlow: RedisFlow | undefined;
  #keeper: LeaseKeeper | undefined;
  #closed: Promise<void> | undefined;
  /** Steps that are not made yet. */
  readonly #handOvers = new Set<Deferred<boolean>>();
  /** Aborted by `close`: nobody waits for a connection that is still being made. */
  readonly #closing = new AbortController();

  constructor(url: string, address: RedisAddress, options: BrokerOptions) {
    this.#url = url;
    this.displayUrl = address.displayUrl;
    this.#address = address;
    this.#options = options;
    this.#keys = redisKeys(options.transportOptions, address.db);
    this.deadLetters = new RedisDeadLetters(() => this.#connected(), this.#keys, this.#keys.dead);
    this.shelf = new RedisDeadLetters(() => this.#connected(), this.#keys, this.#keys.shelf);
    this.revokes = new RedisNotes(() => this.#connected(), this.#keys.revokes);
    this.#ledger = new Ledger({
      mostDeadLetters: options.mostDeadLetters ?? mostDeadLetters,
      keys: this.#keys,
      db: address.db,
      connection: () =>
        this.#openFlow?.isOpen ? this.#openFlow.connection : this.#commands?.isOpen ? this.#commands : undefined,
      carry: () => this.#openFlow?.turn(),
      onParked: (now, due) => this.#openFlow?.alarm(now, due),
      onReturned: () => this.#openFlow?.wake(),
      onLapsed: () => {
        this.#keeper?.tell(this.#ledger.consumerId);
        this.#openFlow?.beginAnew();
      },
    });
  }

  connect(signal?: AbortSignal): Promise<void> {
    if (this.#closed !== undefined) return Promise.reject(brokerError(`${this.displayUrl} is closed`, true));
    if (this.#commands?.isOpen) return Promise.resolve();
    this.#connecting ??= this.#connect(signal).finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #connect(signal: AbortSignal | undefined): Promise<void> {
    const connection = await this.#open(commandDeadline, signal);
    if (this.#closed !== undefined) {
      connection.close();
      throw brokerError(`${this.displayUrl} is closed`, true);
    }
    this.#declared = new Map();
    this.#commands = connection;
    this.#outbox = new Outbox({
      connection,
      keys: this.#keys,
      typeOf: (exchange) => this.#typeOf(exchange),
      unroutable: (message) => brokerError(message, false),
    });
    this.#ledger.flush();
  }

  get db(): number {
    return this.#address.db;
  }

  async lend(address: RedisAddress): Promise<RedisConnection | null> {
    if (this.#closed !== undefined || !sameServer(address, this.#address)) return null;
    await this.connect();
    return this.#connected();
  }

  lendListener(address: RedisAddress): RedisConnection | null {
    const flow = this.#openFlow;
    if (this.#closed !== undefined || !flow?.isOpen || !sameServer(address, this.#address)) return null;
    return flow.listener.connection;
  }

  #open(deadline: number, signal?: AbortSignal): Promise<RedisConnection> {
    return RedisConnection.open({
      address: this.#address,
      error: brokerError,
      deadline: this.#address.socketTimeout ?? deadline,
      signal: signal ? AbortSignal.any([signal, this.#closing.signal]) : this.#closing.signal,
    });
  }

  declare(queue: Queue): Promise<void> {
    const { exchange } = queue;
    this.#exchanges.set(exchange.name, exchange.type);
    if (exchange.name === "") return Promise.resolve();
    const id = [queue.name, exchange.name, exchange.type, queue.routingKey].join("\n");
    const before = this.#declared.get(id);
    if (before !== undefined) return before;
    const declared = this.#bind(queue);
    this.#declared.set(id, declared);
    declared.catch(() => this.#declared.delete(id));
    return declared;
  }

  /** An empty queue is nothing in Redis: all that is to be made is the binding (protocol 6.4). */
  async #bind(queue: Queue): Promise<void> {
    const connection = this.#connected();
    const member = this.#bindingOf(queue);
    const added = [connection.call("sadd", bindingKey(this.#keys, queue.exchange.name), member)];
    if (queue.arguments["x-expires"] === undefined) {
      added.push(connection.call("sadd", permanentBindingKey(this.#keys, queue.exchange.name), member));
    }
    await Promise.all(added);
  }

  #bindingOf({ name, exchange, routingKey }: Queue): string {
    const pattern = exchange.type === "topic" ? topicPattern(routingKey) : "";
    return bindingMember(this.#keys, routingKey, pattern, name);
  }

  async publish(message: Message, address: Address): Promise<void> {
    this.#connected();
    return (this.#outbox as Outbox).publish({ message, address });
  }

  async publishMany(publications: readonly Publication[]): Promise<void> {
    this.#connected();
    return (this.#outbox as Outbox).publishMany(publications);
  }

  async handOver({ id, delivery, publications, result }: HandOverStep): Promise<boolean> {
    const sendings =
      publications.length === 0
        ? []
        : await sendingsOf(publications, this.#keys, this.#connected(), (name) => this.#typeOf(name));
    if (delivery !== null && !(delivery instanceof RedisDelivery && delivery.settle())) return false;
    const done = deferred<boolean>();
    const tag = delivery?.tag ?? "";
    if (result !== null && result.store !== "redis") throw new TypeError("a result of another store was handed over");
    this.#ledger.handOver({ id, tag, held: this.#ledger.heldKey, result, sendings, done });
    this.#handOvers.add(done);
    return done.promise.finally(() => this.#handOvers.delete(done));
  }

  #typeOf(exchange: string): Exchange["type"] {
    return this.#exchanges.get(exchange) ?? "direct";
  }

  async subscribe(options: SubscribeOptions): Promise<Subscription> {
    this.#connected();
    const flow = await this.#flowing();
    if (!options.noAck) {
      await flow.begin();
      if (this.#options.mayBlock) this.#keeper ??= this.#keepLease();
    }
    const subscription = new RedisSubscription({
      options,
      flow,
      ledger: this.#ledger,
      declare: (queue) => this.declare(queue),
      remove: (queue) => this.#remove(flow.connection, queue),
      onClosed: (closed) => {
        flow.remove(closed);
        this.#subscriptions.delete(closed);
      },
      maxBodySize: this.#options.maxBodySize,
      order: queueOrder(this.#options.transportOptions.queue_order_strategy),
    });
    flow.add(subscription);
    this.#subscriptions.add(subscription);
    return subscription;
  }

  /** Seconds. */
  get #visibilityTimeout(): number {
    return positive(this.#options.transportOptions.visibility_timeout) ?? 3600;
  }

  /** Undefined where there can be no thread: its options hold what cannot be handed to one, such as a function. */
  #keepLease(): LeaseKeeper | undefined {
    const { transportOptions, connectTimeout, useSsl, logger } = this.#options;
    return LeaseKeeper.start<RedisLease>({
      program: program("broker/redis/lease-thread"),
      birth: {
        url: this.#url,
        address: { transportOptions, connectTimeout, ...(useSsl === undefined ? {} : { useSsl }) },
        consumersKey: this.#keys.consumers,
        consumerId: this.#ledger.consumerId,
      },
      lease: leaseSeconds,
      longest: this.#visibilityTimeout,
      log: logger,
    });
  }

  /** The connections of subscriptions, made for the first and again after they were lost. */
  async #flowing(): Promise<RedisFlow> {
    for (let seen: Promise<RedisFlow> | undefined; this.#flow !== seen; ) {
      seen = this.#flow;
      const flow = await seen?.catch(() => undefined);
      if (flow?.isOpen) return flow;
    }
    if (this.#closed !== undefined) throw brokerError(`${this.displayUrl} is closed`, true);
    const opening = RedisFlow.open({
      open: () => this.#open(flowDeadline),
      ledger: this.#ledger,
      transportOptions: this.#options.transportOptions,
      log: this.#options.logger,
      // Acknowledgements would be told over it next, and wait for its longer deadline in vain.
      onSilence: () => this.#commands?.fail(new Error("the server does not answer")),
    });
    this.#flow = opening;
    const flow = await opening;
    this.#openFlow = flow;
    return flow;
  }

  async size(queue: string): Promise<number> {
    const connection = this.#connected();
    const lengths = queueLists(this.#keys, queue).map((list) => connection.call<number>("llen", list));
    return (await Promise.all(lengths)).reduce((sum, length) => sum + length, 0);
  }

  async peek(queue: string): Promise<Message | null> {
    const connection = this.#connected();
    const lists = queueLists(this.#keys, queue);
    const tails = await Promise.all(lists.map((list) => connection.call<string | null>("lindex", list, -1)));
    const text = tails.find((tail) => tail !== null) ?? null;
    return text === null ? null : decodeEnvelope(text).message;
  }

  parked(): Promise<number> {
    return this.#connected().call<number>("zcard", this.#keys.parked);
  }

  parkedMessages(options: ParkedOptions): Promise<readonly ParkedMessage[]> {
    return readParked(this.#connected(), this.#keys, options);
  }

  locate(options: LocateOptions): Promise<Located> {
    return locateIn(this.#connected(), this.#keys, options, this.#visibilityTimeout);
  }

  async purge(queue: string): Promise<number> {
    const lists = queueLists(this.#keys, queue);
    const commands = lists.flatMap((list) => [
      ["llen", list],
      ["del", list],
    ]);
    const answers = await this.#atomically(this.#connected(), commands);
    return answers.filter((_, index) => index % 2 === 0).reduce((sum, length) => sum + length, 0);
  }

  async delete(queue: Queue): Promise<void> {
    await this.#remove(this.#connected(), queue);
  }

  async #remove(connection: RedisConnection, queue: Queue): Promise<void> {
    for (const id of [...this.#declared.keys()]) if (id.startsWith(`${queue.name}\n`)) this.#declared.delete(id);
    if (queue.exchange.name !== "") {
      const member = this.#bindingOf(queue);
      await connection.call("srem", bindingKey(this.#keys, queue.exchange.name), member);
      await connection.call("srem", permanentBindingKey(this.#keys, queue.exchange.name), member);
    }
    await this.#atomically(
      connection,
      queueLists(this.#keys, queue.name).map((list) => ["del", list]),
    );
  }

  /** MULTI … EXEC: all of them in one step. */
  async #atomically(connection: RedisConnection, commands: readonly string[][]): Promise<number[]> {
    const answers = await connection.watch(connection.client.multi([...commands]).exec());
    return (answers ?? []).map(([error, answer]) => {
      if (error !== null) throw brokerError(`${this.displayUrl} refused a command: ${error.message}`, false, error);
      return Number(answer);
    });
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#closing.abort(brokerError(`${this.displayUrl} is closed`, true));
    await this.#connecting?.catch(() => undefined);
    await Promise.all([...this.#subscriptions].map((subscription) => subscription.close()));
    const flow = await this.#flow?.catch(() => undefined);
    // What subscriptions that were lost still hold.
    const held = [...this.#ledger.held].filter((delivery) => delivery.settle());
    if (held.length > 0) {
      this.#ledger
        .giveBack(
          held.map(({ tag }) => tag as string),
          "RPUSH",
        )
        .catch(() => undefined);
    }
    await this.#ledger.drain();
    for (const step of this.#handOvers) step.reject(brokerError(`${this.displayUrl} is closed`, true));
    this.#keeper?.stop();
    await flow?.end().catch(() => undefined);
    flow?.close();
    this.#commands?.close();
  }

  /** What `kill -9` of this process would do to the broker: connections end, nothing is given back. For tests of those who survive. */
  abandon(): void {
    this.#closed ??= Promise.resolve();
    this.#keeper?.stop();
    this.#openFlow?.close();
    this.#commands?.close();
  }

  #connected(): RedisConnection {
    const connection = this.#commands;
    if (this.#closed === undefined && connection?.isOpen) return connection;
    const state =
      this.#closed !== undefined ? "closed" : connection === undefined ? "not connected yet" : "not connected";
    throw brokerError(`${this.displayUrl} is ${state}`, true);
  }
}

function queueOrder(strategy: unknown): QueueOrder {
  if (strategy === undefined || strategy === null || strategy === "round_robin") return "round_robin";
  if (strategy === "priority" || strategy === "sorted") return strategy;
  throw new ImproperlyConfigured(
    `the transport option queue_order_strategy must be round_robin, priority or sorted, got: ${JSON.stringify(strategy)}`,
  );
}
