import { readFile } from "node:fs/promises";
import type { Options, SocketOptions } from "amqplib";
import { readTlsOptions, type TlsOptions, verifiedTls } from "../../config/tls.ts";
import { type AmqpUrl, parseBrokerUrl } from "../../config/url.ts";
import { ImproperlyConfigured } from "../../errors.ts";
import type { BrokerOptions } from "../options.ts";

/** Seconds between heartbeats unless the settings say otherwise: a dead peer is noticed in two to three of them. */
const defaultHeartbeat = 10;

/** What amqplib's `connect` is called with. */
export interface ConnectArguments {
  readonly connect: Options.Connect;
  readonly socket: SocketOptions;
}

/** Reads an `amqp://` or `amqps://` URL; throws `ImproperlyConfigured` for any other. */
export function amqpUrl(url: string): AmqpUrl {
  const parsed = parseBrokerUrl(url);
  if (parsed.transport !== "amqp") {
    throw new ImproperlyConfigured(
      `RabbitMQ needs a URL that begins with amqp:// or amqps://, got ${parsed.transport}`,
    );
  }
  return parsed;
}

/** Turns URL and options into amqplib's arguments, reading certificate files. */
export async function connectArguments(
  url: AmqpUrl,
  options: Pick<BrokerOptions, "connectTimeout" | "heartbeat" | "useSsl" | "transportOptions">,
  connectionName: string,
): Promise<ConnectArguments> {
  const tls = url.tls ?? tlsOf(options.useSsl);
  const { login_method: login } = options.transportOptions;
  return {
    connect: {
      protocol: tls ? "amqps" : "amqp",
      hostname: url.host,
      port: url.port,
      username: url.username,
      password: url.password,
      // amqplib takes the name as it stands in a URL.
      vhost: encodeURIComponent(url.vhost),
      heartbeat: options.heartbeat ?? heartbeatIn(url),
      frameMax: 131_072,
    },
    socket: {
      noDelay: true,
      keepAlive: true,
      timeout: options.connectTimeout * 1000,
      clientProperties: { product: "tq", connection_name: connectionName },
      ...(typeof login === "string" ? { credentials: credentialsFor(login, url) } : {}),
      ...(tls ? await tlsFiles(tls) : {}),
    },
  };
}

/** `?heartbeat=30`, whole seconds; anything else is taken for not given. */
function heartbeatIn({ query }: AmqpUrl): number {
  return /^\d{1,5}$/.test(query.heartbeat ?? "") ? Number(query.heartbeat) : defaultHeartbeat;
}

function tlsOf(useSsl: BrokerOptions["useSsl"]): TlsOptions | null {
  if (!useSsl) return null;
  return useSsl === true ? verifiedTls : readTlsOptions(useSsl, "broker_use_ssl");
}

async function tlsFiles(tls: TlsOptions): Promise<Partial<SocketOptions>> {
  const file = async (path: string | null): Promise<Buffer | undefined> => (path === null ? undefined : readFile(path));
  const [ca, cert, key] = await Promise.all([file(tls.ca), file(tls.cert), file(tls.key)]);
  return {
    rejectUnauthorized: tls.rejectUnauthorized,
    ...(ca ? { ca } : {}),
    ...(cert ? { cert } : {}),
    ...(key ? { key } : {}),
    ...(tls.passphrase === null ? {} : { passphrase: tls.passphrase }),
    ...(tls.servername === null ? {} : { servername: tls.servername }),
    ...(tls.checkHostname ? {} : { checkServerIdentity: () => undefined }),
  };
}

/** `login_method`: how name and password are shown to the broker; EXTERNAL means by the certificate. */
function credentialsFor(login: string, url: AmqpUrl): NonNullable<SocketOptions["credentials"]> {
  switch (login.toUpperCase()) {
    case "PLAIN":
      return { mechanism: "PLAIN", response: () => Buffer.from(["", url.username, url.password].join("\0")) };
    case "EXTERNAL":
      return { mechanism: "EXTERNAL", response: () => Buffer.from("") };
    default:
      throw new ImproperlyConfigured(`login_method must be PLAIN or EXTERNAL, got: ${login}`);
  }
}
