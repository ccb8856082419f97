import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import type { ResultBackend } from "../backend/backend.ts";
import type { ResultRecord } from "../backend/record.ts";
import type { Broker, Delivery } from "../broker/broker.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { HandOver } from "../execution/hand-over.ts";
import { backoff } from "../util/backoff.ts";

type HandingBroker = Broker & Required<Pick<Broker, "handOver">>;

export const canHandOver = (broker: Broker): broker is HandingBroker => broker.handOver !== undefined;

export interface HandOverParts {
  readonly broker: HandingBroker;
  /** The result store, on the same server or in the same file as the broker. */
  readonly backend: () => Promise<ResultBackend>;
  /** Aborts when nothing is waited for any more. */
  readonly cold: AbortSignal;
}

/**
 * Ends a task: its result, what follows it and its acknowledgement in one atomic step of the
 * store that has them all. A crash before it runs the task again; after it, all is done. Resolves
 * to false when the message is somebody else's by now, who runs the task again.
 */
export class HandOvers {
  readonly #parts: HandOverParts;

  constructor(parts: HandOverParts) {
    this.#parts = parts;
  }

  /** Tried until it is made: a broker that is away is waited for. Rejects when the store refuses it, or at a cold end. */
  async make(delivery: Delivery | null, record: ResultRecord | null, handOver: HandOver | undefined): Promise<boolean> {
    const id = randomUUID();
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await this.#make(id, delivery, record, handOver);
      } catch (error) {
        const { cold } = this.#parts;
        if (!(error instanceof BrokerConnectionError) || cold.aborted) throw error;
        await sleep(backoff({ attempt, initial: 0.05, max: 1 }) * 1000, undefined, { signal: cold });
      }
    }
  }

  async #make(
    id: string,
    delivery: Delivery | null,
    record: ResultRecord | null,
    handOver: HandOver | undefined,
  ): Promise<boolean> {
    const { broker } = this.#parts;
    const backend = await this.#parts.backend();
    for (const queue of handOver?.queues ?? []) await broker.declare(queue);
    const made = await broker.handOver({
      id,
      delivery,
      publications: handOver?.publications ?? [],
      result: record === null ? null : ((await backend.sharedWrite?.(record)) ?? null),
    });
    // What counted the chord goes by itself in time; nobody depends on it any more.
    if (made && handOver?.firedChord) await backend.closeChord(handOver.firedChord).catch(() => undefined);
    return made;
  }
}
