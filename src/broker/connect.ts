import { parseBrokerUrl, splitUrls } from "../config/url.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { Broker } from "./broker.ts";
import { createFailoverBroker } from "./failover.ts";
import type { BrokerOptions } from "./options.ts";

/**
 * The broker for these URLs, not connected yet. Several URLs make one broker that goes on with
 * another of them when the one it was on is gone. Only the transports asked for are loaded.
 * Throws `ImproperlyConfigured` for a URL that means nothing.
 */
export async function createBroker(urls: readonly string[], options: BrokerOptions): Promise<Broker> {
  const each = splitUrls(urls);
  const [first, ...others] = each;
  if (first === undefined) {
    throw new ImproperlyConfigured("there is no broker URL: give one, such as redis://localhost:6379/0");
  }
  if (others.length === 0) return await createTransport(first, options);
  const brokers = await Promise.all(each.map((url) => createTransport(url, options)));
  return createFailoverBroker(brokers, { ...options, urls: each });
}

async function createTransport(url: string, options: BrokerOptions): Promise<Broker> {
  const { transport } = parseBrokerUrl(url);
  switch (transport) {
    case "redis":
      return (await import("./redis/broker.ts")).createRedisBroker(url, options);
    case "amqp":
      return (await import("./amqp/broker.ts")).createAmqpBroker(url, options);
    case "sqlite":
      return (await import("./sqlite/broker.ts")).createSqliteBroker(url, options);
    case "memory":
      return (await import("./memory/broker.ts")).createMemoryBroker(url, options);
  }
}
