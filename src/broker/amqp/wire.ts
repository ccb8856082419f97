import type { Message as AmqpMessage, MessageProperties as AmqpProperties, Options } from "amqplib";
import type { Message, MessageProperties } from "../../protocol/message.ts";
import type { Address } from "../broker.ts";

/**
 * The header under which tq keeps what a detour through another queue would lose. Only on
 * messages that were parked or redriven; taken off again on arrival.
 */
export const detourHeader = "tq_delivery";

/** What a message must get back when it returns from a detour. Keys as on the wire. */
export interface Detour {
  readonly exchange: string;
  readonly routing_key: string;
  /** The property `expiration`: in a delay queue it would end the wait, in a dead-letter queue the letter. */
  readonly expiration?: string;
  readonly redelivered?: boolean;
  /** Milliseconds since 1970; set when one passage through the delay levels is shorter than the wait. */
  readonly due?: number;
}

/** Names of the AMQP properties, on the wire and in amqplib. */
const properties = [
  ["correlation_id", "correlationId"],
  ["reply_to", "replyTo"],
  ["delivery_mode", "deliveryMode"],
  ["priority", "priority"],
  ["expiration", "expiration"],
  ["message_id", "messageId"],
  ["timestamp", "timestamp"],
  ["type", "type"],
  ["user_id", "userId"],
  ["app_id", "appId"],
] as const satisfies readonly (readonly [string, keyof AmqpProperties])[];

type Table = Record<string, unknown>;

/** A plain object without a prototype, so that a key such as `__proto__` is a key like any other. */
const emptyTable = (): Table => Object.create(null) as Table;

const isTable = (value: unknown): value is Table => typeof value === "object" && value !== null;

/** What amqplib makes of, and takes for, the types JavaScript has no value for. */
function isTyped(value: Table, type: string): boolean {
  return value["!"] === type && "value" in value && Object.keys(value).length === 2;
}

/**
 * A header table as amqplib must be given it to write the types py-amqp writes (protocol 1.2):
 * integers as 32 or 64 bits, never as the bytes and shorts amqplib would choose.
 */
export function encodeTable(table: Readonly<Record<string, unknown>>): Table {
  const encoded = emptyTable();
  for (const key of Object.keys(table)) {
    const value = table[key];
    if (value !== undefined && typeof value !== "function") encoded[key] = encodeValue(value);
  }
  return encoded;
}

function encodeValue(value: unknown): unknown {
  switch (typeof value) {
    case "number":
      if (!Number.isInteger(value) || Math.abs(value) >= 2 ** 63) return { "!": "double", value };
      return { "!": value === (value | 0) ? "int" : "long", value };
    case "bigint":
      return BigInt.asIntN(64, value) === value ? { "!": "long", value } : String(value);
    case "object": {
      if (value === null) return null;
      if (Array.isArray(value)) return value.map((item) => (item === undefined ? null : encodeValue(item)));
      if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
      if (value instanceof Date) return { "!": "timestamp", value: Math.floor(value.getTime() / 1000) };
      const table = value as Table;
      if (isTyped(table, "timestamp") || isTyped(table, "decimal")) return table;
      const encoded = encodeTable(table);
      // amqplib takes an object with a key "!" of its own for a typed value; an inherited one is data.
      return "!" in encoded ? Object.create(encoded) : encoded;
    }
    default:
      return value;
  }
}

/** A header table as amqplib read it, as plain data. */
function decodeTable(table: Readonly<Record<string, unknown>>): Table {
  const decoded: Table = {};
  for (const key of Object.keys(table)) {
    const value = decodeValue(table[key]);
    if (key === "__proto__") Object.defineProperty(decoded, key, { value, enumerable: true });
    else decoded[key] = value;
  }
  return decoded;
}

function decodeValue(value: unknown): unknown {
  if (!isTable(value)) return value;
  if (Array.isArray(value)) return value.map(decodeValue);
  if (Buffer.isBuffer(value)) return value.toString();
  if (isTyped(value, "timestamp")) return new Date(Number(value.value) * 1000).toISOString();
  if (isTyped(value, "decimal")) {
    const { digits, places } = value.value as { readonly digits: number; readonly places: number };
    return digits / 10 ** places;
  }
  return decodeTable(value);
}

/** Everything of a message but its body, as amqplib's `publish` takes it. */
export function publishOptions(message: Message): Options.Publish {
  const { headers, properties: given } = message;
  const options: Record<string, unknown> = {
    headers: encodeTable(headers),
    contentType: message.contentType || undefined,
    contentEncoding: message.contentEncoding || undefined,
    deliveryMode: 2,
    priority: 0,
  };
  for (const [wire, ours] of properties) {
    const value = given[wire];
    if (value !== undefined && value !== null) options[ours] = value;
  }
  if (typeof options.priority === "number") options.priority = clampPriority(options.priority);
  return options;
}

/** The field is one byte; what a sender asks beyond it means "as high as can be". */
const clampPriority = (priority: number): number => Math.max(0, Math.min(255, Math.trunc(priority) || 0));

/** A received message in tq's terms. */
export interface Received {
  readonly message: Message;
  readonly address: Address;
  readonly redelivered: boolean;
  readonly damage: string | null;
  /** When it should be parked on, in milliseconds since 1970; null when it is due. */
  readonly due: number | null;
}

/**
 * Reads a message off the wire. A body above `maxBodySize` bytes is left out of `message`, and
 * `damage` says so. What a detour through a delay or dead-letter queue added is taken off.
 */
export function readMessage(raw: AmqpMessage, queueExchange: string, maxBodySize: number): Received {
  const { [detourHeader]: detourValue, ...headers } = decodeTable(raw.properties.headers ?? {});
  const detour = isTable(detourValue) ? (detourValue as unknown as Detour) : null;
  if (detour) dropOwnDeaths(headers);
  const tooLarge = raw.content.length > maxBodySize;
  const message: Message = {
    headers,
    properties: readProperties(raw.properties, detour),
    contentType: raw.properties.contentType ?? "",
    contentEncoding: raw.properties.contentEncoding ?? "utf-8",
    body: tooLarge ? "" : raw.content.toString("base64"),
  };
  return {
    message,
    address: detour
      ? { exchange: String(detour.exchange), routingKey: String(detour.routing_key) }
      : addressOf(raw.fields.exchange, raw.fields.routingKey, queueExchange),
    redelivered: raw.fields.redelivered || detour?.redelivered === true,
    damage: tooLarge
      ? `the body has ${raw.content.length} bytes, more than the limit of ${maxBodySize}`
      : message.contentType === ""
        ? "the message has no content type"
        : null,
    due: typeof detour?.due === "number" ? detour.due : null,
  };
}

function readProperties(raw: AmqpProperties, detour: Detour | null): MessageProperties {
  const read: Record<string, unknown> = {};
  for (const [wire, theirs] of properties) {
    if (raw[theirs] !== undefined) read[wire] = raw[theirs];
  }
  if (detour?.expiration !== undefined) read.expiration = String(detour.expiration);
  return read;
}

const delayedKey = /^(?:[01]\.){28}/;

/**
 * Celery's native delayed delivery (protocol 7.4) leaves its own exchange and a key of binary
 * digits on the message; what was meant is the queue's exchange and the rest of the key.
 */
function addressOf(exchange: string, routingKey: string, queueExchange: string): Address {
  if (/celery_delayed_(\d+|delivery)$/.test(exchange) && delayedKey.test(routingKey)) {
    return { exchange: queueExchange, routingKey: routingKey.replace(delayedKey, "") };
  }
  return { exchange, routingKey };
}

/** RabbitMQ records every expiry; those in our own delay queues are no news to anybody. */
function dropOwnDeaths(headers: Table): void {
  const own = (queue: unknown): boolean => typeof queue === "string" && /^tq_delayed_|^tq\.(dead|shelf)$/.test(queue);
  const deaths = headers["x-death"];
  if (Array.isArray(deaths)) {
    const foreign = deaths.filter((death) => !own((death as Table | null)?.queue));
    if (foreign.length > 0) headers["x-death"] = foreign;
    else delete headers["x-death"];
  }
  for (const end of ["first", "last"]) {
    if (!own(headers[`x-${end}-death-queue`])) continue;
    for (const part of ["queue", "exchange", "reason"]) delete headers[`x-${end}-death-${part}`];
  }
}

/** What a received message needs in order to be published again, its header types unchanged. */
export interface Copy {
  readonly content: Buffer;
  readonly options: Options.Publish;
}

/** A copy of a received message with further headers, to be stored elsewhere for a while. */
export function copyOf(raw: AmqpMessage, received: Received, extra: Readonly<Record<string, unknown>>): Copy {
  const headers = encodeTable({ ...(raw.properties.headers ?? {}), ...extra });
  const options: Record<string, unknown> = {
    headers,
    contentType: raw.properties.contentType,
    contentEncoding: raw.properties.contentEncoding,
  };
  for (const [, name] of properties) options[name] = raw.properties[name];
  // The broker checks user_id against whoever publishes; a copy may be made by another user.
  delete options.userId;
  delete options.expiration;
  options.deliveryMode = 2;
  options.priority = clampPriority(received.message.properties.priority ?? 0);
  return { content: raw.content, options };
}

/** The record of where a message belongs, to travel with its copy. */
export function detourOf(
  received: Received,
  more: { readonly redelivered?: boolean; readonly due?: number } = {},
): Detour {
  const { expiration } = received.message.properties;
  return {
    exchange: received.address.exchange,
    routing_key: received.address.routingKey,
    ...(expiration === undefined ? {} : { expiration }),
    ...more,
  };
}
