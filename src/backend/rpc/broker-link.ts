import { amqpUrl } from "../../broker/amqp/address.ts";
import { type Link, openLink } from "../../broker/amqp/link.ts";
import { maskUrl } from "../../config/url.ts";
import { BackendConnectionError, BrokerConnectionError, ImproperlyConfigured } from "../../errors.ts";
import type { BackendOptions } from "../options.ts";

/** Seconds to connect when the settings say nothing. */
const defaultConnectTimeout = 4;

/**
 * Connects to the first of the broker's URLs that answers. `onLost` is called once when the
 * connection has ended by itself. Rejects with `BackendConnectionError`, and with
 * `ImproperlyConfigured` when the broker is not RabbitMQ.
 */
export async function linkToBroker(
  options: BackendOptions,
  purpose: string,
  onLost: (error: Error) => void,
): Promise<Link> {
  const { brokerUrls, transportOptions, connectTimeout = defaultConnectTimeout } = options;
  if (brokerUrls.length === 0) {
    throw new ImproperlyConfigured("the rpc result backend sends results over the broker: brokerUrl must be set");
  }
  let failure: unknown;
  for (const url of brokerUrls) {
    try {
      const settings = { transportOptions, connectTimeout };
      return await openLink(amqpUrl(url), maskUrl(url), settings, purpose, onLost);
    } catch (error) {
      if (error instanceof ImproperlyConfigured) throw error;
      failure = error;
    }
  }
  throw asBackendError(failure);
}

/** The broker's connection errors under the name a result store's have. */
export function asBackendError(error: unknown): unknown {
  if (!(error instanceof BrokerConnectionError)) return error;
  return new BackendConnectionError(error.message, { cause: error });
}
