import { setTimeout as delay } from "node:timers/promises";
import { type BackendConnectionError, OperationalError } from "../../errors.ts";
import { backoff } from "../../util/backoff.ts";
import { backendError } from "./errors.ts";

/** A connection, and how to let go of it. */
export interface Opened<Connection> {
  readonly connection: Connection;
  close(): void;
}

export interface LinkParts<Connection> {
  /** Where it leads, with its password masked. */
  readonly displayUrl: string;
  /** Seconds an operation may take over all its attempts. */
  readonly patience: number;
  /** Connects; `signal` aborts when nobody needs it any more. Rejects with `BackendConnectionError`. */
  readonly open: (signal: AbortSignal) => Promise<Opened<Connection>>;
  readonly onOpen?: (connection: Connection) => void;
}

/**
 * A connection that is made when it is needed and made again when it was lost. What is asked of
 * it is tried again over the next one until patience ends: so only what may happen twice.
 */
export class RedisLink<Connection extends { readonly isOpen: boolean }> {
  readonly #parts: LinkParts<Connection>;
  readonly #closing = new AbortController();
  #open: Opened<Connection> | undefined;
  #opening: Promise<Connection> | undefined;

  constructor(parts: LinkParts<Connection>) {
    this.#parts = parts;
  }

  get isClosed(): boolean {
    return this.#closing.signal.aborted;
  }

  /** The connection, if it is up. */
  get current(): Connection | undefined {
    const connection = this.#open?.connection;
    return connection?.isOpen ? connection : undefined;
  }

  /** Does what `use` does, again after a loss. Rejects with `BackendConnectionError` when patience ends. */
  async use<Value>(use: (connection: Connection) => Promise<Value>): Promise<Value> {
    const until = performance.now() + this.#parts.patience * 1000;
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
  connection(): Promise<Connection> {
    if (this.isClosed) return Promise.reject(this.closedError());
    const { current } = this;
    if (current !== undefined) return Promise.resolve(current);
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = undefined;
    });
    return this.#opening;
  }

  closedError(): BackendConnectionError {
    return backendError(`${this.#parts.displayUrl} is closed`, true);
  }

  close(): void {
    this.#closing.abort(this.closedError());
    this.#open?.close();
  }

  async #connect(): Promise<Connection> {
    const opened = await this.#parts.open(this.#closing.signal);
    if (this.isClosed) {
      opened.close();
      throw this.closedError();
    }
    this.#open = opened;
    this.#parts.onOpen?.(opened.connection);
    return opened.connection;
  }
}
