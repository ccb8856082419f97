import { setTimeout as sleep } from "node:timers/promises";
import type { OpenBackend, ResultBackend } from "../backend/backend.ts";
import type { ResultRecord } from "../backend/record.ts";
import { BackendConnectionError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { backoff } from "../util/backoff.ts";

/**
 * Sees results into their store. A store that is away for a while costs no result: each is tried
 * again until it is kept, or until a cold shutdown lets go of them.
 */
export class ResultKeeper {
  readonly #open: OpenBackend;
  readonly #logger: Logger;
  readonly #letGo = new AbortController();
  /** The app's store, once it is open. */
  #backend: ResultBackend | undefined;

  constructor(open: OpenBackend, logger: Logger) {
    this.#open = open;
    this.#logger = logger;
  }

  /** Resolves when the result is kept. Rejects when it never can be, or when nothing is tried any more. */
  keep(record: ResultRecord): Promise<void> {
    return this.#store(record).catch((error: unknown) => this.#keepTrying(record, error));
  }

  /** Nothing is tried again from now on. */
  letGo(): void {
    this.#letGo.abort();
  }

  #store(record: ResultRecord): Promise<void> {
    if (record.store !== undefined) return this.#open(record.store).then((backend) => backend.store(record));
    return this.#backend?.store(record) ?? this.#openBackend().then((backend) => backend.store(record));
  }

  async #openBackend(): Promise<ResultBackend> {
    this.#backend = await this.#open();
    return this.#backend;
  }

  async #keepTrying(record: ResultRecord, reason: unknown): Promise<void> {
    let failure = reason;
    for (let attempt = 0; ; attempt += 1) {
      if (!(failure instanceof BackendConnectionError) || this.#letGo.signal.aborted) throw failure;
      const delay = backoff({ attempt, initial: 0.1, max: 2 });
      this.#logger.warn(
        "the result of %s could not be stored: %s. Trying again in %s seconds...",
        record.taskId,
        failure.message,
        delay.toFixed(2),
      );
      await sleep(delay * 1000, undefined, { signal: this.#letGo.signal });
      try {
        return await this.#store(record);
      } catch (error) {
        failure = error;
      }
    }
  }
}
