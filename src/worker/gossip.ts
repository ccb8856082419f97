import { setTimeout as sleep } from "node:timers/promises";
import type { Broker, Subscription } from "../broker/broker.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { Dispatcher } from "../events/dispatcher.ts";
import { type EventQueueSettings, Receiver } from "../events/receiver.ts";
import { State } from "../events/state.ts";
import type { Logger } from "../log.ts";
import type { LamportClock } from "../protocol/clock.ts";
import type { ReceivedEvent } from "../protocol/event.ts";
import type { Service } from "../util/service.ts";
import type { ConnectionUser } from "./connection.ts";
import { Elections } from "./election.ts";

export interface GossipParts {
  readonly broker: Broker;
  readonly settings: EventQueueSettings;
  readonly clock: LamportClock;
  readonly hostname: string;
  readonly dispatcher: Dispatcher;
  readonly logger: Logger;
  /** What the winner of an election does, by its topic. */
  readonly handlers: Readonly<Record<string, (action: unknown) => Promise<void>>>;
  /** Seconds between two looks for nodes that fell silent; default 5. */
  readonly interval?: number;
}

/** Milliseconds an acknowledgement waits for a second candidate. */
const lonelyMs = 1_000;

/** Milliseconds until an election is decided without those who do not answer: they are dead, or do not listen. */
const overdueMs = 5_000;

/**
 * Listens to the other nodes: keeps the clock with theirs, knows who is there, tells in the log
 * who came, left and fell silent, and settles elections (protocol 11.3, inventory G80). Over the
 * worker's own connections.
 */
export class Gossip implements Service, ConnectionUser {
  readonly name = "gossip";
  /** The other nodes. */
  readonly state: State;
  readonly #parts: GossipParts;
  readonly #receiver: Receiver;
  readonly #elections = new Elections();
  readonly #stopping = new AbortController();
  #subscription: Subscription | undefined;
  #looking: Promise<void> | undefined;
  /** Acknowledgements of elections in which only one stands so far. */
  readonly #held = new Map<string, NodeJS.Timeout>();
  /** Elections that must come to an end, whoever answers. */
  readonly #deadlines = new Set<NodeJS.Timeout>();
  /** Nodes that have answered at the start, and of which no event has come yet. */
  readonly #met = new Set<string>();

  constructor(parts: GossipParts) {
    this.#parts = parts;
    const { broker, settings, clock, hostname, logger } = parts;
    this.state = new State({
      maxTasksInMemory: 1,
      onNodeJoin: (worker) => logger.debug("%s joined the party", worker.hostname),
      onNodeLeave: (worker) => logger.debug("%s left", worker.hostname),
      onDrift: (node, drift) =>
        logger.warn(
          "Substantial drift from %s may mean clocks are out of sync.  Current drift is %d seconds.",
          node,
          drift,
        ),
    });
    this.#receiver = new Receiver(
      {
        broker,
        // Nobody needs to know of what a node said before the last heartbeats.
        settings: { ...settings, eventQueueTtl: 2 },
        clock,
        node: hostname,
        onDamage: (reason) => logger.warn("an event of another worker was ignored: %s", reason),
      },
      { routingKey: "worker.#" },
    );
  }

  async start(): Promise<void> {
    this.#looking ??= this.#look();
  }

  /** Listens anew after each connect. Without it tasks run all the same: only a lost connection counts. */
  async subscribe(): Promise<void> {
    await this.#close();
    if (this.#stopping.signal.aborted) return;
    try {
      const subscription = await this.#receiver.listen(
        (event) => this.#heard(event),
        () => undefined, // the flow of tasks sees it too, and tells the connection
      );
      this.#subscription = subscription;
      if (this.#stopping.signal.aborted) await this.#close();
    } catch (error) {
      if (error instanceof BrokerConnectionError) throw error;
      this.#parts.logger.warn("no gossip with other workers: %s", error instanceof Error ? error.message : error);
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    for (const timer of [...this.#held.values(), ...this.#deadlines]) clearTimeout(timer);
    this.#held.clear();
    this.#deadlines.clear();
    await this.#looking;
    await this.#close();
  }

  /** A neighbour has answered: it counts in elections before its first heartbeat has come. */
  meet(hostname: string): void {
    if (hostname !== this.#parts.hostname && !this.state.workers.has(hostname)) this.#met.add(hostname);
  }

  /** Stands for an election: what the control command of that name does. */
  election(id: string, topic: string, action: unknown): void {
    this.#elections.open(id);
    this.#parts.dispatcher.send("worker-elect", { id, topic, action, cver: 1 });
    const deadline = setTimeout(() => {
      this.#deadlines.delete(deadline);
      // What has arrived while this process was kept from its work is read first.
      setImmediate(() => this.#overdue(id));
    }, overdueMs).unref();
    this.#deadlines.add(deadline);
  }

  #heard(event: ReceivedEvent): void {
    const { hostname, logger } = this.#parts;
    // With `fanout_patterns` off everything arrives here (kombu's issue 1882).
    if (event.type.startsWith("task-")) return;
    if (event.type === "worker-elect") {
      const id = this.#elections.stands(event);
      if (id === null) logger.error("election request missing field: %j", event);
      else this.#acknowledge(id);
    } else if (event.type === "worker-elect-ack") {
      this.#elections.acknowledged(event);
    } else if (event.hostname !== hostname) {
      this.#met.delete(event.hostname);
      this.state.event(event);
    }
    for (const { id, winner } of this.#elections.settled(this.#electorate())) this.#decided(id, winner);
  }

  /** Who has to answer: all that are known, also those whose heartbeat is late. */
  *#electorate(): Iterable<string> {
    yield this.#parts.hostname;
    yield* this.state.workers.keys();
    yield* this.#met;
  }

  #overdue(id: string): void {
    const elected = this.#elections.overdue(id);
    if (elected === null) return;
    for (const node of this.#met) if (!elected.heard.has(node)) this.#met.delete(node);
    this.#decided(id, elected.winner);
  }

  /**
   * One acknowledgement for each candidate, as Celery sends them; but not before a second one stands,
   * or a second has passed. A Python worker decides by acknowledgements alone, and with a single candidate
   * it dies of it (kombu `clocks.py#sort_heap` looks at the second without asking whether there is one).
   */
  #acknowledge(id: string): void {
    const send = (): void => this.#parts.dispatcher.send("worker-elect-ack", { id });
    const held = this.#held.get(id);
    if (held === undefined && this.#elections.standing(id) < 2) {
      const later = (): void => {
        this.#held.delete(id);
        send();
      };
      this.#held.set(id, setTimeout(later, lonelyMs).unref());
      return;
    }
    if (held !== undefined) {
      clearTimeout(held);
      this.#held.delete(id);
      send();
    }
    send();
  }

  #decided(id: string, winner: { readonly node: string; readonly topic: string; readonly action: unknown }): void {
    const { hostname, logger, handlers } = this.#parts;
    if (winner.node !== `${hostname}.${process.pid}`) return logger.info("node %s elected for %s", winner.node, id);
    logger.info("I won the election %s", id);
    const handler = Object.hasOwn(handlers, winner.topic) ? handlers[winner.topic] : undefined;
    if (handler === undefined) return logger.error("Unknown election topic %s", winner.topic);
    handler(winner.action).catch((error: unknown) => logger.error({ err: error as Error }, "Could not call task"));
  }

  async #look(): Promise<void> {
    const { signal } = this.#stopping;
    const { interval = 5, logger } = this.#parts;
    while (!signal.aborted) {
      await sleep(interval * 1000, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      for (const [hostname, worker] of this.state.workers) {
        if (worker.alive) continue;
        logger.info("missed heartbeat from %s", hostname);
        this.state.workers.delete(hostname);
      }
    }
  }

  async #close(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await subscription?.close().catch(() => undefined);
  }
}
