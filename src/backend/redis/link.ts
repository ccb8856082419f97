import { setTimeout as delay } from "node:timers/promises";
import { RedisConnection } from "../../broker/redis/connection.ts";
import type { RedisAddress } from "../../broker/redis/options.ts";
import { type BackendConnectionError, OperationalError } from "../../errors.ts";
import { backoff } from "../../util/backoff.ts";
import { backendError } from "./errors.ts";

/** Seconds a command may go unanswered. */
const deadline = 10;

/**
 * A connection that is made when it is needed and made again when it was lost. What is asked of
 * it is tried again over the next one until patience ends: so only what may happen twice.
 */
export class RedisLink {
  readonly #address: RedisAddress;
  /** Seconds an operation may take over all its attempts. */
  readonly #patience: number;
  readonly #onOpen: ((connection: RedisConnection) => void) | undefined;
  readonly #closing = new AbortController();
  #open: RedisConnection | undefined;
  #opening: Promise<RedisConnection> | undefined;

  constructor(address: RedisAddress, patience: number, onOpen?: (connection: RedisConnection) => void) {
    this.#address = address;
    this.#patience = patience;
    this.#onOpen = onOpen;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The connection, if it is up. */
  get current(): RedisConnection | undefined {
    return this.#open?.isOpen ? this.#open : undefined;
  }

  /** Does what `use` does, again after a loss. Rejects with `BackendConnectionError` when patience ends. */
  async use<Value>(use: (connection: RedisConnection) => Promise<Value>): Promise<Value> {
    const until = performance.now() + this.#patience * 1000;
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await use(await this.connection());
      } catch (error) {
        const again = error instanceof OperationalError && error.name === "BackendConnectionError";
        const wait = backoff({ attempt, initial: 0.05, max: 1, jitter: 0.5 });
        if (!again || this.isClosed || performance.now() + wait * 1000 > until) throw error;
        await delay(wait * 1000, undefined, { signal: this.#closing.signal }).catch(() => undefined);
      }
    }
  }

  /** Connects, once. */
  connection(): Promise<RedisConnection> {
    if (this.isClosed) return Promise.reject(this.closedError());
    if (this.current !== undefined) return Promise.resolve(this.current);
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  closedError(): BackendConnectionError {
    return backendError(`${this.#address.displayUrl} is closed`, true);
  }

  close(): void {
    this.#closing.abort(this.closedError());
    this.#open?.close();
  }

  async #connect(): Promise<RedisConnection> {
    const connection = await RedisConnection.open({
      address: this.#address,
      error: backendError,
      deadline: this.#address.socketTimeout ?? deadline,
      signal: this.#closing.signal,
    });
    if (this.isClosed) {
      connection.close();
      throw this.closedError();
    }
    this.#open = connection;
    this.#onOpen?.(connection);
    return connection;
  }
}
