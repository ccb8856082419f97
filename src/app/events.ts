import { hostname as hostOfThisMachine } from "node:os";
import type { Broker } from "../broker/broker.ts";
import type { Settings } from "../config/settings.ts";
import { Dispatcher } from "../events/dispatcher.ts";
import { Receiver, type ReceiverOptions } from "../events/receiver.ts";
import { State, type StateOptions } from "../events/state.ts";
import type { LamportClock } from "../protocol/clock.ts";
import { anonNodename } from "../protocol/nodename.ts";

export interface AppEventsParts {
  readonly settings: () => Settings;
  readonly clock: LamportClock;
  /** The app's own broker, connected. */
  readonly broker: () => Promise<Broker>;
  /** One for a receiver alone. */
  readonly createBroker: () => Promise<Broker>;
  /** Asks all workers for a heartbeat, over a broker. */
  readonly askForHeartbeats: (broker: Broker) => Promise<void>;
}

/** `app.events`: sending monitoring events and watching those of others. */
export class AppEvents {
  readonly #parts: AppEventsParts;
  readonly #dispatchers = new Map<string, Dispatcher>();

  constructor(parts: AppEventsParts) {
    this.#parts = parts;
  }

  /** Sends events over the app's connection, in the name of this process or of a node. One for each name. */
  dispatcher({ hostname = anonNodename(process.pid, hostOfThisMachine()) } = {}): Dispatcher {
    const known = this.#dispatchers.get(hostname);
    if (known) return known;
    const { eventExchange, eventSerializer } = this.#parts.settings();
    const dispatcher = new Dispatcher({
      hostname,
      broker: this.#parts.broker,
      clock: this.#parts.clock,
      exchange: eventExchange,
      serializer: eventSerializer,
    });
    this.#dispatchers.set(hostname, dispatcher);
    return dispatcher;
  }

  /**
   * Watches events over a connection of its own, which `close()` ends: `for await (const event of
   * receiver.events())`, or `receiver.capture({ "task-failed": (event) => … })`.
   */
  async receiver(options: ReceiverOptions = {}): Promise<Receiver> {
    const broker = await this.#parts.createBroker();
    const parts = {
      settings: this.#parts.settings(),
      clock: this.#parts.clock,
      broker,
      ownsBroker: true,
      node: anonNodename(process.pid, hostOfThisMachine()),
      wakeup: () => this.#parts.askForHeartbeats(broker),
    };
    return new Receiver(parts, options);
  }

  /** A picture of the cluster, made of events: `receiver.capture({ "*": (event) => state.event(event) })`. */
  state(options: StateOptions = {}): State {
    return new State(options);
  }

  /** `task-sent`, as the caller's side sends it. Never rejects: a call does not fail for want of its event. */
  async tellSent(events: readonly Readonly<Record<string, unknown>>[]): Promise<void> {
    await this.dispatcher()
      .publishAll("task-sent", events)
      .catch(() => undefined);
  }
}
