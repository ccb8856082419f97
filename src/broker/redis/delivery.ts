import { randomUUID } from "node:crypto";
import { encodeEnvelope, markRedelivered } from "../../protocol/envelope.ts";
import type { Message } from "../../protocol/message.ts";
import type { Place } from "../../util/chain.ts";
import type { Address, Delivery, Rejection } from "../broker.ts";
import type { HeldDelivery, Ledger } from "./ledger.ts";

/** What a delivery is made of. */
export interface DeliveryParts {
  readonly message: Message;
  readonly address: Address;
  readonly redelivered: boolean;
  readonly damage: string | null;
  readonly queue: string;
  /** Under which it is registered; null when it counted as settled from the start. */
  readonly tag: string | null;
  /** Node name for the record of dead letters. */
  readonly node: string;
  /** Whose prefetch count it is in. */
  readonly owner: object;
  /** Called when it is settled: there is room again. */
  readonly onSettled: () => void;
}

/** A message taken from Redis. It belongs to this process's lease, not to a connection. */
export class RedisDelivery implements Delivery, HeldDelivery {
  readonly message: Message;
  readonly address: Address;
  readonly queue: string;
  readonly redelivered: boolean;
  readonly damage: string | null;
  readonly tag: string | null;
  readonly owner: object;
  readonly #ledger: Ledger;
  readonly #node: string;
  readonly #onSettled: () => void;
  readonly #place: Place<HeldDelivery> | undefined;
  #state: "held" | "settled" | "lost";

  constructor(ledger: Ledger, parts: DeliveryParts) {
    this.message = parts.message;
    this.address = parts.address;
    this.queue = parts.queue;
    this.redelivered = parts.redelivered;
    this.damage = parts.damage;
    this.tag = parts.tag;
    this.owner = parts.owner;
    this.#ledger = ledger;
    this.#node = parts.node;
    this.#onSettled = parts.onSettled;
    this.#state = parts.tag === null ? "settled" : "held";
    this.#place = parts.tag === null ? undefined : ledger.held.add(this);
  }

  get lost(): boolean {
    return this.#state === "lost";
  }

  ack(): Promise<void> {
    return this.settle() ? this.#ledger.ack(this.tag as string) : Promise.resolve();
  }

  park(due: Date): Promise<void> {
    return this.settle() ? this.#ledger.park(this, due) : Promise.resolve();
  }

  reject({ requeue, reason = "", shelf = false, headers }: Rejection): Promise<void> {
    if (!this.settle()) return Promise.resolve();
    const tag = this.tag as string;
    if (requeue && headers !== undefined) {
      const envelope = encodeEnvelope(this.message, this.address, randomUUID());
      return this.#ledger.requeueAs(this, markRedelivered(envelope, headers));
    }
    if (requeue) return this.#ledger.giveBack([tag], "LPUSH");
    return this.#ledger.bury(tag, { queue: this.queue, reason, node: this.#node, shelf });
  }

  /** True for the one who settles it. */
  settle(): boolean {
    return this.#leave("settled");
  }

  /** The lease was lost: somebody else has the message now. */
  lose(): void {
    this.#leave("lost");
  }

  #leave(state: "settled" | "lost"): boolean {
    if (this.#state !== "held" || this.#place === undefined) return false;
    this.#state = state;
    this.#ledger.held.remove(this.#place);
    this.#onSettled();
    return true;
  }
}
