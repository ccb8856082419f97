import { setTimeout as sleep } from "node:timers/promises";
import type { Broker, Publication, Queue } from "../broker/broker.ts";
import { BrokerConnectionError, OperationalError } from "../errors.ts";
import type { ErrorClass } from "./task.ts";

/** How often and how fast a publish is tried again after a lost connection (inventory C10); seconds. */
export interface PublishPolicy {
  readonly retry: boolean;
  /** Null: for ever. */
  readonly maxRetries: number | null;
  readonly intervalStart: number;
  readonly intervalStep: number;
  readonly intervalMax: number;
  /** Further errors to try again after: those of the connection always are. */
  readonly retryErrors?: readonly ErrorClass[];
  /** Ends the tries, with its reason. */
  readonly signal?: AbortSignal;
}

/** Seconds to wait before try number `attempt` (from 1), or null when no more are to be made. */
export function publishDelay(attempt: number, policy: PublishPolicy): number | null {
  if (!policy.retry) return null;
  if (policy.maxRetries !== null && attempt > policy.maxRetries) return null;
  return Math.min(policy.intervalStart + (attempt - 1) * policy.intervalStep, policy.intervalMax);
}

/**
 * Gets messages into a broker, connecting when needed: one of the two places that retry.
 *
 * What `publish` resolved for the broker has, at least once: when the connection goes between a
 * message and the broker's answer nobody can know whether it arrived, so it is sent again, and may
 * then be there twice (both with one task id). Rejects with `OperationalError` once the policy is
 * exhausted; the message is then in the queue at most by such an accident.
 */
export class Publisher {
  readonly #open: () => Promise<Broker>;

  /** `open` gives the broker, connected; where it was lost or closed, connected anew. Cheap while it is up. */
  constructor(open: () => Promise<Broker>) {
    this.#open = open;
  }

  /** One message, or many in one go; `queues` are declared first, once per connection. */
  async publish(publications: readonly Publication[], queues: readonly Queue[], policy: PublishPolicy): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      policy.signal?.throwIfAborted();
      try {
        const broker = await this.#open();
        for (const queue of queues) await broker.declare(queue);
        const [only] = publications;
        if (publications.length === 1 && only) await broker.publish(only.message, only.address);
        else await broker.publishMany(publications);
        return;
      } catch (error) {
        const isWanted = policy.retryErrors?.some((one) => error instanceof one) ?? false;
        if (!(error instanceof BrokerConnectionError) && !isWanted) throw error;
        const delay = publishDelay(attempt, policy);
        if (delay === null) throw error instanceof BrokerConnectionError ? unpublished(attempt, error) : error;
        await sleep(delay * 1000, undefined, policy).catch((stopped: unknown) => {
          throw policy.signal?.aborted ? policy.signal.reason : stopped;
        });
      }
    }
  }
}

function unpublished(tries: number, error: BrokerConnectionError): OperationalError {
  return new OperationalError(
    `the message could not be published after ${tries} ${tries === 1 ? "try" : "tries"}: ${error.message}. ` +
      "Is the broker running and its URL right? `retryPolicy` makes a call wait longer.",
    { cause: error, code: error.code },
  );
}
