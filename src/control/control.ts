import type { Broker } from "../broker/broker.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import type { BroadcastOptions } from "./broadcast-options.ts";
import { Inspect, type InspectOptions } from "./inspect.ts";
import type { ControlCall, Mailbox, NodeReply } from "./mailbox.ts";
import type { ControlReply } from "./replies.ts";
import { revokesOf, writeRevokes } from "./revoke-notes.ts";

/** The replies of a broadcast, one map for each worker. */
export type BroadcastReplies<Reply = ControlReply> = readonly Readonly<Record<string, Reply>>[];

/** How a queue is made that does not exist yet. */
export interface AddConsumerOptions extends BroadcastOptions {
  readonly exchange?: string;
  /** Default `direct`. */
  readonly exchangeType?: "direct" | "topic" | "fanout";
  readonly routingKey?: string;
  /** Further options of the queue under their names on the wire: `{durable: false, queue_arguments: {…}}`. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** Revokes: `terminate` also stops what runs, with `signal`, default SIGTERM. */
export interface RevokeOptions extends BroadcastOptions {
  readonly terminate?: boolean;
  readonly signalName?: string;
}

export interface ControlParts {
  readonly mailbox: () => Mailbox;
  /** The app's broker, connected. */
  readonly broker: () => Promise<Broker>;
  /** Removes all waiting tasks and says how many there were. */
  readonly purge: () => Promise<number>;
  readonly warn: (message: string) => void;
}

/** Seconds replies are waited for. */
const defaultTimeout = 1;

/**
 * Steers workers, wherever they are, and those of Celery as well: `app.control`. Commands resolve
 * when the broker has them; with `reply: true` when the workers have answered. Rejects with `BrokerConnectionError`.
 */
export class Control {
  readonly #parts: ControlParts;

  constructor(parts: ControlParts) {
    this.#parts = parts;
  }

  /** For questions: `app.control.inspect({ destination: "w1@host" }).active()`. */
  inspect(options: InspectOptions = {}): Inspect {
    return new Inspect(this, options);
  }

  /** Sends any command, users' own as well. Its arguments are the wire's: `{task_id: …}`. */
  async broadcast<Reply = ControlReply>(
    method: string,
    args: Readonly<Record<string, unknown>> = {},
    options: BroadcastOptions = {},
  ): Promise<BroadcastReplies<Reply>> {
    if (options.reply) {
      const replies = await this.collect(method, args, options);
      return replies.map(({ node, value }) => ({ [node]: value as Reply }));
    }
    const broker = options.connection ?? (await this.#parts.broker());
    await this.#leaveWord(broker, method, args, options);
    await this.#parts.mailbox().cast(broker, callOf(method, args, options), options.timeout);
    return [];
  }

  /** Asks, and gathers the answers. */
  async collect(
    method: string,
    args: Readonly<Record<string, unknown>>,
    options: InspectOptions,
  ): Promise<readonly NodeReply[]> {
    const { timeout = defaultTimeout, limit, callback, signal, connection } = options;
    const broker = connection ?? (await this.#parts.broker());
    await this.#leaveWord(broker, method, args, options);
    const replies = await this.#parts.mailbox().call(broker, callOf(method, args, options), {
      timeout,
      ...(limit === undefined ? {} : { limit }),
      ...(signal === undefined ? {} : { signal }),
      ...(callback === undefined ? {} : { onReply: ({ node, value }) => callback({ [node]: value }) }),
    });
    const twice = namesTwice(replies);
    if (twice.length > 0) {
      this.#parts.warn(
        `Received multiple replies from node ${twice.length === 1 ? "name" : "names"}: ${twice.join(", ")}. ` +
          "Please make sure you give each node a unique nodename using the worker's option -n.",
      );
    }
    return replies;
  }

  /** What is revoked for everybody is also told to those who are not there yet. */
  async #leaveWord(
    broker: Broker,
    method: string,
    args: Readonly<Record<string, unknown>>,
    { destination, pattern }: InspectOptions,
  ): Promise<void> {
    const revokes = destination === undefined && pattern === undefined ? revokesOf(method, args) : null;
    if (revokes === null) return;
    try {
      await writeRevokes(broker, revokes);
    } catch (error) {
      if (error instanceof BrokerConnectionError) throw error;
      this.#parts.warn(`workers that start later will not know what was revoked: ${String(error)}`);
    }
  }

  /** Which workers are there. */
  ping(options: BroadcastOptions = {}): Promise<BroadcastReplies<{ readonly ok: "pong" }>> {
    return this.broadcast("ping", {}, { reply: true, ...options });
  }

  /** Removes all waiting tasks of the app's queues, for good. Resolves to how many there were. */
  purge(): Promise<number> {
    return this.#parts.purge();
  }

  /** The same by its older name. */
  discardAll(): Promise<number> {
    return this.purge();
  }

  /** Has a task, or several, not run any more; with `terminate` also stops them where they run. */
  revoke(taskId: string | readonly string[], options: RevokeOptions = {}): Promise<BroadcastReplies> {
    const { terminate = false, signalName = "SIGTERM" } = options;
    return this.broadcast("revoke", { task_id: taskId, terminate, signal: signalName }, options);
  }

  /** Revokes, and stops what runs. */
  terminate(taskId: string | readonly string[], options: RevokeOptions = {}): Promise<BroadcastReplies> {
    return this.revoke(taskId, { ...options, terminate: true });
  }

  /** Revokes whatever carries one of these stamps: `{monitoring_id: ["a", "b"]}`. */
  revokeByStampedHeaders(
    headers: Readonly<Record<string, unknown>>,
    options: RevokeOptions = {},
  ): Promise<BroadcastReplies> {
    const { terminate = false, signalName = "SIGTERM" } = options;
    return this.broadcast("revoke_by_stamped_headers", { headers, terminate, signal: signalName }, options);
  }

  /** `10/m`, `5/s`, a number of tasks a second, or 0 for no limit. */
  rateLimit(taskName: string, rateLimit: string | number, options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("rate_limit", { task_name: taskName, rate_limit: rateLimit }, options);
  }

  /** Seconds; null or left out for no limit. */
  timeLimit(
    taskName: string,
    limits: { readonly soft?: number | null; readonly hard?: number | null },
    options: BroadcastOptions = {},
  ): Promise<BroadcastReplies> {
    const { soft = null, hard = null } = limits;
    return this.broadcast("time_limit", { task_name: taskName, hard, soft }, options);
  }

  /** Has workers consume one queue more. */
  addConsumer(queue: string, options: AddConsumerOptions = {}): Promise<BroadcastReplies> {
    const { exchange = null, exchangeType = "direct", routingKey = null, options: more = {} } = options;
    const args = { queue, exchange, exchange_type: exchangeType, routing_key: routingKey, ...more };
    return this.broadcast("add_consumer", args, options);
  }

  /** Has workers consume this queue no more. */
  cancelConsumer(queue: string, options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("cancel_consumer", { queue }, options);
  }

  /** Has workers tell monitors of their tasks. */
  enableEvents(options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("enable_events", {}, options);
  }

  disableEvents(options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("disable_events", {}, options);
  }

  /** Has workers send a heartbeat at once. */
  heartbeat(options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("heartbeat", {}, options);
  }

  /** Adds children to the pool. */
  poolGrow(n = 1, options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("pool_grow", { n }, options);
  }

  poolShrink(n = 1, options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("pool_shrink", { n }, options);
  }

  /** Replaces all children; `workerPoolRestarts` must be on. */
  poolRestart(
    modules: readonly string[] | null = null,
    options: BroadcastOptions & { readonly reload?: boolean } = {},
  ): Promise<BroadcastReplies> {
    const { reload = false } = options;
    return this.broadcast("pool_restart", { modules, reload, reloader: null }, options);
  }

  /** Changes the range of a worker started with `--autoscale`. */
  autoscale(max: number, min: number, options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("autoscale", { max, min }, options);
  }

  /** Has workers stop as TERM would; they do not answer. */
  shutdown(options: BroadcastOptions = {}): Promise<BroadcastReplies> {
    return this.broadcast("shutdown", {}, options);
  }

  /** Has the workers choose one of them, which then acts: under the topic `task`, sends the signature. */
  async election(
    id: string,
    topic: string,
    action: SignatureDict | null = null,
    options: BroadcastOptions = {},
  ): Promise<void> {
    await this.broadcast("election", { id, topic, action }, options);
  }
}

function callOf(method: string, args: Readonly<Record<string, unknown>>, options: InspectOptions): ControlCall {
  const { destination, pattern, matcher } = options;
  return {
    method,
    arguments: args,
    destination: typeof destination === "string" ? [destination] : (destination ?? null),
    pattern: pattern ?? null,
    matcher: pattern === undefined ? (matcher ?? null) : (matcher ?? "glob"),
  };
}

function namesTwice(replies: readonly NodeReply[]): string[] {
  const seen = new Set<string>();
  return [...new Set(replies.map(({ node }) => node).filter((node) => seen.has(node) || !seen.add(node)))].sort();
}
