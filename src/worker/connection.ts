import { setTimeout as sleep } from "node:timers/promises";
import type { Broker } from "../broker/broker.ts";
import { BrokerConnectionError, OperationalError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { backoff } from "../util/backoff.ts";
import type { Service } from "../util/service.ts";

/** Whoever works over the connection: the flow of tasks, the mailbox, the events. */
export interface ConnectionUser {
  /** Begins anew, after every connect. Rejecting counts as a lost connection. */
  subscribe(): Promise<void>;
}

export interface ConnectionParts {
  readonly broker: Broker;
  readonly logger: Logger;
  /** In the order in which they begin. */
  readonly users: readonly ConnectionUser[];
  readonly retryOnStartup: boolean;
  readonly retry: boolean;
  /** What the broker refuses at the start is waited out as well (`brokerChannelErrorRetry`). */
  readonly channelErrorRetry: boolean;
  /** Null or 0: for ever. */
  readonly maxRetries: number | null;
  /** The connection is given up: the worker has to stop. */
  readonly onFatal: (error: Error) => void;
}

/** Longest pause between two tries, in seconds: a worker consumes again within 5 s of the broker's return. */
const longestPause = 2;
/** Longest pause, in seconds, before the first try after connections that were lost as soon as they were made. */
const longestHesitation = 1;
/** Seconds a connection must last for its loss to count as the first one. */
const steadyAfter = 5;

/** `up` while its users work over it; `down` from a loss to the next connect. */
type State = { readonly name: "down" } | { readonly name: "up"; readonly sinceMs: number };

/** Keeps the broker connected: one of the two places that retry. After each connect its users subscribe anew. */
export class Connection implements Service {
  readonly name = "connection";
  readonly #parts: ConnectionParts;
  readonly #stopping = new AbortController();
  #state: State = { name: "down" };
  #attempt: Promise<void> | undefined;
  /** Told of a loss while it was still connecting: what it connected is of no use. */
  #lostMeanwhile: Error | undefined;
  /** Connections in a row that were lost as soon as they were made. */
  #shortLived = 0;

  constructor(parts: ConnectionParts) {
    this.#parts = parts;
  }

  /** Whether its users work over it. */
  get up(): boolean {
    return this.#state.name === "up";
  }

  /** Resolves when connected, or when told to stop before. Rejects when that is given up. */
  async start(): Promise<void> {
    const { retry, retryOnStartup } = this.#parts;
    this.#attempt = this.#establish({ retry: retry && retryOnStartup, before: "start" });
    await this.#attempt;
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    // Closing is also what ends an attempt that waits for an answer.
    await Promise.all([this.#attempt?.catch(() => undefined), this.#parts.broker.close()]);
  }

  /** A user of the connection has seen it end. Tells once per loss and begins to reconnect. */
  lost(error: Error): void {
    if (this.#stopping.signal.aborted) return;
    if (this.#state.name === "down") {
      this.#lostMeanwhile = error;
      return;
    }
    const { logger, retry, onFatal } = this.#parts;
    const lasted = (performance.now() - this.#state.sinceMs) / 1000;
    this.#shortLived = lasted < steadyAfter ? this.#shortLived + 1 : 0;
    this.#state = { name: "down" };
    logger.warn("consumer: Connection to broker lost. Trying to re-establish the connection... (%s)", error.message);
    if (!retry) return onFatal(error);
    this.#attempt = this.#establish({ retry: true, before: "loss" }).catch((reason: Error) => {
      if (!this.#stopping.signal.aborted) onFatal(reason);
    });
  }

  async #establish({ retry, before }: { readonly retry: boolean; readonly before: "start" | "loss" }): Promise<void> {
    const { broker, logger, maxRetries, users, channelErrorRetry } = this.#parts;
    const { signal } = this.#stopping;
    // A broker that takes us in and throws us out again must not be knocked at without a pause.
    if (this.#shortLived > 1) await this.#pause(Math.min(longestHesitation, pauseBefore(this.#shortLived - 2)));
    for (let attempt = 0; !signal.aborted; attempt += 1) {
      try {
        this.#lostMeanwhile = undefined;
        await broker.connect(signal);
        for (const user of users) await user.subscribe();
        if (this.#lostMeanwhile) throw connectionLost(this.#lostMeanwhile);
        this.#state = { name: "up", sinceMs: performance.now() };
        logger.info("Connected to %s", broker.displayUrl);
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (!retry || !isPassing(error, channelErrorRetry ? "loss" : before)) throw error;
        if (maxRetries && attempt >= maxRetries) throw triedEnough(broker.displayUrl, attempt, error);
        const pause = pauseBefore(attempt);
        logger.error(
          "consumer: Cannot connect to %s: %s.\nTrying again in %s seconds... (%d/%s)",
          broker.displayUrl,
          reasonOf(error, broker.displayUrl),
          pause.toFixed(2),
          attempt + 1,
          maxRetries || "for ever",
        );
        await this.#pause(pause);
      }
    }
  }

  async #pause(seconds: number): Promise<void> {
    await sleep(seconds * 1000, undefined, { signal: this.#stopping.signal }).catch(() => undefined);
  }
}

/** Seconds. */
const pauseBefore = (attempt: number): number => backoff({ attempt, initial: 0.2, max: longestPause, jitter: 0.2 });

/**
 * What another try may mend. A worker that has once consumed these queues has sound settings: a
 * broker that refuses them now, as a cluster does while it comes back, is waited for. At the
 * start the same refusal is a mistake, and is told, unless `brokerChannelErrorRetry` says otherwise.
 */
function isPassing(error: unknown, before: "start" | "loss"): error is OperationalError {
  return error instanceof BrokerConnectionError || (before === "loss" && error instanceof OperationalError);
}

/** A flow ends for reasons of its own (a consumer's timeout), which are no reason to give up. */
function connectionLost(error: Error): BrokerConnectionError {
  return error instanceof BrokerConnectionError ? error : new BrokerConnectionError(error.message, { cause: error });
}

function triedEnough(displayUrl: string, tries: number, error: OperationalError): OperationalError {
  return new OperationalError(
    `no connection to ${displayUrl} after ${tries} ${tries === 1 ? "retry" : "retries"} ` +
      `(brokerConnectionMaxRetries; null retries for ever): ${reasonOf(error, displayUrl)}`,
    { cause: error },
  );
}

/** Without what the line around it says already, and without the full stop it ends with. */
function reasonOf(error: OperationalError, displayUrl: string): string {
  const known = `cannot connect to ${displayUrl}: `;
  const text = error.message.startsWith(known) ? error.message.slice(known.length) : error.message;
  return text.replace(/\.$/, "");
}
