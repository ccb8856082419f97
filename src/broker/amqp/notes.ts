import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import type { Message as AmqpMessage } from "amqplib";
import { OperationalError } from "../../errors.ts";
import { mostNotes, type Note, type Notes, noteLifetime } from "../notes.ts";
import { refused, replyCodeOf } from "./failures.ts";
import type { Link } from "./link.ts";
import type { Publisher } from "./publisher.ts";
import { encodeTable } from "./wire.ts";

/** AMQP's ACCESS_REFUSED: here, somebody else is reading. */
const accessRefused = 403;
/** Milliseconds between two tries to be the one who reads, and most of them. */
const turnMs = 50;
const mostTurns = 200;

/** What notes need of their broker. */
export interface NotesLine {
  readonly link: Link;
  readonly publisher: Publisher;
}

/**
 * Notes as messages of a durable queue whose time to live is theirs. A queue cannot be looked at
 * without taking: a reader is its exclusive consumer for some milliseconds, until a marker of its
 * own comes back to it, and then lets go of the channel, upon which all of it is back in its place.
 */
export class AmqpNotes implements Notes {
  readonly #line: () => Promise<NotesLine>;
  readonly #queue: string;
  #turn: Promise<unknown> = Promise.resolve();

  /** `line` gives a live connection, or rejects with `BrokerConnectionError`. */
  constructor(line: () => Promise<NotesLine>, queue: string) {
    this.#line = line;
    this.#queue = queue;
  }

  async write(texts: readonly string[]): Promise<void> {
    const { link, publisher } = await this.#line();
    await this.#declare(link);
    await publisher.publishAll(texts.map((text) => this.#outgoing({ text, at: Date.now() })));
  }

  async read(): Promise<readonly Note[]> {
    const read = (): Promise<readonly Note[]> => this.#readAll();
    const result = this.#turn.then(read, read);
    this.#turn = result.catch(() => undefined);
    return await result;
  }

  async #readAll(): Promise<readonly Note[]> {
    const { link, publisher } = await this.#line();
    await this.#declare(link);
    for (let tries = 0; tries < mostTurns; tries += 1) {
      try {
        return await this.#readNow(link, publisher);
      } catch (error) {
        if (replyCodeOf(error) !== accessRefused) throw error;
        await delay(turnMs * (0.5 + Math.random()));
      }
    }
    throw new OperationalError(`the queue ${this.#queue} cannot be read: somebody else has been reading it for long`);
  }

  async #readNow(link: Link, publisher: Publisher): Promise<readonly Note[]> {
    const held = await link.openChannel();
    const marker = randomUUID();
    const notes = new Map<string, Note>();
    try {
      const reading = new Promise<void>((resolve, reject) => {
        held.channel.on("close", () => reject(held.failure ?? new Error("the channel is closed")));
        const onMessage = (raw: AmqpMessage | null): void => {
          const { note, mark } = read(raw);
          if (note !== undefined) {
            notes.delete(note.text);
            notes.set(note.text, note);
          }
          if (mark === undefined || raw === null) return;
          // Also those of readers that died.
          held.channel.ack(raw);
          if (mark === marker) resolve();
        };
        held.channel
          .consume(this.#queue, onMessage, { exclusive: true })
          .then(() => publisher.publish(this.#outgoing({ mark: marker })))
          .catch(reject);
      });
      await link.guard(reading);
    } catch (error) {
      throw held.failure ?? error;
    } finally {
      await link.closeChannel(held).catch(() => undefined);
    }
    return [...notes.values()].sort((a, b) => a.at.getTime() - b.at.getTime());
  }

  async #declare(link: Link): Promise<void> {
    const limits = { "x-message-ttl": noteLifetime * 1000, "x-max-length": mostNotes };
    try {
      await link.control((channel) =>
        channel.assertQueue(this.#queue, { durable: true, arguments: encodeTable(limits) }),
      );
    } catch (error) {
      if (replyCodeOf(error) === undefined) throw error;
      throw refused(`queue ${JSON.stringify(this.#queue)} cannot be declared`, error);
    }
  }

  #outgoing(content: { readonly text: string; readonly at: number } | { readonly mark: string }) {
    return {
      exchange: "",
      routingKey: this.#queue,
      content: Buffer.from(JSON.stringify(content)),
      options: { contentType: "application/json", deliveryMode: 2 },
      mandatory: true,
    };
  }
}

/** What is no note of ours is passed over. */
function read(raw: AmqpMessage | null): { readonly note?: Note; readonly mark?: string } {
  try {
    const { text, at, mark } = JSON.parse(String(raw?.content)) as Record<string, unknown>;
    if (typeof mark === "string") return { mark };
    if (typeof text === "string" && typeof at === "number") return { note: { text, at: new Date(at) } };
  } catch {
    // falls through
  }
  return {};
}
