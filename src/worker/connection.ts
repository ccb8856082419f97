import { setTimeout as sleep } from "node:timers/promises";
import type { Broker } from "../broker/broker.ts";
import { BrokerConnectionError, OperationalError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { backoff } from "../util/backoff.ts";
import type { Service } from "../util/service.ts";

export interface ConnectionParts {
  readonly broker: Broker;
  readonly logger: Logger;
  /** After every connect: whoever uses the connection begins anew. Rejecting counts as a lost connection. */
  readonly onConnected: () => Promise<void>;
  readonly retryOnStartup: boolean;
  readonly retry: boolean;
  /** Null or 0: for ever. */
  readonly maxRetries: number | null;
  /** The connection is given up: the worker has to stop. */
  readonly onFatal: (error: Error) => void;
}

/** Longest pause between two tries, in seconds: a worker consumes again within 5 s of the broker's return. */
const longestPause = 2;

/** Keeps the broker connected: one of the two places that retry. After each connect its users subscribe anew. */
export class Connection implements Service {
  readonly name = "connection";
  readonly #parts: ConnectionParts;
  readonly #stopping = new AbortController();
  #attempt: Promise<void> | undefined;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  async start(): Promise<void> {
    const { retry, retryOnStartup } = this.#parts;
    await this.#establish(retry && retryOnStartup);
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#attempt?.catch(() => undefined);
    await this.#parts.broker.close();
  }

  /** A user of the connection has seen it end. Tells once per loss and begins to reconnect. */
  lost(error: Error): void {
    if (this.#stopping.signal.aborted || this.#attempt) return;
    const { logger, retry, onFatal } = this.#parts;
    logger.warn("consumer: Connection to broker lost. Trying to re-establish the connection... (%s)", error.message);
    if (!retry) return onFatal(error);
    this.#attempt = this.#establish(true)
      .catch((reason: Error) => {
        if (!this.#stopping.signal.aborted) onFatal(reason);
      })
      .finally(() => {
        this.#attempt = undefined;
      });
  }

  async #establish(retry: boolean): Promise<void> {
    const { broker, logger, maxRetries, onConnected } = this.#parts;
    const { signal } = this.#stopping;
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        await broker.connect(signal);
        await onConnected();
        logger.info("Connected to %s", broker.displayUrl);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof BrokerConnectionError) || !retry) throw error;
        if (maxRetries && attempt >= maxRetries) {
          throw new OperationalError(
            `no connection to ${broker.displayUrl} after ${attempt} tries (brokerConnectionMaxRetries): ${error.message}`,
            { cause: error },
          );
        }
        const pause = backoff({ attempt, initial: 0.2, max: longestPause, jitter: 0.2 });
        logger.error(
          "consumer: Cannot connect to %s: %s\nTrying again in %s seconds... (%d/%s)",
          broker.displayUrl,
          error.message,
          pause.toFixed(2),
          attempt + 1,
          maxRetries || "for ever",
        );
        await sleep(pause * 1000, undefined, { signal }).catch(() => undefined);
      }
    }
  }
}
