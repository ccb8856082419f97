import { DecodeError, ImproperlyConfigured } from "../errors.ts";
import { parseWireJson, wireJsonSymbol, writeWireJson } from "../protocol/wire-json.ts";
import type { Serializer } from "./serializer.ts";
import { decodeText } from "./text.ts";
import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "./values.ts";

/**
 * Prints a value in kombu's dialect of JSON (protocol 3.2): dates, decimals, UUIDs and bytes as
 * typed objects, `NaN` and bigints bare, `undefined` left out, a Map as an object, `toJSON`
 * honoured. Throws `EncodeError` naming the place of what cannot be written.
 */
export function encodeJson(value: unknown): string {
  return writeWireJson(value);
}

/**
 * Reads kombu's dialect: typed objects become values again, integers beyond 2^53 bigints. An
 * object of an unknown type stays a plain object. Throws `DecodeError` on what is not JSON,
 * on a typed object whose value makes no sense, and on more than 1,000 levels.
 */
export function decodeJson(text: string): unknown {
  return parseWireJson(text, revive);
}

export const jsonSerializer: Serializer = {
  name: "json",
  contentType: "application/json",
  contentEncoding: "utf-8",
  encode: (value) => Buffer.from(encodeJson(value), "utf8"),
  decode: (bytes) => decodeJson(decodeText(bytes, "utf-8")),
};

/**
 * Has values of a class travel as `{"__type__": marker, "__value__": …}` in JSON, and come back as what
 * `decode` makes (kombu's `register_type`): a Celery that has registered the marker reads them too. Of
 * the whole process: to be called where the app is made. Throws `ImproperlyConfigured` for a marker
 * of tq's own.
 */
export function registerType<T extends object>(
  type: abstract new (...args: never[]) => T,
  marker: string,
  encode: (value: T) => unknown,
  decode: (value: unknown) => unknown,
): void {
  if (Object.hasOwn(makers, marker) || marker === "uuid")
    throw new ImproperlyConfigured(`the JSON type ${marker} is built in: give yours another marker`);
  Object.defineProperty(type.prototype as object, wireJsonSymbol, {
    value(this: T) {
      return { __type__: marker, __value__: encode(this) };
    },
    configurable: true,
  });
  registered.set(marker, decode);
}

/** What markers that were registered are made into. */
const registered = new Map<string, (value: unknown) => unknown>();

const makers: Readonly<Record<string, (text: string) => unknown>> = {
  datetime: (text) => DateTime.fromIso(text),
  date: (text) => new PlainDate(text),
  time: (text) => new PlainTime(text),
  decimal: (text) => new Decimal(text),
  bytes: (text) => Buffer.from(text, "utf8"),
  base64: (text) => Buffer.from(text, "base64"),
};

function revive(type: string, value: unknown): unknown {
  try {
    if (type === "uuid") return new Uuid(uuidText(value));
    const own = registered.get(type);
    if (own !== undefined) return own(value);
    if (!Object.hasOwn(makers, type)) return undefined;
    if (typeof value !== "string") throw new TypeError("its value is not text");
    return makers[type]?.(value);
  } catch (error) {
    throw new DecodeError(`a value marked as ${type} is none: ${(error as Error).message}`, { cause: error });
  }
}

function uuidText(value: unknown): string {
  const hex = typeof value === "object" && value !== null ? (value as { readonly hex?: unknown }).hex : value;
  if (typeof hex === "string") return hex;
  throw new TypeError("it has no hex");
}
