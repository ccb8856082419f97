import type { Message } from "../protocol/message.ts";
import type { Notes } from "./notes.ts";
import type { Located, LocateOptions } from "./whereabouts.ts";

export interface Exchange {
  readonly name: string;
  readonly type: "direct" | "topic" | "fanout";
  readonly durable: boolean;
}

export interface Queue {
  readonly name: string;
  readonly exchange: Exchange;
  readonly routingKey: string;
  readonly durable: boolean;
  readonly autoDelete: boolean;
  readonly exclusive: boolean;
  /** Queue arguments under AMQP's names: `x-max-priority`, `x-queue-type`, `x-expires` … */
  readonly arguments: Readonly<Record<string, unknown>>;
}

/** Where a message goes. An empty exchange means: the queue named by the routing key. */
export interface Address {
  readonly exchange: string;
  readonly routingKey: string;
  /** Kind of the exchange; `direct` when left out. Redis needs it to tell PUBLISH from LPUSH. */
  readonly type?: Exchange["type"];
}

export interface Publication {
  readonly message: Message;
  readonly address: Address;
}

/**
 * Moves messages. Knows nothing of tasks.
 *
 * Every method rejects with `BrokerConnectionError` when the connection is lost or cannot be
 * made, and none retries: whoever calls decides whether and how long to retry. `connect` may
 * be called again after a loss and then makes a new connection; called while connected it
 * does nothing. Concurrent calls share one attempt.
 */
export interface Broker {
  readonly transport: "redis" | "amqp" | "sqlite" | "memory";
  /** The URL with its password masked: safe to print. */
  readonly displayUrl: string;
  /** Which messages of one queue go first: Redis and the stores like it serve 0 first, RabbitMQ 9. */
  readonly priorityOrder: "lowest-first" | "highest-first";
  /**
   * Whether its connections may carry what else this process has for the same server: what tasks
   * send, and their results. Not RabbitMQ's: one that publishes may be held up, acknowledgements with it.
   */
  readonly sharesConnections?: boolean;
  connect(signal?: AbortSignal): Promise<void>;
  /** Makes the queue, its exchange and the binding exist. Idempotent, remembered per connection. */
  declare(queue: Queue): Promise<void>;
  /** Resolves when the broker has taken the message: it survives a crash of this process from then on. */
  publish(message: Message, address: Address): Promise<void>;
  /** The same for many at once: one round trip, or few. All of them are taken when it resolves. */
  publishMany(publications: readonly Publication[]): Promise<void>;
  subscribe(options: SubscribeOptions): Promise<Subscription>;
  /** Messages waiting; those delivered, parked or dead are not counted. 0 for a queue that does not exist. */
  size(queue: string): Promise<number>;
  /**
   * The message that would be delivered next, left where it is; its body may be left out. Null for an
   * empty queue, and always on RabbitMQ, which shows no message without handing it over.
   */
  peek(queue: string): Promise<Message | null>;
  /** Messages parked on this broker, whichever queue they go back to. */
  parked(): Promise<number>;
  /**
   * What is parked and goes back to these queues, soonest due first, left where it is; for display.
   * Bodies above `mostParkedBody` are left out. Of what is parked on the broker it looks at the
   * soonest `mostParkedLooked` only. Always empty on RabbitMQ, which shows no message without handing it over.
   */
  parkedMessages(options: ParkedOptions): Promise<readonly ParkedMessage[]>;
  /**
   * Where the messages of these tasks are, left where they are. Messages move meanwhile: what was
   * found is somewhere, what was not found may just have been settled, or been sent after the look at its queue.
   */
  locate(options: LocateOptions): Promise<Located>;
  /** Removes the waiting messages and says how many they were. 0 for a queue that does not exist. */
  purge(queue: string): Promise<number>;
  /** Removes the queue, its binding and what waits in it. */
  delete(queue: Queue): Promise<void>;
  readonly deadLetters: DeadLetters;
  /** What nobody here could run, but others may: kept until one of these fetches it. */
  readonly shelf: DeadLetters;
  /** What was revoked, for workers that did not hear of it (`control/revoke-notes.ts`). */
  readonly revokes: Notes;
  /**
   * What a task leaves behind, in one atomic step: its result, what follows it, and the end of its
   * message. Only where messages and results are in one store (`config/shared-store.ts`).
   *
   * Resolves to false, and nothing was done, when the delivery is no longer ours: whoever has it now
   * runs the task again. After a loss of the connection the step is made over the next one, once.
   * Rejects when the store refuses it; the delivery then goes back to its queue.
   */
  handOver?(step: HandOverStep): Promise<boolean>;
  /** Idempotent. Subscriptions still open are closed first: what they hold goes back. */
  close(): Promise<void>;
}

export interface ParkedOptions {
  readonly queues: readonly string[];
  /** Most messages to show. */
  readonly limit: number;
}

/** A message that waits in the broker for its time. */
export interface ParkedMessage {
  /** Its body is empty when it is larger than `mostParkedBody`. */
  readonly message: Message;
  readonly address: Address;
  /** To which it goes back. */
  readonly queue: string;
  readonly due: Date;
  readonly redelivered: boolean;
}

/** Bytes of a parked message's body that are shown. */
export const mostParkedBody = 3072;

/** Parked messages looked through for those of the queues asked for. */
export const mostParkedLooked = 10_000;

export interface HandOverStep {
  /** Unique; a step is made once under it, however often it has to be asked for. */
  readonly id: string;
  /** Acknowledged by the step; null for one that was before. */
  readonly delivery: Delivery | null;
  readonly publications: readonly Publication[];
  readonly result: SharedWrite | null;
}

/** A result as the store that keeps it wants it written by the broker of the same server (`ResultBackend.sharedWrite`). */
export type SharedWrite =
  | {
      readonly store: "redis";
      readonly db: number;
      /** Also the channel on which the value is published. */
      readonly key: string;
      readonly value: string | Buffer;
      /** 0: for ever. */
      readonly seconds: number;
    }
  /** Runs inside the broker's transaction on the same file, which both have open as one connection. */
  | { readonly store: "sqlite"; readonly path: string; readonly write: () => void };

export interface SubscribeOptions {
  /** Node name of the consumer, for leases and for the record of dead letters. */
  readonly node: string;
  /** Most deliveries to hold unsettled; 0 is no bound. */
  readonly prefetch: number;
  /**
   * Deliveries in hand that keep the consumer busy for a moment: while it holds as many, a broker may
   * settle and fetch in larger steps. `prefetch` unless told: what makes room is filled at once.
   */
  readonly enough?: number;
  /** Deliveries count as settled when handed over (events, replies). */
  readonly noAck?: boolean;
  /** Called in order of arrival; must not throw. */
  readonly onDelivery: (delivery: Delivery) => void;
  /**
   * Called once, when the flow has ended without `close`: the connection is gone, or a watchdog
   * saw that messages wait and do not come. Deliveries then marked `lost` will come again.
   */
  readonly onLost: (error: Error) => void;
}

/** One flow of deliveries over any number of queues, under one prefetch count. */
export interface Subscription {
  /** Adds a queue (declared if it is not yet). Several queues take turns. */
  consume(queue: Queue): Promise<void>;
  cancel(queue: string): Promise<void>;
  setPrefetch(count: number, enough?: number): void;
  /** Deliver nothing more; what is unsettled can still be settled. */
  pause(): void;
  resume(): void;
  /**
   * Returns deliveries of this flow to where they were in their queues, oldest first in line,
   * marked redelivered; what is settled already stays so. Pause first, or they come again at once.
   */
  giveBack(deliveries: readonly Delivery[]): Promise<void>;
  /** Ends the flow. What is unsettled goes back to its queue, oldest first in line. Idempotent. */
  close(): Promise<void>;
}

/** A message in hand. Settled exactly once: the first `ack`, `park` or `reject` counts, others do nothing. */
export interface Delivery {
  readonly message: Message;
  readonly queue: string;
  /** As the message itself says it was sent (`delivery_info`); for display and retries. */
  readonly address: Address;
  readonly redelivered: boolean;
  /**
   * What makes this a message nobody can run: an envelope that is not JSON, misses fields, or is
   * larger than the limit. Null for a sound one. A damaged delivery still has a `message`
   * (its parts that could be read) and is settled like any other.
   */
  readonly damage: string | null;
  /**
   * The broker took it back with a lost connection: it will come again, settling does
   * nothing. Happens with AMQP; Redis and SQLite do not tie deliveries to a connection.
   */
  readonly lost: boolean;
  /** Resolves when the broker has forgotten the message. Acks of one tick travel together. */
  ack(): Promise<void>;
  /** Stores the message in the broker until `due`, then queues it again. Settles this delivery. */
  park(due: Date): Promise<void>;
  /** Back into the queue, behind what waits, marked redelivered; or, without `requeue`, into the dead-letter store. */
  reject(rejection: Rejection): Promise<void>;
}

/** What becomes of a message that is not acknowledged. */
export interface Rejection {
  readonly requeue: boolean;
  /** Why it is kept among the dead letters, or on the shelf. */
  readonly reason?: string;
  /** Without `requeue`: onto the shelf rather than among the dead letters. */
  readonly shelf?: boolean;
  /** With `requeue`: what the message's headers are to say besides. */
  readonly headers?: Readonly<Record<string, unknown>>;
}

/** A message nobody could or would run, kept with the reason. */
export interface DeadLetter {
  /** Of this entry, not of the task. */
  readonly id: string;
  readonly queue: string;
  readonly reason: string;
  readonly at: Date;
  /** Node that rejected it. */
  readonly node: string;
  /** Bytes of the message as stored. */
  readonly size: number;
  /** Null when it could not be read; `raw` then has its beginning. */
  readonly message: Message | null;
  readonly raw: string | null;
}

/** What was rejected without requeue. */
export interface DeadLetters {
  count(): Promise<number>;
  /** Newest first. */
  list(options?: { readonly limit?: number; readonly offset?: number }): Promise<readonly DeadLetter[]>;
  /** Puts entries back into their queues, unchanged but for `redelivered` and the count of such (`marks.ts`); says how many there were. */
  redrive(ids: readonly string[]): Promise<number>;
  /** Forgets the entries given, or all. */
  purge(ids?: readonly string[]): Promise<number>;
}
