/**
 * The addresses of brokers and result stores (protocol 6.9). Read by hand rather than by `URL`,
 * which refuses what kombu allows: several hosts in one text, schemes with a plus sign,
 * passwords with odd characters, file paths.
 */
import { ImproperlyConfigured } from "../errors.ts";
import { closestName } from "./names.ts";
import { isTlsOption, readTlsOptions, type TlsOptions, verifiedTls } from "./tls.ts";

interface RedisAccess {
  readonly transport: "redis";
  readonly username: string | null;
  readonly password: string | null;
  readonly db: number;
  readonly tls: TlsOptions | null;
  /** What else the query said, for the driver. */
  readonly query: Readonly<Record<string, string>>;
}

/** `redis://[user:password@]host[:6379][/db]`, `rediss://` when encrypted. */
export interface RedisTcpUrl extends RedisAccess {
  readonly kind: "tcp";
  readonly host: string;
  readonly port: number;
}

/** `redis+socket:///path.sock?virtual_host=db` or `unix:///path.sock?db=0`. */
export interface RedisSocketUrl extends RedisAccess {
  readonly kind: "socket";
  readonly path: string;
}

/** `sentinel://[:password@]h1:26379;sentinel://h2:26379/db`; the password is the Redis server's. */
export interface RedisSentinelUrl extends RedisAccess {
  readonly kind: "sentinel";
  readonly sentinels: readonly { readonly host: string; readonly port: number }[];
  /** From the query; usually it is the transport option `master_name` instead. */
  readonly masterName: string | null;
}

export type RedisUrl = RedisTcpUrl | RedisSocketUrl | RedisSentinelUrl;

/** `amqp://[user:password@]host[:5672]/vhost`, `amqps://` when encrypted. */
export interface AmqpUrl {
  readonly transport: "amqp";
  readonly host: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  readonly vhost: string;
  readonly tls: TlsOptions | null;
  readonly query: Readonly<Record<string, string>>;
}

/** `sqlite://./relative.db`, `sqlite:///absolute.db`; `sqlite://` is the default file. */
export interface SqliteUrl {
  readonly transport: "sqlite";
  /** As written; relative paths are relative to the working directory. */
  readonly path: string;
}

/** `memory://[name]`: within this process only. */
export interface MemoryUrl {
  readonly transport: "memory";
  /** Those with one name share their messages. Empty when left out. */
  readonly name: string;
}

/** Results are sent back as messages over the broker. */
export interface RpcUrl {
  readonly transport: "rpc";
}

/** Results are not kept. */
export interface DisabledUrl {
  readonly transport: "disabled";
}

export type BrokerUrl = RedisUrl | AmqpUrl | SqliteUrl | MemoryUrl;
export type BackendUrl = RedisUrl | RpcUrl | SqliteUrl | MemoryUrl | DisabledUrl;

/** The file of the embedded store when no other is named. */
export const defaultSqlitePath = "./.tq/tq.db";

/** The broker when none is given: needs no server. */
export const defaultBrokerUrl = `sqlite://${defaultSqlitePath}`;

/** Parts of a Redis address a result store takes from the settings when its URL leaves them out. */
export interface RedisDefaults {
  readonly host?: string | null;
  readonly port?: number | null;
  readonly db?: number | null;
  readonly username?: string | null;
  readonly password?: string | null;
}

/**
 * The address a broker URL means. Takes one URL of a failover list, see `splitUrls`.
 * Throws `ImproperlyConfigured`, with the password masked, saying what would do.
 */
export function parseBrokerUrl(text: string): BrokerUrl {
  const scheme = schemeOf(text);
  switch (scheme) {
    case "redis":
    case "rediss":
    case "redis+socket":
    case "unix":
    case "sentinel":
      return parseRedis(scheme, text, {});
    case "amqp":
    case "amqps":
    case "pyamqp":
      return parseAmqp(scheme, text);
    case "sqlite":
      return parseSqlite(text);
    case "memory":
      return { transport: "memory", name: afterScheme(text) };
    default:
      throw unknownScheme("broker", text, scheme, brokerSchemes);
  }
}

/**
 * The address a result store's URL means; the bare words `rpc`, `redis`, `disabled` … will do.
 * Throws `ImproperlyConfigured` like `parseBrokerUrl`, and for `ssl_*` parameters on `redis://`,
 * which Celery refuses too.
 */
export function parseBackendUrl(text: string, defaults: RedisDefaults = {}): BackendUrl {
  const scheme = schemeOf(/^[a-z]+$/i.test(text.trim()) ? `${text.trim()}://` : text);
  switch (scheme) {
    case "redis":
    case "rediss":
    case "redis+socket":
    case "unix":
    case "sentinel": {
      const url = parseRedis(scheme, text.includes("://") ? text : `${text.trim()}://`, defaults);
      if (scheme === "redis" && url.tls) {
        throw new ImproperlyConfigured(
          `${maskUrl(text)} has ssl_ parameters but is not encrypted: write rediss:// instead of redis://`,
        );
      }
      return url;
    }
    case "rpc":
    case "disabled":
      return { transport: scheme };
    case "sqlite":
      return parseSqlite(text);
    case "memory":
    case "cache+memory":
      return { transport: "memory", name: afterScheme(text).replace(/\/+$/, "") };
    default:
      throw unknownScheme("result backend", text, scheme, backendSchemes);
  }
}

const brokerSchemes = [
  "sqlite",
  "redis",
  "rediss",
  "redis+socket",
  "unix",
  "sentinel",
  "amqp",
  "amqps",
  "pyamqp",
  "memory",
];
const backendSchemes = [
  "sqlite",
  "redis",
  "rediss",
  "redis+socket",
  "unix",
  "sentinel",
  "rpc",
  "cache+memory",
  "memory",
  "disabled",
];

function unknownScheme(what: string, text: string, scheme: string, known: readonly string[]): ImproperlyConfigured {
  const meant = closestName(scheme, known);
  const hint = meant === null ? "" : ` Did you mean ${meant}://?`;
  return new ImproperlyConfigured(
    `there is no ${what} for ${scheme}:// in ${maskUrl(text)}.${hint} Those there are: ${known.map((name) => `${name}://`).join(", ")}`,
  );
}

function schemeOf(text: string): string {
  const match = /^\s*([a-z][a-z0-9+._-]*):\/\//i.exec(text);
  if (!match) {
    throw new ImproperlyConfigured(
      `${text.includes("@") ? "a URL without a scheme" : JSON.stringify(text)} is not a URL: ` +
        "it must begin with its scheme, as redis://localhost:6379/0 does",
    );
  }
  return (match[1] as string).toLowerCase();
}

const afterScheme = (text: string): string => text.trim().replace(/^[^:]*(:\/\/|$)/, "");

interface Parts {
  readonly username: string | null;
  readonly password: string | null;
  readonly host: string | null;
  readonly port: number | null;
  /** Decoded, without the slash after the host. Null when there is no such slash. */
  readonly path: string | null;
  readonly query: Readonly<Record<string, string>>;
}

/** Takes `scheme://user:password@host:port/path?query` apart and decodes the parts. */
function partsOf(text: string): Parts {
  const [address, query = ""] = splitOnce(afterScheme(text), "?");
  const [authority, path] = splitOnce(address, "/");
  const at = authority.lastIndexOf("@");
  const [username, password] = at < 0 ? [null, undefined] : splitOnce(authority.slice(0, at), ":");
  const server = /^(\[[^\]]*\]|[^:]*)(?::(.*))?$/.exec(authority.slice(at + 1));
  const port = server?.[2];
  if (!server || (port !== undefined && port !== "" && !(/^\d+$/.test(port) && Number(port) <= 65_535))) {
    throw new ImproperlyConfigured(
      `the host and port of ${maskUrl(text)} cannot be read: a port is a number up to 65535, and the characters ` +
        "/ ? # @ : in a user name or password must be percent-encoded (%2F %3F %23 %40 %3A)",
    );
  }
  const decode = (part: string): string => decodePart(part, text);
  return {
    username: username ? decode(username) : null,
    password: password ? decode(password) : null,
    host: server[1] ? decode(server[1]).replace(/^\[(.*)\]$/, "$1") : null,
    port: port ? Number(port) : null,
    path: path === undefined ? null : decode(path),
    query: Object.fromEntries(new URLSearchParams(query)),
  };
}

function splitOnce(text: string, separator: string): [before: string, after: string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}

function decodePart(part: string, url: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    throw new ImproperlyConfigured(
      `${maskUrl(url)} has a % that begins no percent-encoding: write a percent sign itself as %25`,
    );
  }
}

function parseRedis(
  scheme: "redis" | "rediss" | "redis+socket" | "unix" | "sentinel",
  text: string,
  defaults: RedisDefaults,
): RedisUrl {
  const pieces = scheme === "sentinel" ? text.split(";").filter((piece) => piece.trim() !== "") : [text];
  const parts = pieces.map((piece) => partsOf(piece.includes("://") ? piece : `sentinel://${piece.trim()}`));
  const [first] = parts as [Parts];
  const query: Record<string, string> = Object.assign({}, ...parts.map((part) => part.query));
  const isSocket = scheme === "redis+socket" || scheme === "unix";
  const { virtual_host, db, password, username, ...others } = query;
  const dbText = virtual_host ?? db ?? (isSocket ? null : (parts.find((part) => part.path)?.path ?? null));
  const tlsOptions = Object.fromEntries(Object.entries(others).filter(([name]) => isTlsOption(name)));
  const rest = Object.fromEntries(Object.entries(others).filter(([name]) => !isTlsOption(name)));
  const encrypted = scheme === "rediss" || Object.keys(tlsOptions).length > 0;
  const access: RedisAccess = {
    transport: "redis",
    username: first.username ?? username ?? defaults.username ?? null,
    password: parts.find((part) => part.password)?.password ?? password ?? defaults.password ?? null,
    db: dbText === null ? (defaults.db ?? 0) : readDb(dbText, text),
    tls: encrypted ? readTlsOptions(tlsOptions, maskUrl(text)) : null,
    query: rest,
  };
  if (scheme === "sentinel") {
    const sentinels = parts.map((part) => ({ host: part.host ?? "127.0.0.1", port: part.port ?? 26_379 }));
    const { master_name = null, ...driver } = rest;
    return { ...access, kind: "sentinel", sentinels, masterName: master_name, query: driver };
  }
  if (isSocket) {
    const path = `${first.host ?? ""}/${first.path ?? ""}`;
    if (path === "/") {
      throw new ImproperlyConfigured(
        `${maskUrl(text)} names no socket: write ${scheme}:///var/run/redis.sock?virtual_host=0`,
      );
    }
    return { ...access, kind: "socket", path };
  }
  const host = first.host ?? defaults.host ?? "127.0.0.1";
  return { ...access, kind: "tcp", host, port: first.port ?? defaults.port ?? 6379 };
}

function readDb(path: string, url: string): number {
  const db = path.replace(/^\/+|\/+$/g, "");
  if (db === "") return 0;
  if (!/^\d+$/.test(db)) {
    throw new ImproperlyConfigured(`the database of ${maskUrl(url)} must be a number such as /0, got: ${db}`);
  }
  return Number(db);
}

function parseAmqp(scheme: "amqp" | "amqps" | "pyamqp", text: string): AmqpUrl {
  const parts = partsOf(text);
  const tlsOptions = Object.fromEntries(Object.entries(parts.query).filter(([name]) => isTlsOption(name)));
  const query = Object.fromEntries(Object.entries(parts.query).filter(([name]) => !isTlsOption(name)));
  const encrypted = scheme === "amqps" || Object.keys(tlsOptions).length > 0;
  return {
    transport: "amqp",
    host: parts.host ?? "localhost",
    port: parts.port ?? (encrypted ? 5671 : 5672),
    username: parts.username ?? "guest",
    password: parts.password ?? "guest",
    vhost: parts.path || "/",
    tls: !encrypted
      ? null
      : Object.keys(tlsOptions).length > 0
        ? readTlsOptions(tlsOptions, maskUrl(text))
        : verifiedTls,
    query,
  };
}

function parseSqlite(text: string): SqliteUrl {
  const path = decodePart(splitOnce(afterScheme(text), "?")[0], text);
  return { transport: "sqlite", path: path === "" || path === "/" ? defaultSqlitePath : path };
}

/**
 * The URLs of a failover list, in order: an array, one text with `;` between, or both. Sentinels
 * side by side are one address and stay together.
 */
export function splitUrls(value: string | readonly string[]): string[] {
  const pieces = (typeof value === "string" ? [value] : value).flatMap((text) => {
    const found: string[] = [];
    for (const piece of text.split(";").map((part) => part.trim())) {
      const last = found.at(-1);
      const goesOn = last !== undefined && (!piece.includes("://") || isSentinel(piece)) && isSentinel(last);
      if (piece === "") continue;
      if (goesOn) found[found.length - 1] = `${last};${piece}`;
      else found.push(piece);
    }
    return found;
  });
  return pieces;
}

const isSentinel = (text: string): boolean => /^\s*sentinel:\/\//i.test(text);

/**
 * The text with every password in it replaced by `**`: in each URL of a list, and in the query.
 * Where it is not clear what is password, rather too much is masked. Anything else stays.
 */
export function maskUrl(text: string): string {
  return text
    .split(/(?<=[;,])(?=\s*[a-z][a-z0-9+._-]*:\/\/)/i)
    .map(maskOne)
    .join("");
}

function maskOne(text: string): string {
  const match = /^(\s*(?:([a-z][a-z0-9+._-]*):\/\/)?)([\s\S]*)$/i.exec(text) as RegExpExecArray;
  const [, start = "", scheme = "", rest = ""] = match;
  const at = rest.lastIndexOf("@");
  const colon = rest.indexOf(":");
  const hasPassword = scheme.toLowerCase() !== "sqlite" && colon >= 0 && colon < at;
  const shown = hasPassword ? `${rest.slice(0, colon)}:**${rest.slice(at)}` : rest;
  return start + shown.replace(secretParameter, "$1**");
}

const secretParameter =
  /([?&](?:[a-z_]*(?:password|passwd|passphrase|secret|token|access_key|api_?key)[a-z_]*|pwd|pass)=)[^&;]*/gi;
