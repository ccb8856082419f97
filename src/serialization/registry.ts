import { ContentDisallowed, DecodeError, EncodeError, ImproperlyConfigured, MessageTooLarge } from "../errors.ts";
import type { Message } from "../protocol/message.ts";
import { MessageOfBytes } from "../protocol/message-of-bytes.ts";
import { bytesOfBase64, decodeBase64 } from "../util/base64.ts";
import { BufferPool } from "../util/buffer-pool.ts";
import { type Codec, codecNamed, compressionType, DEFAULT_MAX_BYTES } from "./compression.ts";
import { decodeJson, encodeJson, jsonSerializer } from "./json.ts";
import { rawSerializer } from "./raw.ts";
import type { Serializer } from "./serializer.ts";
import { decodeText } from "./text.ts";

/** A body ready for a message. */
export interface EncodedBody {
  /** Bytes before compression. */
  readonly size: number;
  /** Base64. */
  readonly body: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** Value of the `compression` header; absent when not compressed. */
  readonly compression?: string;
}

export type EncodedMessage = Pick<Message, "headers" | "contentType" | "contentEncoding" | "body">;

/** Serializers whose code is not loaded until somebody asks for them. */
const loaders: Readonly<Record<string, () => Promise<Serializer>>> = {
  yaml: async () => (await import("./yaml.ts")).yamlSerializer,
  msgpack: async () => (await import("./msgpack.ts")).msgpackSerializer,
  pickle: async () => (await import("./pickle.ts")).pickleSerializer,
};

/** Protocol 3.1. `auth` is listed for `acceptContent` only: signed messages cannot be read yet. */
const contentTypes: Record<string, string> = {
  json: "application/json",
  yaml: "application/x-yaml",
  msgpack: "application/x-msgpack",
  pickle: "application/x-python-serialize",
  raw: "application/data",
  auth: "application/data",
};

const names = new Map<string, string>(
  Object.entries(contentTypes).flatMap(([name, type]) => (name === "auth" ? [] : [[type, name]])),
);

/** Types that carry no structure: reading them can do no harm, so kombu always takes them. */
const trusted: ReadonlySet<string> = new Set(["application/data", "application/text"]);

/** Serializers whose code is loaded: the same for everyone in the process, like the modules they come from. */
const loaded = new Map<string, Serializer>([
  ["json", jsonSerializer],
  ["raw", rawSerializer],
]);

/**
 * The serializer of a name (`json`) or content type. `json` and `raw` are always there, others
 * after `loadSerializer`. Throws `ImproperlyConfigured`.
 */
export function serializerNamed(name: string): Serializer {
  const known = loaded.get(names.get(name) ?? name);
  if (known !== undefined) return known;
  if (Object.hasOwn(loaders, names.get(name) ?? name))
    throw new ImproperlyConfigured(`the serializer ${name} is not loaded: await loadSerializer("${name}") first`);
  throw unknownSerializer(name);
}

/** Loads the serializer's code. Rejects with `ImproperlyConfigured` for a name there is none of. */
export async function loadSerializer(name: string): Promise<Serializer> {
  const key = names.get(name) ?? name;
  const known = loaded.get(key);
  if (known !== undefined) return known;
  const load = Object.hasOwn(loaders, key) ? loaders[key] : undefined;
  if (load === undefined) throw unknownSerializer(name);
  const serializer = await load();
  loaded.set(key, serializer);
  return serializer;
}

/**
 * Adds a serializer of one's own under a name for `taskSerializer`, `resultSerializer`, the option
 * `serializer`, and `acceptContent`, which has to list it before its messages are read (kombu's
 * `serialization.register`). Of the whole process: to be called where the app is made, so that workers
 * and their children do it too. Throws `ImproperlyConfigured` for a name or type that is taken.
 *
 * What `encode` throws becomes an `EncodeError`, what `decode` throws a `DecodeError`.
 */
export function registerSerializer(serializer: CustomSerializer): void {
  const { name, contentType, contentEncoding = "binary" } = serializer;
  const known = loaded.get(name);
  if (Object.hasOwn(loaders, name) || name === "auth" || (known !== undefined && !custom.has(name)))
    throw new ImproperlyConfigured(`the serializer ${name} cannot be replaced: give yours another name`);
  const owner = names.get(contentType);
  if (owner !== undefined && owner !== name)
    throw new ImproperlyConfigured(`the content type ${contentType} is that of the serializer ${owner}`);
  custom.add(name);
  contentTypes[name] = contentType;
  names.set(contentType, name);
  loaded.set(name, {
    name,
    contentType,
    contentEncoding,
    encode(value) {
      try {
        return Buffer.from(serializer.encode(value));
      } catch (error) {
        throw new EncodeError(`${name} could not write a value: ${(error as Error).message}`, { cause: error });
      }
    },
    decode(bytes) {
      try {
        return serializer.decode(bytes);
      } catch (error) {
        throw new DecodeError(`this is not ${name}: ${(error as Error).message}`, { cause: error });
      }
    },
  });
}

/** What `registerSerializer` takes. */
export interface CustomSerializer {
  readonly name: string;
  /** As `application/x-mine`; travels with each message. */
  readonly contentType: string;
  /** `binary`, the default, or that of the text it makes: `utf-8`. */
  readonly contentEncoding?: string;
  encode(value: unknown): Uint8Array;
  decode(bytes: Uint8Array): unknown;
}

/** Names that were registered. */
const custom = new Set<string>();

/** `acceptContent`, names and content types mixed, as content types. Throws `ImproperlyConfigured`. */
export function normalizeAccept(accept: readonly string[]): ReadonlySet<string> {
  return new Set(
    accept.map((entry) => {
      if (entry.includes("/")) return entry;
      const type = Object.hasOwn(contentTypes, entry) ? contentTypes[entry] : undefined;
      if (type === undefined) throw unknownSerializer(entry);
      return type;
    }),
  );
}

/**
 * A value as the body of a message: serialized, compressed, base64. At once for json without
 * compression and whenever all code needed is loaded, else a promise. Throws or rejects with
 * `EncodeError`, or `ImproperlyConfigured` for a serializer or compression there is none of.
 */
export function encodeBody(
  value: unknown,
  serializer: string,
  compression?: string | null,
): EncodedBody | Promise<EncodedBody> {
  if (serializer === "json" && !compression) {
    const bytes = Buffer.from(encodeJson(value), "utf8");
    return {
      body: bytes.toString("base64"),
      size: bytes.length,
      contentType: "application/json",
      contentEncoding: "utf-8",
    };
  }
  const encoder = loaded.get(names.get(serializer) ?? serializer) ?? loadSerializer(serializer);
  const codec = compression ? codecNamed(compression) : null;
  if (encoder instanceof Promise || codec instanceof Promise) {
    return Promise.all([encoder, codec]).then(([ready, code]) => packBody(value, ready, code));
  }
  return packBody(value, encoder, codec);
}

function packBody(value: unknown, serializer: Serializer, codec: Codec | null): EncodedBody | Promise<EncodedBody> {
  const { contentType, contentEncoding } = serializer;
  const bytes = serializer.encode(value);
  if (codec === null) return { body: base64(bytes), size: bytes.length, contentType, contentEncoding };
  const finish = (packed: Uint8Array): EncodedBody => ({
    body: base64(packed),
    size: bytes.length,
    contentType,
    contentEncoding,
    compression: codec.contentType,
  });
  const compressed = codec.compress(bytes);
  return compressed instanceof Promise ? compressed.then(finish) : finish(compressed);
}

export interface DecodeOptions {
  /** Most bytes of a body, as it came and unfolded. Default 512 MiB. */
  readonly maxBytes?: number;
  /** Where bytes that are needed for a moment come from. Default: they are allocated. */
  readonly pool?: BufferPool;
}

/**
 * The value of a message's body. Before any byte is decoded its content type must be accepted,
 * else `ContentDisallowed`. `MessageTooLarge` and `DecodeError` say what else was wrong. At once
 * for json without compression and whenever all code needed is loaded, else a promise.
 */
export function decodeBody(message: EncodedMessage, accept: ReadonlySet<string>, options: DecodeOptions = {}): unknown {
  const { contentType, headers } = message;
  const body = MessageOfBytes.bytesOf(message) ?? message.body;
  if (!accept.has(contentType) && !trusted.has(contentType)) throw disallowed(contentType, accept);
  const maxBytes = options.maxBytes ?? DEFAULT_MAX_BYTES;
  const size = Math.floor((body.length * 3) / 4);
  if (size > maxBytes + 2)
    throw new MessageTooLarge(`the body has ${size} bytes; ${maxBytes} is the limit`, size, maxBytes);
  const compression = Object.hasOwn(headers, "compression") ? headers.compression : null;
  if (typeof body !== "string" && contentType === "application/json" && !compression)
    return decodeLent(message, body, options.pool);
  const bytes =
    typeof body === "string"
      ? Buffer.from(body, "base64")
      : decodeBase64(body, Buffer.allocUnsafe(bytesOfBase64(body)));
  if (compression !== null && compression !== undefined) return unpackBody(message, bytes, compression, maxBytes);
  return decodeBytes(message, bytes);
}

/** Of JSON nothing refers to the bytes it was read from. */
function decodeLent(message: EncodedMessage, body: Buffer, pool = new BufferPool()): unknown {
  const room = pool.take(bytesOfBase64(body));
  try {
    return decodeBytes(message, decodeBase64(body, room));
  } finally {
    pool.giveBack(room);
  }
}

function unpackBody(message: EncodedMessage, bytes: Uint8Array, compression: unknown, maxBytes: number): unknown {
  if (typeof compression !== "string" || compressionType(compression) === undefined) {
    throw new DecodeError(`unknown compression ${JSON.stringify(String(compression).slice(0, 64))}`);
  }
  const unpack = (codec: Codec): unknown => {
    const unpacked = codec.decompress(bytes, maxBytes);
    return unpacked instanceof Promise
      ? unpacked.then((plain) => decodeBytes(message, plain))
      : decodeBytes(message, unpacked);
  };
  const codec = codecNamed(compression);
  return codec instanceof Promise ? codec.then(unpack) : unpack(codec);
}

function decodeBytes({ contentType, contentEncoding }: EncodedMessage, bytes: Uint8Array): unknown {
  if (contentType === "application/json") return decodeJson(decodeText(bytes, contentEncoding));
  const name = names.get(contentType);
  if (name === undefined || name === "raw")
    return contentEncoding === "binary" ? bytes : decodeText(bytes, contentEncoding);
  const serializer = loaded.get(name);
  return serializer === undefined
    ? loadSerializer(name).then((ready) => ready.decode(bytes))
    : serializer.decode(bytes);
}

function disallowed(contentType: string, accept: ReadonlySet<string>): ContentDisallowed {
  const name = names.get(contentType);
  const shown = JSON.stringify(contentType.slice(0, 128));
  return new ContentDisallowed(
    `content type ${name === undefined ? shown : `${name} (${shown})`} is not accepted; acceptContent allows ${[...accept].join(", ") || "nothing"}`,
  );
}

function unknownSerializer(name: string): ImproperlyConfigured {
  return new ImproperlyConfigured(
    `unknown serializer ${JSON.stringify(name.slice(0, 64))}; there are ${[...loaded.keys(), ...Object.keys(loaders)].filter((each, index, all) => all.indexOf(each) === index).join(", ")}`,
  );
}

function base64(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64");
}
