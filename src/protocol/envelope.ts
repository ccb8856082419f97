import type { Message, MessageProperties } from "./message.ts";
import { MessageOfBytes } from "./message-of-bytes.ts";
import { parseWireJson, writeWireJson } from "./wire-json.ts";

/**
 * kombu's envelope: a message as one JSON document, the element of a Redis list and the
 * payload of a PUBLISH (protocol 6.1).
 */

/** What a damaged or sound envelope says. */
export interface DecodedEnvelope {
  readonly message: Message;
  readonly address: { readonly exchange: string; readonly routingKey: string };
  /** Key of the message among the unacked ones; null when it has none. */
  readonly deliveryTag: string | null;
  readonly redelivered: boolean;
  /** Why nobody can run this; null for a sound envelope. */
  readonly damage: string | null;
}

/**
 * Prints the envelope. `deliveryTag` must be fresh: two live messages with one tag break
 * acknowledging. Throws `EncodeError` for headers or properties that cannot be written.
 */
export function encodeEnvelope(
  message: Message,
  address: { readonly exchange: string; readonly routingKey: string },
  deliveryTag: string,
): string {
  // Put together as text: copying the properties to add three more takes longer than all the rest.
  const properties = writeWireJson(message.properties);
  return (
    `{"body": ${quoted(message.body)}` +
    `, "content-encoding": ${quoted(message.contentEncoding)}` +
    `, "content-type": ${quoted(message.contentType)}` +
    `, "headers": ${writeWireJson(message.headers)}` +
    `, "properties": ${properties === "{}" ? "{" : `${properties.slice(0, -1)}, `}` +
    `"delivery_info": {"exchange": ${quoted(address.exchange)}, "routing_key": ${quoted(address.routingKey)}}` +
    `, "body_encoding": "base64", "delivery_tag": ${quoted(deliveryTag)}}}`
  );
}

/** Text as a JSON string; for what needs no escaping the test is quicker than the printer. */
function quoted(text: string): string {
  return /^[\w\-./+=@]*$/.test(text) ? `"${text}"` : JSON.stringify(text);
}

/**
 * Reads an envelope and never throws: `damage` says what is wrong, and the message then has
 * the parts that could be read. What the transport adds to the properties is taken out; a body
 * that is plain text becomes base64.
 */
export function decodeEnvelope(text: string): DecodedEnvelope {
  let document: unknown;
  try {
    document = parseWireJson(text);
  } catch (error) {
    return damaged(`the envelope is ${(error as Error).message}`);
  }
  return isRecord(document) ? readEnvelope(document) : damaged("the envelope is not a JSON object");
}

/** Bytes from which an envelope's body is not made text. */
const largeEnvelope = 8192;

/** The same for the bytes of an envelope: the body of a large one stays the bytes it is. */
export function decodeEnvelopeBytes(bytes: Buffer): DecodedEnvelope {
  const body = bytes.length >= largeEnvelope ? bodyIn(bytes) : undefined;
  if (body === undefined) return decodeEnvelope(bytes.toString());
  const { start, end } = body;
  let document: unknown;
  try {
    // A number in its place shows whether a second body stands behind it, which would be the one that counts.
    document = parseWireJson(`{"body": 0${bytes.toString("utf8", end + 1)}`);
  } catch {
    return decodeEnvelope(bytes.toString());
  }
  if (!isRecord(document) || document.body !== 0) return decodeEnvelope(bytes.toString());
  const { properties } = document;
  if (!isRecord(properties) || properties.body_encoding !== "base64") return decodeEnvelope(bytes.toString());
  const envelope = readEnvelope({ ...document, body: "" });
  return { ...envelope, message: new MessageOfBytes(envelope.message, bytes.subarray(start, end)) };
}

/** Where the body lies in an envelope as kombu and tq write it: first, and in need of no unescaping. */
function bodyIn(bytes: Buffer): { readonly start: number; readonly end: number } | undefined {
  const start = /^\{"body":\s?"/.exec(bytes.toString("latin1", 0, 12))?.[0].length;
  if (start === undefined) return undefined;
  const end = bytes.indexOf('"', start);
  if (end < 0) return undefined;
  const body = bytes.subarray(start, end);
  return body.includes("\\") || body.includes("\n") ? undefined : { start, end };
}

/** The same for a document parsed already, such as the first element of a value of `unacked`. */
export function readEnvelope(document: Readonly<Record<string, unknown>>): DecodedEnvelope {
  const { headers, properties, body } = document;
  const contentType = document["content-type"];
  const contentEncoding = document["content-encoding"];
  const {
    delivery_info: info,
    delivery_tag: tag,
    body_encoding: bodyEncoding,
    ...rest
  } = isRecord(properties) ? properties : {};
  const delivery = isRecord(info) ? info : {};
  const text = typeof body === "string" ? body : "";
  return {
    message: {
      headers: isRecord(headers) ? headers : {},
      properties: rest as MessageProperties,
      contentType: typeof contentType === "string" ? contentType : "",
      contentEncoding: typeof contentEncoding === "string" ? contentEncoding : "utf-8",
      body: bodyEncoding === "base64" ? text : Buffer.from(text, "utf8").toString("base64"),
    },
    address: { exchange: textOr(delivery.exchange, ""), routingKey: textOr(delivery.routing_key, "") },
    deliveryTag: typeof tag === "string" && tag !== "" ? tag : null,
    redelivered: delivery.redelivered === true || (isRecord(headers) && headers.redelivered === true),
    damage: damageOf(document),
  };
}

/**
 * The envelope as it goes back into its queue: marked redelivered in headers and delivery_info,
 * everything else equal (protocol 6.7), but for `more` headers. Text that is no envelope is returned as it is.
 */
export function markRedelivered(envelopeText: string, more: Readonly<Record<string, unknown>> = {}): string {
  let document: unknown;
  try {
    document = parseWireJson(envelopeText);
  } catch {
    return envelopeText;
  }
  if (!isRecord(document)) return envelopeText;
  const properties = isRecord(document.properties) ? document.properties : {};
  const info = isRecord(properties.delivery_info) ? properties.delivery_info : {};
  return writeWireJson({
    ...document,
    headers: { ...(isRecord(document.headers) ? document.headers : {}), ...more, redelivered: true },
    properties: { ...properties, delivery_info: { ...info, redelivered: true } },
  });
}

/** What a Python worker cannot do without, and exits over (protocol 14); here it is told apart and kept. */
function damageOf(document: Readonly<Record<string, unknown>>): string | null {
  const { headers, properties, body } = document;
  if (typeof body !== "string") return `body is ${kindOf(body)}, not text`;
  if (headers !== undefined && headers !== null && !isRecord(headers))
    return `headers is ${kindOf(headers)}, not an object`;
  if (!isRecord(properties)) return `properties is ${kindOf(properties)}, not an object`;
  const tag = properties.delivery_tag;
  if (typeof tag !== "string" || tag === "") return `properties.delivery_tag is ${kindOf(tag)}, not text`;
  if (!isRecord(properties.delivery_info))
    return `properties.delivery_info is ${kindOf(properties.delivery_info)}, not an object`;
  const type = document["content-type"];
  if (typeof type !== "string" || type === "") return `content-type is ${kindOf(type)}, not text`;
  return null;
}

function damaged(damage: string): DecodedEnvelope {
  const message: Message = { headers: {}, properties: {}, contentType: "", contentEncoding: "utf-8", body: "" };
  return { message, address: { exchange: "", routingKey: "" }, deliveryTag: null, redelivered: false, damage };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOr(value: unknown, otherwise: string): string {
  return typeof value === "string" ? value : otherwise;
}

function kindOf(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (value === "") return "empty";
  return Array.isArray(value) ? "a list" : typeof value;
}
