import { setTimeout as delay } from "node:timers/promises";
import type { ConsumeMessage } from "amqplib";
import type { Link } from "../../broker/amqp/link.ts";
import { encodeTable } from "../../broker/amqp/wire.ts";
import { BackendConnectionError } from "../../errors.ts";
import { backoff } from "../../util/backoff.ts";
import type { BackendOptions } from "../options.ts";
import { asBackendError, linkToBroker } from "./broker-link.ts";

/** Seconds the queue outlives its reader, at most: time to come back after a lost connection. */
const grace = 600;

/**
 * The queue one client's results come to, and the one consumer that reads it for everybody in
 * this process. After a lost connection it is consumed again as soon as the broker is back, with
 * what came meanwhile: the queue stays for ten minutes without a reader (or as long as results
 * are kept, when that is shorter). Celery's goes at once with its reader, and what arrives in a
 * gap is lost; as nobody but its owner ever declares the queue, peers cannot tell.
 */
export class ReplyQueue {
  readonly name: string;
  readonly #options: BackendOptions;
  readonly #onMessage: (message: ConsumeMessage) => void;
  readonly #stopped = new AbortController();
  #link: Link | null = null;
  #opening: Promise<void> | null = null;

  constructor(name: string, options: BackendOptions, onMessage: (message: ConsumeMessage) => void) {
    this.name = name;
    this.#options = options;
    this.#onMessage = onMessage;
  }

  /** Makes the queue exist and reads it from now on. Cheap when it does already. */
  async open(): Promise<void> {
    if (this.#link?.alive) return;
    this.#opening ??= this.#begin().finally(() => {
      this.#opening = null;
    });
    await this.#opening;
  }

  /** Ends reading and removes the queue. Idempotent. */
  async close(): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#stopped.abort();
    await this.#opening?.catch(() => undefined);
    const link = this.#link;
    this.#link = null;
    if (!link) return;
    if (link.alive) await link.control((channel) => channel.deleteQueue(this.name)).catch(() => undefined);
    await link.close();
  }

  async #begin(): Promise<void> {
    if (this.#stopped.signal.aborted) throw new BackendConnectionError("the rpc result backend is closed");
    const link = await linkToBroker(this.#options, "results", () => void this.#reopen());
    try {
      const { channel } = await link.openChannel();
      await link.guard(
        channel.assertQueue(this.name, { durable: true, arguments: encodeTable({ "x-expires": this.#expiresMs() }) }),
      );
      await link.guard(
        channel.consume(
          this.name,
          (message) => {
            // Null says that somebody deleted the queue.
            if (message) this.#onMessage(message);
            else link.destroy(new Error(`the reply queue ${this.name} was deleted`));
          },
          { noAck: true },
        ),
      );
      channel.on("close", () => {
        if (link.alive) link.destroy(new Error("the channel of the reply queue was closed"));
      });
    } catch (error) {
      await link.close();
      throw asBackendError(error);
    }
    link.watch();
    this.#link = link;
  }

  #expiresMs(): number {
    return Math.max(1, Math.round(Math.min(this.#options.expires ?? grace, grace) * 1000));
  }

  /** Tries until the broker is back or this is closed: those who wait have deadlines of their own. */
  async #reopen(): Promise<void> {
    for (let attempt = 0; !this.#stopped.signal.aborted; attempt += 1) {
      try {
        await this.open();
        return;
      } catch {
        const seconds = backoff({ attempt, initial: 0.1, max: 2, jitter: 0.2 });
        await delay(seconds * 1000, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => undefined);
      }
    }
  }
}
