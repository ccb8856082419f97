import { readFileSync } from "node:fs";
import type { ConnectionOptions } from "node:tls";
import type { RedisOptions } from "ioredis";
import { readTlsOptions, type TlsOptions, verifiedTls } from "../../config/tls.ts";
import { maskUrl, type RedisUrl } from "../../config/url.ts";
import { ImproperlyConfigured } from "../../errors.ts";

/** How to reach a Redis server: everything a connection needs, read once. */
export interface RedisAddress {
  /** For ioredis, without anything that is a matter of one connection's role. */
  readonly options: RedisOptions;
  /** The URL with its password masked. */
  readonly displayUrl: string;
  readonly db: number;
  /** Seconds one attempt to connect may take. */
  readonly connectTimeout: number;
  /** Seconds without any answer to a command after which the connection counts as dead; the user's `socket_timeout`. */
  readonly socketTimeout: number | undefined;
}

/** What both a broker and a result store are told about their connections. */
export interface AddressOptions {
  readonly transportOptions: Readonly<Record<string, unknown>>;
  readonly connectTimeout?: number;
  readonly useSsl?: boolean | Readonly<Record<string, unknown>>;
}

/**
 * Puts URL and options together for ioredis: TLS, sockets, Sentinel, time limits. It never
 * reconnects by itself and never queues commands while it is not connected: whoever uses it
 * decides about that.
 *
 * Throws `ImproperlyConfigured` for a Sentinel without `master_name` and for TLS files that cannot be read.
 */
export function redisAddress(url: RedisUrl, text: string, given: AddressOptions): RedisAddress {
  const options = given.transportOptions;
  const displayUrl = maskUrl(text);
  const connectTimeout = positive(options.socket_connect_timeout) ?? given.connectTimeout ?? 4;
  const tls = tlsOf(url, given.useSsl, displayUrl);
  const common: RedisOptions = {
    // RESP2 throughout: ioredis drops RESP3's invalidation pushes, which on RESP2 are ordinary messages.
    protocol: 2,
    lazyConnect: true,
    retryStrategy: null,
    maxRetriesPerRequest: 0,
    enableOfflineQueue: false,
    autoResubscribe: false,
    autoResendUnfulfilledCommands: false,
    enableReadyCheck: false,
    disableClientInfo: true,
    db: url.db,
    connectTimeout: connectTimeout * 1000,
    keepAlive: options.socket_keepalive === false ? -1 : 30_000,
    ...(url.username === null ? {} : { username: url.username }),
    ...(url.password === null ? {} : { password: url.password }),
    ...(typeof options.client_name === "string" ? { connectionName: options.client_name } : {}),
    ...(tls === undefined ? {} : { tls }),
  };
  return {
    options: { ...common, ...placeOf(url, options, displayUrl, tls) },
    displayUrl,
    db: url.db,
    connectTimeout,
    socketTimeout: positive(options.socket_timeout),
  };
}

function placeOf(
  url: RedisUrl,
  options: Readonly<Record<string, unknown>>,
  displayUrl: string,
  tls: ConnectionOptions | undefined,
): RedisOptions {
  switch (url.kind) {
    case "tcp":
      return { host: url.host, port: url.port };
    case "socket":
      return { path: url.path };
    case "sentinel": {
      const name = typeof options.master_name === "string" ? options.master_name : url.masterName;
      if (!name) {
        throw new ImproperlyConfigured(
          `${displayUrl} needs the name of its master: set the transport option master_name`,
        );
      }
      const access = isRecord(options.sentinel_kwargs) ? options.sentinel_kwargs : {};
      return {
        sentinels: url.sentinels.map(({ host, port }) => ({ host, port })),
        name,
        // One round over all sentinels; the next attempt is the caller's decision.
        sentinelRetryStrategy: () => null,
        ...(typeof access.password === "string" ? { sentinelPassword: access.password } : {}),
        ...(typeof access.username === "string" ? { sentinelUsername: access.username } : {}),
        ...(access.ssl === true && tls !== undefined ? { enableTLSForSentinelMode: true, sentinelTLS: tls } : {}),
        ...(access.ssl !== true && tls !== undefined ? { enableTLSForSentinelMode: true } : {}),
      };
    }
  }
}

function tlsOf(
  url: RedisUrl,
  useSsl: AddressOptions["useSsl"],
  displayUrl: string,
): (ConnectionOptions & { checkServerIdentity?: () => undefined }) | undefined {
  const options: TlsOptions | null = isRecord(useSsl)
    ? readTlsOptions(useSsl, "the TLS options")
    : (url.tls ?? (useSsl === true ? verifiedTls : null));
  if (options === null) return undefined;
  const file = (path: string | null, key: string): Record<string, Buffer> => {
    if (path === null) return {};
    try {
      return { [key]: readFileSync(path) };
    } catch (error) {
      throw new ImproperlyConfigured(`the ${key} file for ${displayUrl} cannot be read: ${path}`, { cause: error });
    }
  };
  return {
    rejectUnauthorized: options.rejectUnauthorized,
    ...(options.checkHostname ? {} : { checkServerIdentity: () => undefined }),
    ...file(options.ca, "ca"),
    ...file(options.cert, "cert"),
    ...file(options.key, "key"),
    ...(options.passphrase === null ? {} : { passphrase: options.passphrase }),
    ...(options.servername === null ? {} : { servername: options.servername }),
  };
}

/** A number of seconds above zero, also written as text in a URL's query; else undefined. */
export function positive(value: unknown): number | undefined {
  const number = typeof value === "string" && value.trim() !== "" ? Number(value) : value;
  return typeof number === "number" && Number.isFinite(number) && number > 0 ? number : undefined;
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
