import type { Message as AmqpMessage } from "amqplib";
import type { Message } from "../../protocol/message.ts";
import type { Place } from "../../util/chain.ts";
import type { Address, Delivery, Queue, Rejection } from "../broker.ts";
import type { Received } from "./wire.ts";

/** Why a message is rejected, and whether others may run it. */
export interface Burial {
  readonly reason: string;
  readonly shelf: boolean;
}

/** What a delivery asks of the subscription it came by. */
export interface Settler {
  readonly lost: boolean;
  ack(delivery: AmqpDelivery): Promise<void>;
  park(delivery: AmqpDelivery, due: Date): Promise<void>;
  requeue(delivery: AmqpDelivery, headers: Rejection["headers"]): Promise<void>;
  bury(delivery: AmqpDelivery, about: Burial): Promise<void>;
}

/** A message in hand, bound to the one channel it came by: no other can settle it. */
export class AmqpDelivery implements Delivery {
  readonly source: Queue;
  /** As amqplib read it: what has to be known to publish it again unchanged. */
  readonly raw: AmqpMessage;
  readonly received: Received;
  /** Under which it is to be settled; null when it counted as settled from the start. */
  readonly place: Place<number> | null;
  readonly #settler: Settler;
  #settled: boolean;

  constructor(source: Queue, raw: AmqpMessage, received: Received, settler: Settler, place: Place<number> | null) {
    this.source = source;
    this.raw = raw;
    this.received = received;
    this.#settler = settler;
    this.place = place;
    this.#settled = place === null;
  }

  get queue(): string {
    return this.source.name;
  }

  get tag(): number {
    return this.raw.fields.deliveryTag;
  }

  get message(): Message {
    return this.received.message;
  }

  get address(): Address {
    return this.received.address;
  }

  get redelivered(): boolean {
    return this.received.redelivered;
  }

  get damage(): string | null {
    return this.received.damage;
  }

  get lost(): boolean {
    return !this.#settled && this.#settler.lost;
  }

  ack(): Promise<void> {
    return this.#settle(() => this.#settler.ack(this));
  }

  park(due: Date): Promise<void> {
    return this.#settle(() => this.#settler.park(this, due));
  }

  reject({ requeue, reason = "", shelf = false, headers }: Rejection): Promise<void> {
    if (requeue) return this.#settle(() => this.#settler.requeue(this, headers));
    return this.#settle(() => this.#settler.bury(this, { reason, shelf }));
  }

  /** A settling that failed did not count: the message is still in hand, or came to be lost. */
  #settle(settling: () => Promise<void>): Promise<void> {
    if (this.#settled || this.#settler.lost) return Promise.resolve();
    this.#settled = true;
    const done = settling().catch((error: unknown) => {
      this.#settled = false;
      throw error;
    });
    // Whoever does not wait must not be ended by an unhandled rejection: a lost message comes again.
    done.catch(() => undefined);
    return done;
  }
}
