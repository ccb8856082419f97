import type { Broker } from "../broker.ts";
import type { RedisConnection } from "./connection.ts";
import type { RedisAddress } from "./options.ts";

/** Whoever has connections to a Redis server and lets others of the process use them. */
export interface RedisLender {
  /** Database its connections work in. */
  readonly db: number;
  /**
   * The connection that publishes and asks, connected; null when `address` leads elsewhere or ours
   * is closed for good. The borrower leaves it as it was, and never closes it.
   */
  lend(address: RedisAddress): Promise<RedisConnection | null>;
  /** The same for the one that listens; null also while nobody listens. */
  lendListener(address: RedisAddress): RedisConnection | null;
}

/** The broker, or of several the one that is used now, as a lender, where it is one. */
export function lenderOf(broker: Broker | undefined): (Broker & RedisLender) | undefined {
  const serving = broker !== undefined && "serving" in broker ? (broker.serving as Broker) : broker;
  return serving !== undefined && "lendListener" in serving ? (serving as Broker & RedisLender) : undefined;
}

/** Whether two addresses lead to one server, in the same way and under the same conditions; databases may differ. */
export function sameServer(one: RedisAddress, other: RedisAddress): boolean {
  return fingerprint(one) === fingerprint(other);
}

function fingerprint({ options, socketTimeout, connectTimeout }: RedisAddress): string {
  const { db: _db, ...server } = options;
  return JSON.stringify([server, socketTimeout, connectTimeout], (_key, value: unknown) =>
    typeof value === "function" ? String(value) : value,
  );
}
