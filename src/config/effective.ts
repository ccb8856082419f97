/** What a few settings mean together. */
import type { Settings } from "./settings.ts";
import { defaultBrokerUrl, type RedisDefaults, splitUrls } from "./url.ts";

type BrokerPart = "brokerUrl" | "brokerReadUrl" | "brokerWriteUrl" | "brokerTransport" | BrokerParts;
type BrokerParts = "brokerHost" | "brokerPort" | "brokerUser" | "brokerPassword" | "brokerVhost";

/**
 * The broker URLs to try, in order, for consuming (`read`), publishing (`write`), or whatever has
 * no side: from `brokerUrl` and its siblings, else from `brokerHost` and its parts, else the
 * embedded store.
 */
export function effectiveBrokerUrls(
  settings: Pick<Settings, BrokerPart>,
  side: "read" | "write" | null = null,
): readonly string[] {
  const own = side === "read" ? settings.brokerReadUrl : side === "write" ? settings.brokerWriteUrl : null;
  const urls = own ?? settings.brokerUrl ?? urlFromParts(settings);
  return urls === null ? [defaultBrokerUrl] : splitUrls(urls);
}

/** The settings from before there were URLs, as a URL; null when none of them names a broker. */
function urlFromParts(settings: Pick<Settings, BrokerPart>): string | null {
  const { brokerTransport, brokerHost, brokerPort, brokerUser, brokerPassword, brokerVhost } = settings;
  if (brokerHost === null && brokerTransport === null) return null;
  if (brokerHost?.includes("://")) return brokerHost;
  const user = encodeURIComponent(brokerUser ?? "");
  const password = brokerPassword === null ? "" : `:${encodeURIComponent(brokerPassword)}`;
  const access = user || password ? `${user}${password}@` : "";
  const port = brokerPort === null ? "" : `:${brokerPort}`;
  const path = brokerVhost === null ? "" : `/${encodeURIComponent(brokerVhost.replace(/^\/(?=\d+$)/, ""))}`;
  return `${brokerTransport ?? "amqp"}://${access}${brokerHost ?? ""}${port}${path}`;
}

/**
 * Where results are kept: what `resultBackend` says; else, when no broker was given either, the
 * file of the embedded store, so that results work with nothing set up; else nowhere.
 */
export function effectiveResultBackend(settings: Pick<Settings, "resultBackend" | BrokerPart>): string {
  if (settings.resultBackend !== null) return settings.resultBackend;
  const noBroker =
    settings.brokerReadUrl === null &&
    settings.brokerWriteUrl === null &&
    settings.brokerUrl === null &&
    urlFromParts(settings) === null;
  return noBroker ? defaultBrokerUrl : "disabled://";
}

/** The exchange of queues that name none (inventory A56). */
export const defaultExchangeName = (settings: Pick<Settings, "taskDefaultExchange" | "taskDefaultQueue">): string =>
  settings.taskDefaultExchange ?? settings.taskDefaultQueue;

/** The routing key of the default queue (inventory A56). */
export const defaultRoutingKey = (settings: Pick<Settings, "taskDefaultRoutingKey" | "taskDefaultQueue">): string =>
  settings.taskDefaultRoutingKey ?? settings.taskDefaultQueue;

/** The parts of a Redis result store's address its URL may leave to the settings, for `parseBackendUrl`. */
export function redisDefaults(
  settings: Pick<Settings, "redisHost" | "redisPort" | "redisDb" | "redisUsername" | "redisPassword">,
): RedisDefaults {
  return {
    host: settings.redisHost,
    port: settings.redisPort,
    db: settings.redisDb,
    username: settings.redisUsername,
    password: settings.redisPassword,
  };
}

/**
 * What the settings `redis_socket_*` and `redis_client_name` say of the connections of a Redis result store, as far
 * as they were given, in the words of its transport options.
 */
export function redisStoreOptions(conf: {
  readonly settings: Settings;
  isSet(name: string): boolean;
}): Readonly<Record<string, unknown>> {
  const words = {
    redisSocketTimeout: "socket_timeout",
    redisSocketConnectTimeout: "socket_connect_timeout",
    redisSocketKeepalive: "socket_keepalive",
    redisClientName: "client_name",
  } as const;
  const given = (Object.keys(words) as (keyof typeof words)[]).filter((key) => conf.isSet(key));
  return Object.fromEntries(given.map((key) => [words[key], conf.settings[key]]));
}
