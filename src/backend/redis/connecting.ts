import type { Broker } from "../../broker/broker.ts";
import type { RedisCommands } from "../../broker/redis/commands.ts";
import { RedisConnection } from "../../broker/redis/connection.ts";
import { RedisDatabase } from "../../broker/redis/database.ts";
import { lenderOf } from "../../broker/redis/lending.ts";
import type { RedisAddress } from "../../broker/redis/options.ts";
import { BrokerConnectionError } from "../../errors.ts";
import { backendError } from "./errors.ts";
import type { Opened } from "./link.ts";

/** Seconds a command may go unanswered. */
const deadline = 10;

/** Where a store's connections come from: borrowed from a broker on the same server, or made. */
export class Connecting {
  readonly #address: RedisAddress;
  readonly #broker: (() => Broker | undefined) | undefined;

  constructor(address: RedisAddress, broker: (() => Broker | undefined) | undefined) {
    this.#address = address;
    this.#broker = broker;
  }

  /** One that works. Rejects with `BackendConnectionError`. */
  readonly working = async (signal: AbortSignal): Promise<Opened<RedisCommands>> =>
    (await this.#borrow()) ?? (await this.#own(signal));

  /** One that listens. Rejects with `BackendConnectionError`. */
  readonly listening = async (signal: AbortSignal): Promise<Opened<RedisConnection>> => {
    const connection = lenderOf(this.#broker?.())?.lendListener(this.#address);
    return connection ? { connection, close: () => undefined } : await this.#own(signal);
  };

  async #borrow(): Promise<Opened<RedisCommands> | null> {
    const lender = lenderOf(this.#broker?.());
    if (lender === undefined) return null;
    const { db } = this.#address;
    try {
      const lent = await lender.lend(this.#address);
      if (lent === null) return null;
      const connection = await RedisDatabase.open(lent, { db, home: lender.db, error: backendError });
      return { connection, close: () => undefined };
    } catch (error) {
      if (!(error instanceof BrokerConnectionError)) throw error;
      throw backendError(error.message, true, error);
    }
  }

  async #own(signal: AbortSignal): Promise<Opened<RedisConnection>> {
    const connection = await RedisConnection.open({
      address: this.#address,
      error: backendError,
      deadline: this.#address.socketTimeout ?? deadline,
      signal,
    });
    return { connection, close: () => connection.close() };
  }
}
