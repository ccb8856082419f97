import { randomUUID } from "node:crypto";
import type { Broker, Delivery, Publication } from "../broker/broker.ts";
import { TqError } from "../errors.ts";
import { LamportClock } from "../protocol/clock.ts";
import type { ControlRequest } from "../protocol/pidbox.ts";
import { decodeBody, encodeBody } from "../serialization/registry.ts";
import type { ControlAddresses } from "./addresses.ts";

/** A command for workers. */
export interface ControlCall {
  readonly method: string;
  readonly arguments?: Readonly<Record<string, unknown>>;
  /** Node names; left out or empty, all workers, unless `pattern` chooses. */
  readonly destination?: readonly string[] | null;
  /** Which node names, by `matcher`: `glob` or `pcre`. */
  readonly pattern?: string | null;
  readonly matcher?: string | null;
}

/** What one worker answered. */
export interface NodeReply {
  readonly node: string;
  readonly value: unknown;
}

export interface CollectOptions {
  /** Seconds to wait for replies. */
  readonly timeout: number;
  /** Most replies to wait for; default as many as there are destinations, else all that come in time. */
  readonly limit?: number;
  /** Told of each reply as it comes. */
  readonly onReply?: (reply: NodeReply) => void;
  /** Ends the waiting early; what has come is returned. */
  readonly signal?: AbortSignal;
}

export interface MailboxParts {
  readonly addresses: ControlAddresses;
  /** Name of whoever asks, for the broker's records. */
  readonly node: string;
  /** Serializer of commands and replies: Celery uses the one of tasks. */
  readonly serializer: string;
  /** Content types taken in replies. */
  readonly accept: ReadonlySet<string>;
}

/** Bytes of a control message, unfolded: the revokes of a large fleet fit, and reading it stays short. */
export const mostControlBytes = 8 * 2 ** 20;

/**
 * Sends commands to workers and gathers what they answer. Each question has a reply queue of its
 * own, which is gone when the answer is given. Rejects with `BrokerConnectionError`; who asks may ask again.
 */
export class Mailbox {
  readonly #parts: MailboxParts;
  /** Counts control messages only (protocol 11.1). */
  readonly #clock = new LamportClock();

  constructor(parts: MailboxParts) {
    this.#parts = parts;
  }

  /** Tells workers, and waits for no answer: resolves when the broker has the command. */
  async cast(broker: Broker, call: ControlCall, timeout = 0): Promise<void> {
    const { message, address } = await this.#publication(call, timeout);
    await broker.publish(message, address);
  }

  /** Asks workers. Resolves to the replies that came in time, in order of arrival; none is no error. */
  async call(broker: Broker, call: ControlCall, options: CollectOptions): Promise<NodeReply[]> {
    const { addresses, node } = this.#parts;
    const id = randomUUID();
    const ticket = randomUUID();
    const queue = addresses.replyQueue(id);
    const answers = new Answers(limitOf(call, options), options);
    const subscription = await broker.subscribe({
      node,
      prefetch: 0,
      noAck: true,
      onDelivery: (delivery) => this.#read(delivery, ticket, answers),
      onLost: (error) => answers.fail(error),
    });
    try {
      await subscription.consume(queue);
      const replyTo = { exchange: addresses.replyExchange.name, routing_key: id };
      const { message, address } = await this.#publication(call, options.timeout, { ticket, reply_to: replyTo });
      await broker.publish(message, address);
      return await answers.wait();
    } finally {
      answers.end();
      // With the connection the queue goes as well, or expires: what went wrong first is what is told.
      await subscription.close().catch(() => undefined);
      await broker.delete(queue).catch(() => undefined);
    }
  }

  #read({ message, damage }: Delivery, ticket: string, answers: Answers): void {
    if (damage !== null || message.headers.ticket !== ticket) return;
    this.#clock.adjust(message.headers.clock);
    // What cannot be read is the replier's mistake, and no reply.
    const take = (body: unknown): void => {
      if (typeof body !== "object" || body === null) return;
      for (const [node, value] of Object.entries(body)) answers.add({ node, value });
    };
    try {
      const body = decodeBody(message, this.#parts.accept, { maxBytes: mostControlBytes });
      if (body instanceof Promise) body.then(take, () => undefined);
      else take(body);
    } catch (error) {
      if (!(error instanceof TqError)) throw error;
    }
  }

  async #publication(
    call: ControlCall,
    timeout: number,
    reply?: Required<Pick<ControlRequest, "ticket" | "reply_to">>,
  ): Promise<Publication> {
    const { addresses, serializer } = this.#parts;
    const request: ControlRequest = {
      method: call.method,
      arguments: call.arguments ?? {},
      destination: call.destination ?? null,
      pattern: call.pattern ?? null,
      matcher: call.matcher ?? null,
      ...reply,
    };
    const { exchange } = addresses;
    return {
      message: {
        headers: { clock: this.#clock.forward(), expires: timeout > 0 ? Date.now() / 1000 + timeout : 0 },
        properties: { delivery_mode: 2, priority: 0 },
        ...(await encodeBody(request, serializer)),
      },
      address: { exchange: exchange.name, routingKey: "", type: exchange.type },
    };
  }
}

const limitOf = ({ destination }: ControlCall, { limit }: CollectOptions): number =>
  limit ?? (destination && destination.length > 0 ? destination.length : Number.POSITIVE_INFINITY);

/** Replies to one question, until there are enough of them, the time is up, or nobody waits any more. */
class Answers {
  readonly #replies: NodeReply[] = [];
  readonly #limit: number;
  readonly #options: CollectOptions;
  readonly #all: Promise<void>;
  #finish: () => void = () => undefined;
  fail: (error: Error) => void = () => undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(limit: number, options: CollectOptions) {
    this.#limit = limit;
    this.#options = options;
    this.#all = new Promise((resolve, reject) => {
      this.#finish = resolve;
      this.fail = reject;
    });
    this.#all.catch(() => undefined); // told by `wait`
    options.signal?.addEventListener("abort", this.#finish, { once: true });
    if (options.signal?.aborted || limit <= 0) this.#finish();
  }

  add(reply: NodeReply): void {
    if (this.#replies.length >= this.#limit) return;
    this.#replies.push(reply);
    this.#options.onReply?.(reply);
    if (this.#replies.length >= this.#limit) this.#finish();
  }

  async wait(): Promise<NodeReply[]> {
    this.#timer = setTimeout(this.#finish, this.#options.timeout * 1000);
    await this.#all;
    return this.#replies;
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#options.signal?.removeEventListener("abort", this.#finish);
  }
}
