import { createHash, randomUUID } from "node:crypto";
import type { Message as AmqpMessage } from "amqplib";
import { BrokerConnectionError } from "../../errors.ts";
import type { DeadLetter, DeadLetters } from "../broker.ts";
import { redriven } from "../marks.ts";
import type { AmqpDelivery } from "./delivery.ts";
import type { Link } from "./link.ts";
import type { Publisher } from "./publisher.ts";
import { ifExists, readyMessages } from "./topology.ts";
import { copyOf, detourHeader, detourOf, type Received, readMessage } from "./wire.ts";

/** The durable queue that keeps what was rejected, until somebody decides. */
export const deadLetterQueue = "tq.dead";
/** The same for what others may run. */
export const shelfQueue = "tq.shelf";

/** The header with what is known of a dead letter. */
const deadHeader = "tq_dead";
const maxReason = 8_192;
const rawBeginning = 1_000;

/** What the dead letters need of their broker. */
export interface DeadLetterLine {
  readonly link: Link;
  readonly publisher: Publisher;
}

export interface DeadLetterOptions {
  readonly queue: string;
  /** Bytes. */
  readonly maxBodySize: number;
  /** Most letters kept, the oldest make room; 0 is no bound. */
  readonly most: number;
}

interface Letter {
  readonly letter: DeadLetter;
  readonly raw: AmqpMessage;
  readonly received: Received;
}

type Verdict = "keep" | "remove";

/**
 * Dead letters as messages of one queue. A queue cannot be read without taking: every reading
 * takes all, oldest first, and what it did not remove goes back to its place when the channel
 * of the reading closes. Readings of one broker take turns.
 */
export class AmqpDeadLetters implements DeadLetters {
  readonly #line: () => Promise<DeadLetterLine>;
  readonly #options: DeadLetterOptions;
  #turn: Promise<unknown> = Promise.resolve();

  /** `line` gives a live connection, or rejects with `BrokerConnectionError`. */
  constructor(line: () => Promise<DeadLetterLine>, options: DeadLetterOptions) {
    this.#line = line;
    this.#options = options;
  }

  /** Stores a copy of a rejected message; resolves when the broker has it. */
  async bury(delivery: AmqpDelivery, reason: string, node: string): Promise<void> {
    const record = {
      id: randomUUID(),
      reason: reason.slice(0, maxReason),
      queue: delivery.queue,
      node,
      at: Date.now(),
    };
    const { link, publisher } = await this.#line();
    const { messageCount } = await link.control((channel) =>
      channel.assertQueue(this.#options.queue, { durable: true }),
    );
    await this.#makeRoom(link, messageCount);
    const extra = { [deadHeader]: record, [detourHeader]: detourOf(delivery.received) };
    const send = (copy: ReturnType<typeof copyOf>): Promise<void> =>
      publisher.publish({ exchange: "", routingKey: this.#options.queue, ...copy, mandatory: true });
    try {
      await send(copyOf(delivery.raw, delivery.received, extra));
    } catch (error) {
      if (error instanceof BrokerConnectionError) throw error;
      // Headers that leave no room for ours, or that cannot be written: better without some than not kept at all.
      const [headers, left] = smallOnes(delivery.raw.properties.headers ?? {});
      const bare = { ...delivery.raw, properties: { ...delivery.raw.properties, headers } };
      const reason = `${record.reason} (kept without its headers ${left.join(", ").slice(0, 200)})`;
      await send(copyOf(bare, delivery.received, { ...extra, [deadHeader]: { ...record, reason } }));
    }
  }

  /** Forgets the oldest beyond the bound, a few at a time. */
  async #makeRoom(link: Link, count: number): Promise<void> {
    const { queue, most } = this.#options;
    if (most === 0 || count < most) return;
    const tooMany = Math.min(count - most + 1, 100);
    await link.control(async (channel) => {
      for (let times = 0; times < tooMany; times += 1) await channel.get(queue, { noAck: true });
    });
  }

  async count(): Promise<number> {
    return (await readyMessages((await this.#line()).link, this.#options.queue)) ?? 0;
  }

  async list(options: { readonly limit?: number; readonly offset?: number } = {}): Promise<readonly DeadLetter[]> {
    const { limit = 100, offset = 0 } = options;
    const newest: DeadLetter[] = [];
    await this.#read(async ({ letter }) => {
      newest.push(letter);
      if (newest.length > limit + offset) newest.shift();
      return "keep";
    });
    return newest.reverse().slice(offset, offset + limit);
  }

  async redrive(ids: readonly string[]): Promise<number> {
    const wanted = new Set(ids);
    const { publisher } = await this.#line();
    return this.#read(async ({ letter, raw, received }) => {
      if (!wanted.has(letter.id)) return "keep";
      const extra = {
        ...redriven(received.message.headers),
        [deadHeader]: undefined,
        [detourHeader]: detourOf(received, { redelivered: true }),
      };
      const copy = copyOf(raw, received, extra);
      await publisher.publish({ exchange: "", routingKey: letter.queue, ...copy, mandatory: true });
      return "remove";
    });
  }

  async purge(ids?: readonly string[]): Promise<number> {
    if (ids === undefined) {
      const { link } = await this.#line();
      const purged = await ifExists(link.control((channel) => channel.purgeQueue(this.#options.queue)));
      return purged?.messageCount ?? 0;
    }
    const wanted = new Set(ids);
    return this.#read(async ({ letter }) => (wanted.has(letter.id) ? "remove" : "keep"));
  }

  /** Shows every letter to `judge`, oldest first, and says how many it had removed. */
  #read(judge: (letter: Letter) => Promise<Verdict>): Promise<number> {
    const read = (): Promise<number> => this.#readNow(judge);
    const result = this.#turn.then(read, read);
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #readNow(judge: (letter: Letter) => Promise<Verdict>): Promise<number> {
    const { link } = await this.#line();
    const count = (await readyMessages(link, this.#options.queue)) ?? 0;
    if (count === 0) return 0;
    const held = await link.openChannel();
    const { channel } = held;
    let removed = 0;
    try {
      for (let seen = 0; seen < count; seen += 1) {
        // Asked for one by one: "there is none" is an answer too, where waiting for a delivery could only guess.
        const raw = await link.guard(channel.get(this.#options.queue));
        if (raw === false) break; // somebody else reads the rest
        if ((await judge(this.#letterOf(raw))) === "keep") continue;
        channel.ack(raw);
        removed += 1;
      }
    } catch (error) {
      throw held.failure ?? error;
    } finally {
      await link.closeChannel(held).catch(() => undefined);
    }
    return removed;
  }

  #letterOf(raw: AmqpMessage): Letter {
    const read = readMessage(raw, "", this.#options.maxBodySize);
    const { [deadHeader]: record, ...headers } = read.message.headers;
    const known = (typeof record === "object" && record !== null ? record : {}) as Readonly<Record<string, unknown>>;
    const received = { ...read, message: { ...read.message, headers } };
    const isWhole = raw.content.length <= this.#options.maxBodySize;
    return {
      raw,
      received,
      letter: {
        id: typeof known.id === "string" ? known.id : fingerprint(raw),
        queue: typeof known.queue === "string" ? known.queue : read.address.routingKey,
        reason: typeof known.reason === "string" ? known.reason : "",
        node: typeof known.node === "string" ? known.node : "",
        at: new Date(typeof known.at === "number" ? known.at : 0),
        size: raw.content.length,
        message: isWhole ? received.message : null,
        raw: isWhole ? null : raw.content.toString("utf8", 0, rawBeginning),
      },
    };
  }
}

/** The headers that are surely no trouble, and the names of the others. */
function smallOnes(headers: Readonly<Record<string, unknown>>): [small: Record<string, unknown>, left: string[]] {
  const small: Record<string, unknown> = {};
  const left: string[] = [];
  for (const key of Object.keys(headers)) {
    const value = headers[key];
    const isSmall = value === null || typeof value !== "object" ? String(value).length <= 512 : false;
    if (isSmall && key !== "__proto__" && key.length <= 64 && Object.keys(small).length < 64) small[key] = value;
    else left.push(key);
  }
  return [small, left];
}

/** The id of a letter somebody else put into the queue: of its content, as it has no other. */
function fingerprint(raw: AmqpMessage): string {
  const { headers, correlationId } = raw.properties;
  return createHash("sha1")
    .update(JSON.stringify([headers ?? null, correlationId ?? null]))
    .update(raw.content)
    .digest("hex");
}
