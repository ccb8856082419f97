import { randomUUID } from "node:crypto";
import type { OperationalError } from "../../errors.ts";
import { encodeEnvelope } from "../../protocol/envelope.ts";
import { type HandfulLimits, handful } from "../../util/handfuls.ts";
import type { Exchange, Publication } from "../broker.ts";
import { boundQueues, readBindings } from "./bindings.ts";
import type { RedisConnection } from "./connection.ts";
import { type Deferred, deferred } from "./deferred.ts";
import { bindingKey, fanoutChannel, listKey, listSuffix, type RedisKeys } from "./keys.ts";
import { routeScript } from "./scripts.ts";

/** Elements and bytes of one LPUSH: few large commands are what a connection carries best. */
const chunkElements = 500;
const chunkBytes = 1 << 20;
/** Messages of one `publishMany` that are on their way at a time. */
const window = 10_000;

/** One LPUSH to be. */
interface Chunk {
  readonly key: string;
  readonly texts: string[];
  bytes: number;
  readonly sent: Deferred<void>;
}

/** A message for whatever queues are bound to a direct exchange under its key. */
interface Direct {
  readonly routingKey: string;
  readonly priority: unknown;
  readonly text: string;
  readonly sent: Deferred<void>;
}

/** Those of one exchange that one script call carries. */
const directsAtOnce: HandfulLimits<Direct> = {
  count: chunkElements,
  size: chunkBytes,
  sizeOf: ({ text }) => text.length,
};

/**
 * Sends messages over one connection. What is published in one tick travels together: one
 * variadic LPUSH per list, which keeps the order.
 */
export class Outbox {
  readonly #connection: RedisConnection;
  readonly #keys: RedisKeys;
  readonly #typeOf: (exchange: string) => Exchange["type"];
  readonly #unroutable: (message: string) => OperationalError;
  #open = new Map<string, Chunk>();
  #ready: Chunk[] = [];
  #scheduled = false;
  /** For direct exchanges, by their names. */
  #directs = new Map<string, Direct[]>();
  /** Binding tables asked for in this tick. */
  #tables = new Map<string, Promise<string[]>>();

  constructor(options: {
    readonly connection: RedisConnection;
    readonly keys: RedisKeys;
    /** The type of an exchange nobody gave a type for: what was declared here, else direct. */
    readonly typeOf: (exchange: string) => Exchange["type"];
    readonly unroutable: (message: string) => OperationalError;
  }) {
    this.#connection = options.connection;
    this.#keys = options.keys;
    this.#typeOf = options.typeOf;
    this.#unroutable = options.unroutable;
  }

  /** Resolves when Redis has it. Throws `EncodeError` at once for headers that cannot be written. */
  publish({ message, address }: Publication): Promise<void> {
    const { exchange, routingKey } = address;
    const text = encodeEnvelope(message, address, randomUUID());
    if (exchange === "") return this.#push(listKey(this.#keys, routingKey, message.properties.priority), text);
    const type = address.type ?? this.#typeOf(exchange);
    if (type === "fanout") {
      return this.#connection.call("publish", fanoutChannel(this.#keys, exchange, routingKey), text);
    }
    const { priority } = message.properties;
    if (type === "direct") return this.#direct(exchange, routingKey, priority, text);
    return this.#route(exchange, type, routingKey, priority, text);
  }

  /** Resolves when Redis has all of them. */
  async publishMany(publications: readonly Publication[]): Promise<void> {
    let before: Promise<unknown> = Promise.resolve();
    for (let first = 0; first < publications.length; first += window) {
      // Messages of one list share a promise; awaiting each once keeps a bulk of them cheap.
      const sent = new Set(publications.slice(first, first + window).map((publication) => this.publish(publication)));
      const all = Promise.all(sent);
      // Awaited one window later; until then its failure is nobody's yet.
      all.catch(() => undefined);
      await Promise.all([before, new Promise((resolve) => setImmediate(resolve))]);
      before = all;
    }
    await before;
  }

  #direct(exchange: string, routingKey: string, priority: unknown, text: string): Promise<void> {
    const sent = deferred<void>();
    const directs = this.#directs.get(exchange) ?? [];
    directs.push({ routingKey, priority, text, sent });
    this.#directs.set(exchange, directs);
    this.#schedule();
    return sent.promise;
  }

  async #sendDirects(exchange: string, directs: readonly Direct[]): Promise<void> {
    const keys = this.#keys;
    try {
      const counts = await this.#connection.run<number[] | null>(
        routeScript,
        [bindingKey(keys, exchange)],
        [
          keys.separator,
          keys.prefix,
          ...directs.flatMap(({ routingKey, priority, text }) => [routingKey, listSuffix(keys, priority), text]),
        ],
      );
      for (const [index, { routingKey, priority, text, sent }] of directs.entries()) {
        // Bound as a topic exchange by somebody, whatever we think it is: matched here.
        if (counts === null)
          this.#route(exchange, "direct", routingKey, priority, text).then(sent.resolve, sent.reject);
        else if (counts[index] === 0) sent.reject(this.#nobody(exchange, routingKey));
        else sent.resolve();
      }
    } catch (error) {
      for (const { sent } of directs) sent.reject(error);
    }
  }

  #nobody(exchange: string, routingKey: string): OperationalError {
    return this.#unroutable(
      `no queue is bound to the exchange ${JSON.stringify(exchange)} with the key ${JSON.stringify(routingKey)}: ` +
        "declare the queue before publishing to it",
    );
  }

  /** Bindings are read for every tick anew: a reply queue is bound a moment before somebody answers to it. */
  async #route(
    exchange: string,
    type: Exchange["type"],
    routingKey: string,
    priority: unknown,
    text: string,
  ): Promise<void> {
    let table = this.#tables.get(exchange);
    if (table === undefined) {
      table = this.#connection.call<string[]>("smembers", bindingKey(this.#keys, exchange));
      this.#tables.set(exchange, table);
      this.#schedule();
    }
    const bindings = readBindings(this.#keys, await table);
    const queues = boundQueues(bindings, routingKey);
    // A topic nobody has subscribed to reaches nobody, and that is all right.
    if (queues.length === 0 && type === "direct" && !bindings.some(({ pattern }) => pattern !== "")) {
      throw this.#nobody(exchange, routingKey);
    }
    await Promise.all(queues.map((queue) => this.#push(listKey(this.#keys, queue, priority), text)));
  }

  #push(key: string, text: string): Promise<void> {
    let chunk = this.#open.get(key);
    if (chunk !== undefined && (chunk.texts.length >= chunkElements || chunk.bytes + text.length > chunkBytes)) {
      chunk = undefined;
    }
    if (chunk === undefined) {
      chunk = { key, texts: [], bytes: 0, sent: deferred<void>() };
      this.#open.set(key, chunk);
      this.#ready.push(chunk);
      this.#schedule();
    }
    chunk.texts.push(text);
    chunk.bytes += text.length;
    return chunk.sent.promise;
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(() => this.#flush());
  }

  #flush(): void {
    this.#scheduled = false;
    const chunks = this.#ready;
    this.#ready = [];
    this.#open = new Map();
    this.#tables = new Map();
    const directs = this.#directs;
    this.#directs = new Map();
    for (const [exchange, messages] of directs) {
      while (messages.length > 0)
        void this.#sendDirects(exchange, messages.splice(0, handful(messages, directsAtOnce)));
    }
    for (const { key, texts, sent } of chunks) {
      this.#connection.call("lpush", key, ...texts).then(() => sent.resolve(), sent.reject);
    }
  }
}
