import { createHash } from "node:crypto";
import type { Link } from "./link.ts";
import { encodeTable } from "./wire.ts";

/**
 * Delays inside the broker: nothing of tq need run while a message waits.
 *
 * Level n is a queue whose messages expire after 2^n quarters of a second. The wait, in
 * quarters, is written into the routing key in binary, lowest digit first; where digit n is 1
 * the message passes through level n, where it is 0 it is handed on to level n-1. Below level
 * 0 the first word of the key leads back to the queue. (Celery's own delay levels, protocol
 * 7.4, work the same way from the highest of 28 digits; a key that is only as long as the wait
 * costs the broker a tenth. The names differ, so nothing of Celery's is declared otherwise.)
 */
const prefix = "tq_delayed_";
const delivery = `${prefix}delivery`;
const unitMs = 250;
/** 2^27 quarters of a second are 388 days; a longer wait passes through again. */
const levels = 28;

export const longestWaitMs = (2 ** levels - 1) * unitMs;

/** Where a message has to be published to come back to its queue after a while. */
export interface DelayRoute {
  readonly exchange: string;
  readonly routingKey: string;
  /** The highest level on the way; it and those below must exist. Negative when there is nothing to wait for. */
  readonly level: number;
}

/** The way through the levels for a wait of `ms`, rounded up to the quarter second. Pure. */
export function delayRoute(queue: string, ms: number): DelayRoute {
  const units = Math.ceil(Math.min(Math.max(ms, 0), longestWaitMs) / unitMs);
  if (units === 0) return { exchange: "", routingKey: queue, level: -1 };
  const digits = [...units.toString(2)].reverse();
  const level = digits.length - 1;
  return { exchange: prefix + level, routingKey: [queueWord(queue), ...digits].join("."), level };
}

/** A queue's name as one word of a routing key: no dots, no wildcards, at most 150 bytes, different for different queues. */
function queueWord(queue: string): string {
  const word = encodeURIComponent(queue).replaceAll(".", "%2E").replaceAll("*", "%2A");
  return word.length <= 150 ? word : `%${createHash("sha256").update(queue).digest("hex")}`;
}

/** Declares levels and bindings when they are first needed on a link, and remembers that it did. */
export class Parking {
  readonly #link: Link;
  readonly #bound = new Map<string, Promise<void>>();
  #declared = -1;
  #declaring: Promise<void> = Promise.resolve();

  constructor(link: Link) {
    this.#link = link;
  }

  /** Makes the way back to `queue` exist from `level` down. */
  async prepare(queue: string, level: number): Promise<void> {
    if (level > this.#declared) {
      const declare = (): Promise<void> => this.#declareUpTo(level);
      this.#declaring = this.#declaring.then(declare, declare);
      await this.#declaring;
    }
    let bound = this.#bound.get(queue);
    if (!bound) {
      bound = this.#link.control(async (channel) => {
        await channel.bindQueue(queue, delivery, `${queueWord(queue)}.#`);
      });
      this.#bound.set(queue, bound);
      bound.catch(() => this.#bound.delete(queue));
    }
    await bound;
  }

  /** The queue was deleted, and its binding with it. */
  forget(queue: string): void {
    this.#bound.delete(queue);
  }

  async #declareUpTo(level: number): Promise<void> {
    if (level <= this.#declared) return;
    const [major, minor] = this.#link.version;
    // Only quorum queues hand expired messages on without a moment in which a crash loses them.
    const isSafe = major > 3 || (major === 3 && minor >= 10);
    await this.#link.control(async (channel) => {
      await channel.assertExchange(delivery, "topic", { durable: true });
      for (let n = this.#declared + 1; n <= level; n += 1) {
        const name = prefix + n;
        const next = n === 0 ? delivery : prefix + (n - 1);
        const before = "*.".repeat(n + 1);
        await channel.assertExchange(name, "topic", { durable: true });
        await channel.assertQueue(name, {
          durable: true,
          arguments: encodeTable({
            "x-message-ttl": 2 ** n * unitMs,
            "x-dead-letter-exchange": next,
            "x-overflow": "reject-publish",
            ...(isSafe ? { "x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once" } : {}),
          }),
        });
        await channel.bindQueue(name, name, `${before}1.#`);
        await channel.bindExchange(next, name, `${before}0.#`);
      }
    });
    this.#declared = level;
  }
}
