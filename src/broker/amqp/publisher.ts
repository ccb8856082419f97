import { setImmediate as nextTurn } from "node:timers/promises";
import type { ConfirmChannel, Options } from "amqplib";
import { MessageTooLarge, OperationalError } from "../../errors.ts";
import { Chain } from "../../util/chain.ts";
import { refused, textOf } from "./failures.ts";
import type { Link, LinkChannel } from "./link.ts";

/** One message, ready to be written. */
export interface Outgoing {
  readonly exchange: string;
  readonly routingKey: string;
  readonly content: Buffer;
  readonly options: Options.Publish;
  /** Whether it is an error when no queue takes it. */
  readonly mandatory: boolean;
}

interface Pending {
  readonly outgoing: Outgoing;
  readonly settle: (error: Error | null) => void;
}

/** Most messages written and not confirmed, beyond which `publishAll` waits; bounds memory. */
const window = 8_192;
/** Messages written before the event loop gets a turn. */
const burst = 256;

/**
 * Publishes over one link with publisher confirms: what `publish` resolved for, the broker has.
 * Any number of messages wait for their confirms at once.
 */
export class Publisher {
  readonly #link: Link;
  readonly #onRefusal: () => void;
  #channel: LinkChannel<ConfirmChannel> | null = null;
  #opening: Promise<LinkChannel<ConfirmChannel>> | null = null;
  /** In the order they were written, which is the order in which the broker returns them. */
  readonly #pending = new Chain<Pending>();

  /** `onRefusal` is called when the broker knows no such exchange or no such queue: what was declared is gone. */
  constructor(link: Link, onRefusal: () => void) {
    this.#link = link;
    this.#onRefusal = onRefusal;
    link.watch(() => this.#pending.size > 0);
  }

  /** Opens the channel, so that the first publish need not. */
  async open(): Promise<void> {
    if (this.#channel?.open) return;
    this.#opening ??= this.#link
      .openConfirmChannel()
      .then((held) => {
        held.channel.on("return", (message) => this.#returned(message.fields, message.properties.correlationId));
        held.channel.on("close", () => this.#closed(held));
        this.#channel = held;
        return held;
      })
      .finally(() => {
        this.#opening = null;
      });
    await this.#opening;
  }

  /**
   * Resolves when the broker has taken the message. Rejects with `OperationalError` when no queue
   * takes a mandatory one or the broker refuses it, with `BrokerConnectionError` when the link goes.
   */
  async publish(outgoing: Outgoing): Promise<void> {
    if (!this.#channel?.open) await this.open();
    return new Promise((resolve, reject) => {
      this.#write(outgoing, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** The same for many, in order; the rejection is that of the first which failed. */
  async publishAll(all: Iterable<Outgoing>): Promise<void> {
    await this.open();
    let waiting = 0;
    let written = 0;
    let failure: Error | null = null;
    let wake: (() => void) | null = null;
    const settle = (error: Error | null): void => {
      waiting -= 1;
      failure ??= error;
      wake?.();
    };
    const until = async (most: number): Promise<void> => {
      while (waiting > most) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        wake = null;
      }
    };
    for (const outgoing of all) {
      if (failure) break;
      waiting += 1;
      this.#write(outgoing, settle);
      written += 1;
      if (written % burst === 0) await nextTurn();
      if (waiting >= window) await until(window / 2);
    }
    await until(0);
    if (failure) throw failure;
  }

  #write(outgoing: Outgoing, settled: (error: Error | null) => void): void {
    const held = this.#channel;
    if (!held?.open) {
      settled(this.#link.failure ?? refused("the message was not sent", held?.failure ?? "the channel is closed"));
      return;
    }
    const pending: Pending = {
      outgoing,
      settle: (error) => {
        if (this.#pending.remove(place)) settled(error);
      },
    };
    const place = this.#pending.add(pending);
    const { exchange, routingKey, content, options, mandatory } = outgoing;
    try {
      held.channel.publish(exchange, routingKey, content, mandatory ? { ...options, mandatory } : options, (error) => {
        if (!error) pending.settle(null);
        // A closing channel fails everything in it first; `#closed` knows better why.
        else
          queueMicrotask(
            () => held.open && pending.settle(refused(`the broker did not take ${what(outgoing)}`, error)),
          );
      });
    } catch (error) {
      pending.settle(this.#link.failure ?? notWritten(outgoing, error));
    }
  }

  /** A return names no message: it is the oldest one still waiting that went the same way under the same id. */
  #returned(fields: { readonly exchange: string; readonly routingKey: string }, correlationId: unknown): void {
    for (const pending of this.#pending) {
      const { exchange, routingKey, options, mandatory } = pending.outgoing;
      if (!mandatory || exchange !== fields.exchange || routingKey !== fields.routingKey) continue;
      if (options.correlationId !== correlationId) continue;
      this.#onRefusal();
      pending.settle(unroutable(pending.outgoing));
      return;
    }
  }

  #closed(held: LinkChannel<ConfirmChannel>): void {
    if (this.#channel === held) this.#channel = null;
    this.#onRefusal();
    if (this.#pending.size === 0) return;
    const waiting = [...this.#pending];
    // The reason of a lost link is known only after its channels were closed.
    queueMicrotask(() => {
      for (const pending of waiting) {
        pending.settle(
          this.#link.failure ??
            refused(`the broker closed the channel before it confirmed ${what(pending.outgoing)}`, held.failure),
        );
      }
    });
  }
}

const what = (outgoing: Outgoing): string => `a message for ${nameOf(outgoing)}`;

const nameOf = ({ exchange, routingKey }: Outgoing): string =>
  exchange === "" ? `queue ${JSON.stringify(routingKey)}` : `exchange ${JSON.stringify(exchange)}`;

function unroutable({ exchange, routingKey }: Outgoing): OperationalError {
  return new OperationalError(
    exchange === ""
      ? `no queue ${JSON.stringify(routingKey)} exists on the broker, so the message was not taken: ` +
          "declare it first, or start a worker that consumes it"
      : `no queue is bound to exchange ${JSON.stringify(exchange)} with routing key ${JSON.stringify(routingKey)}, ` +
          "so the message was not taken",
  );
}

function notWritten(outgoing: Outgoing, error: unknown): Error {
  if (error instanceof RangeError && /table|encoding buffer/.test(error.message)) {
    const limit = 65_536;
    return new MessageTooLarge(
      `the headers of ${what(outgoing)} are larger than the ${limit} bytes AMQP leaves them: ` +
        "put large values into the arguments instead",
      limit + 1,
      limit,
    );
  }
  return new OperationalError(`${what(outgoing)} cannot be written: ${textOf(error)}`, { cause: error });
}
