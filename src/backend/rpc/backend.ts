import { randomUUID } from "node:crypto";
import type { ConsumeMessage } from "amqplib";
import type { Link } from "../../broker/amqp/link.ts";
import { Publisher } from "../../broker/amqp/publisher.ts";
import { BackendConnectionError, ImproperlyConfigured, TqError } from "../../errors.ts";
import type { ResultTuple, TaskMeta } from "../../protocol/task-meta.ts";
import type { ChordPart, ResultBackend } from "../backend.ts";
import type { BackendOptions } from "../options.ts";
import { decodeRecord, type ResultRecord } from "../record.ts";
import { Waiters, type WatchOptions } from "../waiters.ts";
import { asBackendError, linkToBroker } from "./broker-link.ts";
import { KeptResults } from "./kept-results.ts";
import { ReplyQueue } from "./reply-queue.ts";

/** Results kept for whoever asks later; Celery keeps 8,192. */
const limits = { count: 100_000, bytes: 128 * 1024 * 1024 };

/**
 * Results as messages to the queue of whoever made the call (protocol 7.3). Only that client can
 * read them, and only once they have arrived in this process; chords and saved groups need a
 * store that keeps. `url` says no more than `rpc://`: the results travel over the broker.
 */
export function createRpcBackend(_url: string, options: BackendOptions): ResultBackend {
  return new RpcBackend(options);
}

class RpcBackend implements ResultBackend {
  readonly kind = "rpc";
  readonly displayUrl = "rpc://";
  readonly features = { persistent: false, chords: false };
  readonly replyTo = randomUUID();
  readonly #options: BackendOptions;
  readonly #waiters = new Waiters();
  readonly #kept = new KeptResults(limits);
  readonly #replies: ReplyQueue;
  #sender: { readonly link: Link; readonly publisher: Publisher } | null = null;
  #connecting: Promise<void> | null = null;
  #closing: Promise<void> | null = null;
  /** Results are taken in one after the other, so that a slow decoder does not change their order. */
  #arrivals: Promise<void> = Promise.resolve();

  constructor(options: BackendOptions) {
    this.#options = options;
    this.#replies = new ReplyQueue(this.replyTo, options, (message) => {
      this.#arrivals = this.#arrivals.then(() => this.#arrived(message));
    });
  }

  async prepare(): Promise<void> {
    this.#mustBeOpen();
    await this.#replies.open();
  }

  async store(record: ResultRecord): Promise<void> {
    this.#mustBeOpen();
    if (!record.replyTo) return;
    try {
      const publisher = await this.#publisher();
      await publisher.publish({
        exchange: "",
        routingKey: record.replyTo,
        content: Buffer.from(record.body, record.binary ? "base64" : "utf8"),
        options: {
          headers: {},
          contentType: record.contentType,
          contentEncoding: record.contentEncoding,
          correlationId: record.correlationId ?? record.taskId,
          deliveryMode: this.#options.persistent ? 2 : 1,
          priority: 0,
        },
        // Whoever asked may be gone: that is no failure of the task.
        mandatory: false,
      });
    } catch (error) {
      throw asBackendError(error);
    }
  }

  async load(taskId: string): Promise<TaskMeta | undefined> {
    await this.prepare();
    await this.#arrivals;
    return this.#kept.get(taskId);
  }

  async forget(taskId: string): Promise<void> {
    this.#mustBeOpen();
    this.#kept.forget(taskId);
  }

  watch(taskIds: Iterable<string>, options: WatchOptions): AsyncIterable<TaskMeta> {
    this.#mustBeOpen();
    return this.#waiters.watch(taskIds, options, async (ids) => {
      await this.prepare();
      return ids.flatMap((taskId) => this.#kept.get(taskId) ?? []);
    });
  }

  async saveGroup(_groupId: string, _result: ResultTuple): Promise<void> {
    throw unsupported("keep groups");
  }

  async loadGroup(_groupId: string): Promise<ResultTuple | undefined> {
    throw unsupported("keep groups");
  }

  async forgetGroup(_groupId: string): Promise<void> {}

  async saveWorkflow(_id: string, _text: string): Promise<void> {}

  async loadWorkflow(_id: string): Promise<string | undefined> {
    return undefined;
  }

  async openChord(_groupId: string, _size: number): Promise<void> {
    throw unsupported("count chords");
  }

  async addChordPart(_groupId: string, _part: ChordPart): Promise<readonly ChordPart[] | undefined> {
    return undefined;
  }

  async closeChord(_groupId: string): Promise<void> {}

  /** The broker forgets what nobody reads. */
  async cleanup(): Promise<number> {
    return 0;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#waiters.fail(new BackendConnectionError("the rpc result backend was closed while results were awaited"));
    await this.#connecting?.catch(() => undefined);
    await Promise.all([this.#replies.close(), this.#sender?.link.close()]);
    this.#sender = null;
  }

  async #arrived(message: ConsumeMessage): Promise<void> {
    const meta = await this.#metaOf(message);
    if (!this.#kept.keep(meta, message.content.length)) return;
    this.#waiters.deliver(meta);
  }

  /** What came, or, when it cannot be read, a failure saying so: whoever waits must not wait for ever. */
  async #metaOf({ content, properties }: ConsumeMessage): Promise<TaskMeta> {
    const contentType = String(properties.contentType ?? "application/json");
    const contentEncoding = String(properties.contentEncoding ?? "utf-8");
    const taskId = String(properties.correlationId ?? "");
    const binary = contentEncoding !== "utf-8";
    const body = content.toString(binary ? "base64" : "utf8");
    try {
      return await decodeRecord({ contentType, contentEncoding, body, binary }, this.#options.accept, taskId);
    } catch (error) {
      const name = error instanceof TqError ? error.name : "DecodeError";
      const text = error instanceof Error ? error.message : String(error);
      return {
        task_id: taskId,
        status: "FAILURE",
        result: { exc_type: name, exc_message: [`the result cannot be read: ${text}`], exc_module: "kombu.exceptions" },
        traceback: null,
        children: [],
        date_done: new Date().toISOString(),
      };
    }
  }

  async #publisher(): Promise<Publisher> {
    if (this.#sender?.link.alive) return this.#sender.publisher;
    this.#connecting ??= this.#connect().finally(() => {
      this.#connecting = null;
    });
    await this.#connecting;
    if (!this.#sender) throw new BackendConnectionError("the rpc result backend is closed");
    return this.#sender.publisher;
  }

  async #connect(): Promise<void> {
    const link = await linkToBroker(this.#options, "storing results", () => undefined);
    const publisher = new Publisher(link, () => undefined);
    await publisher.open();
    this.#sender = { link, publisher };
  }

  #mustBeOpen(): void {
    if (this.#closing !== null) throw new BackendConnectionError("the rpc result backend is closed");
  }
}

function unsupported(what: string): ImproperlyConfigured {
  return new ImproperlyConfigured(
    `the rpc result backend cannot ${what}: set resultBackend to a store that keeps results, such as redis://`,
  );
}
