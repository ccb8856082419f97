import { readdirSync, readFileSync } from "node:fs";
import type { Message } from "../../src/protocol/message.ts";
import { parseWireJson } from "../../src/protocol/wire-json.ts";

/** Real traffic of Python clients and workers, found by shape wherever a capture holds it. */

export interface Found<T> {
  /** File it is from, for the message of a failing test. */
  readonly file: string;
  readonly value: T;
}

export interface AmqpFrame {
  readonly method: string;
  readonly args: { readonly exchange: string; readonly routing_key: string };
  readonly properties: Readonly<Record<string, unknown>>;
  readonly body: string | { readonly __b64__: string };
}

type Json = Readonly<Record<string, unknown>>;

const folder = new URL("../fixtures/", import.meta.url).pathname;

export const fixtureNames: readonly string[] = readdirSync(folder).filter((name) => name.endsWith(".json"));

export function readFixture(name: string): { readonly captured: unknown; readonly decoded: unknown } {
  return parseWireJson(readFileSync(`${folder}${name}.json`, "utf8")) as { captured: unknown; decoded: unknown };
}

/** Every value inside a capture, the capture itself included. */
function* everything(value: unknown): Generator<unknown> {
  yield value;
  if (typeof value !== "object" || value === null) return;
  for (const child of Object.values(value)) yield* everything(child);
}

/** What `pick` makes of every value in every capture. */
export function collect<T>(pick: (value: unknown) => T | undefined): Found<T>[] {
  const found: Found<T>[] = [];
  for (const file of fixtureNames) {
    for (const value of everything(readFixture(file.slice(0, -5)).captured)) {
      const picked = pick(value);
      if (picked !== undefined) found.push({ file, value: picked });
    }
  }
  return found;
}

export function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The document a text holds; undefined for text that is none. */
export function documentIn(value: unknown): unknown {
  if (typeof value !== "string" || !/^[[{]/.test(value)) return undefined;
  try {
    return parseWireJson(value);
  } catch {
    return undefined;
  }
}

/** Texts that are an envelope: elements of lists, payloads of PUBLISH. */
export function envelopeTexts(): Found<string>[] {
  return collect((value) => {
    const document = documentIn(value);
    return isObject(document) && "body" in document && "properties" in document ? (value as string) : undefined;
  });
}

/** Values of `unacked`: `[envelope, exchange, routing key]`. */
export function unackedEntries(): Found<readonly [envelope: Json, exchange: string, routingKey: string]>[] {
  return collect((value) => {
    const document = documentIn(value);
    const isEntry =
      Array.isArray(document) && document.length === 3 && isObject(document[0]) && "properties" in document[0];
    return isEntry ? (document as unknown as readonly [Json, string, string]) : undefined;
  });
}

/** Frames of RabbitMQ traffic that carry a message. */
export function amqpFrames(): Found<AmqpFrame>[] {
  return collect((value) =>
    isObject(value) && "method" in value && "body" in value && isObject(value.properties)
      ? (value as unknown as AmqpFrame)
      : undefined,
  );
}

export function messageOfFrame({ properties, body }: AmqpFrame): Message {
  const { headers, content_type: contentType, content_encoding: contentEncoding, ...rest } = properties;
  return {
    headers: (headers ?? {}) as Json,
    properties: rest,
    contentType: String(contentType),
    contentEncoding: String(contentEncoding),
    body: typeof body === "string" ? Buffer.from(body, "utf8").toString("base64") : body.__b64__,
  };
}

/** Stored results, as text. */
export function metaTexts(): Found<string>[] {
  return collect((value) => {
    const document = documentIn(value);
    return isObject(document) && "status" in document && "result" in document ? (value as string) : undefined;
  });
}

/** Saved groups, as text. */
export function groupTexts(): Found<string>[] {
  return collect((value) => {
    const document = documentIn(value);
    return isObject(document) && Object.keys(document).join() === "result" ? (value as string) : undefined;
  });
}
