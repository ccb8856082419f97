import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Channel } from "amqplib";
import type { Link } from "./link.ts";
import { ifExists } from "./topology.ts";
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

/** The queues in which messages wait. */
export const delayQueues: readonly string[] = Array.from({ length: levels }, (_, level) => prefix + level);

export const longestWaitMs = (2 ** levels - 1) * unitMs;

/** Where a message has to be published to come back to its queue after a while. */
export interface DelayRoute {
  readonly exchange: string;
  readonly routingKey: string;
}

/** The way through the levels for a wait of `ms`, rounded up to the quarter second. Pure. */
export function delayRoute(queue: string, ms: number): DelayRoute {
  const units = Math.ceil(Math.min(Math.max(ms, 0), longestWaitMs) / unitMs);
  if (units === 0) return { exchange: "", routingKey: queue };
  const digits = [...units.toString(2)].reverse();
  return { exchange: prefix + (digits.length - 1), routingKey: [queueWord(queue), ...digits].join(".") };
}

/** A queue's name as one word of a routing key: no dots, no wildcards, at most 150 bytes, different for different queues. */
function queueWord(queue: string): string {
  const word = encodeURIComponent(queue).replaceAll(".", "%2E").replaceAll("*", "%2A");
  return word.length <= 150 ? word : `%${createHash("sha256").update(queue).digest("hex")}`;
}

/**
 * Milliseconds until a quorum queue just made survives a kill of its broker: RabbitMQ writes down
 * that the queue has a log some three seconds after it has begun to write the log, and starts a
 * queue it has no note of empty.
 */
const settlingMs = 4_000;
/** An exchange that exists once the levels have settled. */
const settled = `${prefix}settled`;

/** Declares the levels when they are first needed on a link, and remembers that it did. */
export class Parking {
  readonly #link: Link;
  readonly #bound = new Map<string, Promise<void>>();
  readonly #prepared = new Set<string>();
  #levels: Promise<void> | null = null;

  constructor(link: Link) {
    this.#link = link;
  }

  /** Whether the way back to `queue` exists and can be trusted. */
  isPrepared(queue: string): boolean {
    return this.#prepared.has(queue);
  }

  /** Makes the way through the levels back to `queue` exist, and to be trusted. */
  async prepare(queue: string): Promise<void> {
    this.#levels ??= this.#declareLevels().catch((error: unknown) => {
      this.#levels = null;
      throw error;
    });
    await this.#levels;
    let bound = this.#bound.get(queue);
    if (!bound) {
      bound = this.#link.control(async (channel) => {
        await channel.bindQueue(queue, delivery, `${queueWord(queue)}.#`);
      });
      this.#bound.set(queue, bound);
      bound.catch(() => this.#bound.delete(queue));
    }
    await bound;
    if (this.#bound.get(queue) === bound) this.#prepared.add(queue);
  }

  /** The queue was deleted, and its binding with it. */
  forget(queue: string): void {
    this.#bound.delete(queue);
    this.#prepared.delete(queue);
  }

  async #declareLevels(): Promise<void> {
    const [major, minor] = this.#link.version;
    // Only quorum queues hand expired messages on without a moment in which a crash loses them.
    const isSafe = major > 3 || (major === 3 && minor >= 10);
    await this.#link.control(async (channel) => {
      await channel.assertExchange(delivery, "topic", { durable: true });
      for (let level = 0; level < levels; level += 1) await declareLevel(channel, level, isSafe);
    });
    if (!isSafe) return;
    if (await ifExists(this.#link.control((channel) => channel.checkExchange(settled)))) return;
    await delay(settlingMs, undefined, { ref: false });
    await this.#link.control((channel) => channel.assertExchange(settled, "fanout", { durable: true }));
  }
}

async function declareLevel(channel: Channel, level: number, isSafe: boolean): Promise<void> {
  const name = prefix + level;
  const next = level === 0 ? delivery : prefix + (level - 1);
  const before = "*.".repeat(level + 1);
  await channel.assertExchange(name, "topic", { durable: true });
  await channel.assertQueue(name, {
    durable: true,
    arguments: encodeTable({
      "x-message-ttl": 2 ** level * unitMs,
      "x-dead-letter-exchange": next,
      "x-overflow": "reject-publish",
      ...(isSafe ? { "x-queue-type": "quorum", "x-dead-letter-strategy": "at-least-once" } : {}),
    }),
  });
  await channel.bindQueue(name, name, `${before}1.#`);
  await channel.bindExchange(next, name, `${before}0.#`);
}
