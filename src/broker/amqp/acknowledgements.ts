import type { Message as AmqpMessage } from "amqplib";
import { Chain, type Place } from "../../util/chain.ts";
import { planAcks } from "./acks.ts";
import type { LinkChannel } from "./link.ts";

/** An ack to be written with the others of this tick. */
interface Due extends Proof {
  readonly place: Place<number>;
}

interface Proof {
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/**
 * Writes the acknowledgements of one channel: those of one tick together, as few as can be, and
 * proves to whoever waits that the broker has read them. An ack has no answer; a question asked
 * after it on the same channel has, and a channel is read in order.
 */
export class Acknowledgements {
  readonly #held: LinkChannel;
  /** Delivery tags unsettled at the broker, in order. */
  readonly #outstanding = new Chain<number>();
  #due: Due[] = [];
  #scheduled = false;
  /** Those written, waiting for the proof. */
  #unproven: Proof[] = [];
  #proving = false;
  #ended = false;

  constructor(held: LinkChannel) {
    this.#held = held;
  }

  /** A message came that will have to be settled: under the place that is given here. */
  expect(tag: number): Place<number> {
    return this.#outstanding.add(tag);
  }

  /** Resolves when the broker has forgotten the message. */
  ack(place: Place<number>): Promise<void> {
    if (!this.#scheduled) {
      this.#scheduled = true;
      setImmediate(() => this.flush());
    }
    return new Promise((resolve, reject) => {
      this.#due.push({ place, resolve, reject });
    });
  }

  /** Gives a message back at once, or drops it; resolves when the broker has done so. */
  reject(place: Place<number>, requeue: boolean): Promise<void> {
    this.#held.channel.reject(messageOf(place.value), requeue);
    this.#outstanding.remove(place);
    return new Promise((resolve, reject) => {
      this.#unproven.push({ resolve, reject });
      void this.#prove();
    });
  }

  /** Writes what is due now. */
  flush(): void {
    this.#scheduled = false;
    if (this.#due.length === 0 || this.#ended) return;
    const written = this.#due;
    this.#due = [];
    const tags = written.map(({ place }) => place.value);
    for (const { place } of written) this.#outstanding.remove(place);
    const lowest = this.#outstanding.first ?? null;
    this.#unproven = this.#unproven.concat(written);
    try {
      for (const { tag, multiple } of planAcks(tags, lowest)) {
        this.#held.channel.ack(messageOf(tag), multiple);
      }
    } catch {
      // The connection is closing this instant; the channel's end tells whoever waits for the proof.
      return;
    }
    void this.#prove();
  }

  /** Nothing more is written. Proofs still awaited are left to `settle`. */
  end(): void {
    this.#ended = true;
    this.#outstanding.clear();
  }

  /** Tells whoever still waits that all is settled, or why it never will be. */
  settle(error: Error | null): void {
    for (const { resolve, reject } of [...this.#unproven.splice(0), ...this.#due.splice(0)]) {
      if (error) reject(error);
      else resolve();
    }
  }

  async #prove(): Promise<void> {
    if (this.#proving) return;
    this.#proving = true;
    while (this.#unproven.length > 0 && !this.#ended) {
      const asked = this.#unproven.length;
      try {
        await this.#held.channel.checkExchange("amq.direct");
      } catch {
        break;
      }
      for (const { resolve } of this.#unproven.splice(0, asked)) resolve();
    }
    this.#proving = false;
  }
}

/** As much of a message as amqplib wants to know to settle it. */
const messageOf = (deliveryTag: number): AmqpMessage => ({ fields: { deliveryTag } }) as AmqpMessage;
