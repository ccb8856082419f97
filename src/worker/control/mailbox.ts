import { setTimeout as sleep } from "node:timers/promises";
import type { Broker, Delivery, Subscription } from "../../broker/broker.ts";
import type { ControlAddresses } from "../../control/addresses.ts";
import type { CommandRegistry } from "../../control/command.ts";
import { mostControlBytes } from "../../control/mailbox.ts";
import { BrokerConnectionError, TqError } from "../../errors.ts";
import type { Logger } from "../../log.ts";
import { LamportClock } from "../../protocol/clock.ts";
import { type ControlRequest, isAddressedTo, type ReplyAddress, readControlRequest } from "../../protocol/pidbox.ts";
import { decodeBody, encodeBody } from "../../serialization/registry.ts";
import { backoff } from "../../util/backoff.ts";
import { legible } from "../../util/legible.ts";
import type { Service } from "../../util/service.ts";
import type { ConnectionUser } from "../connection.ts";
import type { Panel } from "./panel.ts";
import { runCommand } from "./run-command.ts";

export interface ControlMailboxParts {
  readonly broker: Broker;
  readonly addresses: ControlAddresses;
  readonly registry: CommandRegistry<Panel>;
  readonly panel: Panel;
  /** Serializer of replies. */
  readonly serializer: string;
  /** Content types taken in commands. */
  readonly accept: ReadonlySet<string>;
  readonly logger: Logger;
}

/**
 * Receives remote control commands, runs them and replies: from the first connect until the pool
 * has drained, so that a stopping worker can still be asked and told. Whatever it receives, it
 * neither throws nor disturbs the flow of tasks.
 */
export class ControlMailbox implements Service, ConnectionUser {
  readonly name = "control";
  readonly #parts: ControlMailboxParts;
  /** Counts control messages only (protocol 11.1). */
  readonly #clock = new LamportClock();
  readonly #stopping = new AbortController();
  #subscription: Subscription | undefined;
  #retrying = false;

  constructor(parts: ControlMailboxParts) {
    this.#parts = parts;
  }

  /** Listens since the connection is up. */
  async start(): Promise<void> {}

  /**
   * Listens, anew after each connect. A mailbox somebody else holds is no reason not to work: it is
   * told, and tried again. Rejects with `BrokerConnectionError` when the connection is lost.
   */
  async subscribe(): Promise<void> {
    await this.#close();
    if (this.#stopping.signal.aborted) return;
    try {
      await this.#listen();
    } catch (error) {
      if (error instanceof BrokerConnectionError) throw error;
      this.#parts.logger.warn(
        "no remote control for now: %s. If another worker is called %s too, give each a name of its own with -n",
        textOf(error),
        this.#parts.panel.hostname,
      );
      void this.#listenLater();
    }
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#close();
  }

  async #listen(): Promise<void> {
    const { broker, addresses, panel } = this.#parts;
    const subscription = await broker.subscribe({
      node: panel.hostname,
      prefetch: 0,
      noAck: true,
      onDelivery: (delivery) => void this.#take(delivery), // catches all
      onLost: () => {
        if (this.#subscription !== subscription) return;
        this.#subscription = undefined;
        void this.#listenLater();
      },
    });
    try {
      await subscription.consume(addresses.nodeQueue(panel.hostname));
    } catch (error) {
      await subscription.close().catch(() => undefined);
      throw error;
    }
    this.#subscription = subscription;
    if (this.#stopping.signal.aborted) await this.#close();
  }

  /** Tries until it listens; a lost connection is made again by others, who then call `subscribe`. */
  async #listenLater(): Promise<void> {
    if (this.#retrying) return;
    this.#retrying = true;
    const { signal } = this.#stopping;
    for (let attempt = 0; this.#subscription === undefined && !signal.aborted; attempt += 1) {
      const seconds = backoff({ attempt, initial: 1, max: 10, jitter: 0.2 });
      await sleep(seconds * 1000, undefined, { signal, ref: false }).catch(() => undefined);
      if (this.#subscription === undefined && !signal.aborted) await this.#listen().catch(() => undefined);
    }
    this.#retrying = false;
  }

  async #close(): Promise<void> {
    const subscription = this.#subscription;
    this.#subscription = undefined;
    await subscription?.close().catch(() => undefined);
  }

  async #take({ message, damage }: Delivery): Promise<void> {
    const { accept, logger, panel } = this.#parts;
    let request: ControlRequest;
    try {
      if (damage !== null) throw new TypeError(damage);
      const decoded = decodeBody(message, accept, { maxBytes: mostControlBytes });
      // At once where that can be: commands and events take effect in the order of their arrival.
      request = readControlRequest(decoded instanceof Promise ? await decoded : decoded);
      panel.app.clock.forward();
      this.#clock.adjust(message.headers.clock);
      if (!isAddressedTo(request, panel.hostname)) return;
    } catch (error) {
      return logger.warn("a remote control message was ignored: %s", legible(textOf(error)));
    }
    try {
      await this.#obey(request);
    } catch (error) {
      logger.error({ err: error }, "Control command error: %s", legible(textOf(error)));
    }
  }

  async #obey(request: ControlRequest): Promise<void> {
    const { registry, panel, logger } = this.#parts;
    const { method, reply_to: replyTo } = request;
    if (logger.isLevelEnabled("debug")) logger.debug("pidbox received method %s", legible(method));
    const outcome = await runCommand(registry, panel, method, request.arguments);
    if (outcome.kind === "silent") return;
    if (outcome.kind === "error") {
      const { error } = outcome;
      const stack = error instanceof Error && !(error instanceof TqError) ? { err: error } : {};
      logger.error(stack, "Error in remote control command %s: %s", legible(method), legible(textOf(error)));
    }
    if (replyTo !== undefined) await this.#reply(replyTo, request.ticket, outcome.value);
  }

  async #reply(replyTo: ReplyAddress, ticket: string | undefined, value: unknown): Promise<void> {
    const { broker, panel, serializer, logger } = this.#parts;
    const message = {
      headers: { ticket: ticket ?? null, clock: this.#clock.forward() },
      properties: { delivery_mode: 1, priority: 0 } as const,
      ...(await encodeBody({ [panel.hostname]: value }, serializer)),
    };
    const address = { exchange: replyTo.exchange, routingKey: replyTo.routing_key, type: "direct" } as const;
    // Who asked may have gone: nobody misses the answer.
    await broker
      .publish(message, address)
      .catch((error: unknown) => logger.debug("a reply found nobody: %s", textOf(error)));
  }
}

const textOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
