import { setTimeout as delay } from "node:timers/promises";
import type { RedisCommands } from "../../broker/redis/commands.ts";
import type { RedisConnection } from "../../broker/redis/connection.ts";
import { type Deferred, deferred } from "../../broker/redis/deferred.ts";
import type { TaskMeta } from "../../protocol/task-meta.ts";
import { abortable } from "../../util/abortable.ts";
import { backoff } from "../../util/backoff.ts";
import { Waiters, type WatchOptions } from "../waiters.ts";
import type { Connecting } from "./connecting.ts";
import { RedisLink } from "./link.ts";
import type { StoredValues } from "./values.ts";

/** Channels one SUBSCRIBE names, values one MGET reads. */
const channelsAtOnce = 1_000;
const valuesAtOnce = 500;
/** Seconds between two proofs that somebody is there to notify us. */
const pingSeconds = 5;

/** What one tick asks for, and the metas that were there already. */
interface Asked {
  readonly taskIds: string[];
  readonly found: Deferred<ReadonlyMap<string, TaskMeta>>;
}

/**
 * Waits for results on one connection, however many are awaited: what is asked for in one tick is
 * subscribed together, then read once, for it may have been there before. After a loss all of
 * that is done again, so a waiter misses nothing that Redis still has.
 */
export class RedisWatch {
  readonly #waiters = new Waiters();
  readonly #listening: RedisLink<RedisConnection>;
  readonly #reading: RedisLink<RedisCommands>;
  readonly #values: StoredValues;
  readonly #keyPrefix: string;
  /** Subscribed on the connection there is now. */
  #subscribed = new Set<string>();
  #asked: Asked | undefined;
  #ping: NodeJS.Timeout | undefined;
  #recovering = false;

  constructor(parts: {
    readonly displayUrl: string;
    readonly connecting: Connecting;
    readonly patience: number;
    /** The connection that reads values. */
    readonly reading: RedisLink<RedisCommands>;
    readonly values: StoredValues;
    /** Before a task's id: the key of its result, which is also the channel it is published on. */
    readonly keyPrefix: string;
  }) {
    this.#reading = parts.reading;
    this.#values = parts.values;
    this.#keyPrefix = parts.keyPrefix;
    this.#listening = new RedisLink({
      displayUrl: parts.displayUrl,
      patience: parts.patience,
      open: parts.connecting.listening,
      onOpen: (connection) => this.#opened(connection),
    });
  }

  async *watch(taskIds: Iterable<string>, options: WatchOptions): AsyncGenerator<TaskMeta, void, undefined> {
    const wanted = [...new Set(taskIds)];
    try {
      yield* this.#waiters.watch(wanted, options, (ids) => this.#begin(ids, options.signal));
    } finally {
      this.#release(wanted);
    }
  }

  readonly #keyOf = (taskId: string): string => this.#keyPrefix + taskId;

  #taskOf(channel: string): string {
    return channel.slice(this.#keyPrefix.length);
  }

  close(): void {
    clearInterval(this.#ping);
    this.#listening.current?.client.off("messageBuffer", this.#heard);
    this.#listening.close();
    this.#waiters.fail(this.#listening.closedError());
  }

  /** Subscribes, then looks once. What comes in between is not lost: it is delivered as it comes. */
  async #begin(taskIds: readonly string[], signal: AbortSignal | undefined): Promise<readonly TaskMeta[]> {
    this.#asked ??= this.#ask();
    this.#asked.taskIds.push(...taskIds);
    const { found } = this.#asked;
    const metas = await abortable(found.promise, signal);
    return taskIds.flatMap((taskId) => metas.get(taskId) ?? []);
  }

  #ask(): Asked {
    const asked = { taskIds: [], found: deferred<ReadonlyMap<string, TaskMeta>>() };
    // Whoever aborted meanwhile does not hear of it any more.
    asked.found.promise.catch(() => undefined);
    process.nextTick(() => {
      this.#asked = undefined;
      this.#look(asked.taskIds).then(asked.found.resolve, asked.found.reject);
    });
    return asked;
  }

  async #look(taskIds: readonly string[]): Promise<ReadonlyMap<string, TaskMeta>> {
    const unique = [...new Set(taskIds)];
    await this.#listening.use((connection) => this.#subscribe(connection, unique));
    const metas = new Map<string, TaskMeta>();
    await this.#read(unique, (meta) => metas.set(meta.task_id, meta));
    return metas;
  }

  async #subscribe(connection: RedisConnection, taskIds: readonly string[]): Promise<void> {
    const fresh = taskIds.map(this.#keyOf).filter((channel) => !this.#subscribed.has(channel));
    const subscribed = this.#subscribed;
    for (const channel of fresh) subscribed.add(channel);
    const answers: Promise<unknown>[] = [];
    for (let first = 0; first < fresh.length; first += channelsAtOnce) {
      answers.push(connection.watch(connection.client.subscribe(...fresh.slice(first, first + channelsAtOnce))));
    }
    // Those somebody else is subscribing just now are answered before this.
    if (answers.length === 0) answers.push(connection.watch(connection.client.ping()));
    await Promise.all(answers);
  }

  async #read(taskIds: readonly string[], found: (meta: TaskMeta) => void): Promise<void> {
    for (let first = 0; first < taskIds.length; first += valuesAtOnce) {
      const some = taskIds.slice(first, first + valuesAtOnce);
      const keys = some.map(this.#keyOf);
      const values = await this.#reading.use((connection) => connection.callBuffer<(Buffer | null)[]>("mget", ...keys));
      for (const [index, value] of values.entries()) {
        if (value !== null) found(await this.#values.meta(value, some[index] as string));
      }
    }
  }

  readonly #heard = (name: Buffer, value: Buffer): void => {
    const channel = name.toString();
    if (!this.#subscribed.has(channel)) return; // the connection may be shared
    // What cannot be read is no news for anybody; who loads it is told why.
    this.#values.meta(value, this.#taskOf(channel)).then(
      (meta) => this.#waiters.deliver(meta),
      () => undefined,
    );
  };

  #opened(connection: RedisConnection): void {
    this.#subscribed = new Set();
    connection.client.on("messageBuffer", this.#heard);
    connection.onLost(() => void this.#recover());
    clearInterval(this.#ping);
    this.#ping = setInterval(() => {
      if (connection.isOpen) connection.watch(connection.client.ping()).catch(() => undefined);
    }, pingSeconds * 1000).unref();
  }

  /** Listens again, and looks for what came meanwhile, for as long as somebody waits. */
  async #recover(): Promise<void> {
    if (this.#recovering) return;
    this.#recovering = true;
    for (let attempt = 0; this.#waiters.size > 0 && !this.#listening.isClosed; attempt += 1) {
      try {
        const taskIds = [...this.#waiters.taskIds];
        const connection = await this.#listening.connection();
        await this.#subscribe(connection, taskIds);
        await this.#read(taskIds, (meta) => this.#waiters.deliver(meta));
        if (connection.isOpen) break;
      } catch {
        // The next attempt is soon; who does not want to wait any longer aborts.
      }
      await delay(backoff({ attempt, initial: 0.05, max: 2, jitter: 0.5 }) * 1000, undefined, { ref: false });
    }
    this.#recovering = false;
  }

  #release(taskIds: readonly string[]): void {
    const connection = this.#listening.current;
    if (connection === undefined) return;
    const channels = taskIds
      .filter((taskId) => !this.#waiters.wants(taskId))
      .map(this.#keyOf)
      .filter((channel) => this.#subscribed.delete(channel));
    for (let first = 0; first < channels.length; first += channelsAtOnce) {
      connection
        .watch(connection.client.unsubscribe(...channels.slice(first, first + channelsAtOnce)))
        .catch(() => undefined);
    }
  }
}
