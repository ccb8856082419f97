import * as zlib from "node:zlib";
import { DecodeError, EncodeError, ImproperlyConfigured } from "../errors.ts";
import { loadBzip2 } from "./bzip2.ts";
import type { Compressor } from "./compressor.ts";
import { loadLzma } from "./lzma.ts";
import { loadZstd } from "./zstd.ts";

/** A compressor under its name on the wire, checked and bounded. Only lzma answers with promises. */
export interface Codec {
  /** Value of the `compression` header. */
  readonly contentType: string;
  /** Throws or rejects with `EncodeError`. */
  compress(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Throws or rejects with `DecodeError`, also when more than `maxBytes` would come out. */
  decompress(bytes: Uint8Array, maxBytes?: number): Uint8Array | Promise<Uint8Array>;
}

/** Most bytes a compressed body may unfold into, unless the caller says otherwise: 512 MiB. */
export const DEFAULT_MAX_BYTES = 512 * 1024 * 1024;

interface Format {
  readonly contentType: string;
  readonly aliases: readonly string[];
  readonly load: () => Compressor | Promise<Compressor>;
}

/** Protocol 3.3. What kombu calls gzip is a zlib stream without gzip's container. */
const formats: Format[] = [
  {
    contentType: "application/x-gzip",
    aliases: ["zlib", "gzip"],
    load: () => ({
      compress: (bytes) => zlib.deflateSync(bytes),
      decompress: (bytes, maxBytes) => zlib.inflateSync(bytes, { maxOutputLength: maxBytes }),
    }),
  },
  {
    contentType: "application/x-brotli",
    aliases: ["brotli"],
    load: () => ({
      // The default quality, 11, takes seconds per megabyte for a few per cent.
      compress: (bytes) => zlib.brotliCompressSync(bytes, { params: { [zlib.constants.BROTLI_PARAM_QUALITY]: 5 } }),
      decompress: (bytes, maxBytes) => zlib.brotliDecompressSync(bytes, { maxOutputLength: maxBytes }),
    }),
  },
  { contentType: "application/zstd", aliases: ["zstd", "zstandard"], load: loadZstd },
  { contentType: "application/x-bz2", aliases: ["bzip2", "bzip"], load: loadBzip2 },
  { contentType: "application/x-lzma", aliases: ["lzma", "xz"], load: loadLzma },
];

/**
 * Adds a compression of one's own (kombu's `compression.register`): `contentType` is what travels in the
 * header, `aliases` the names for `taskCompression` and the option `compression`. Of the whole process, as
 * `registerSerializer`. Throws `ImproperlyConfigured` for a name or type that is taken.
 */
export function registerCompression({ contentType, aliases, compress, decompress }: CustomCompression): void {
  const taken = [contentType, ...aliases].find((name) => formatNamed(name) !== undefined);
  if (taken !== undefined) throw new ImproperlyConfigured(`there is a compression ${taken} already`);
  formats.push({
    contentType,
    aliases,
    load: () => ({
      compress,
      decompress(bytes, maxBytes) {
        const plain = decompress(bytes, maxBytes);
        if (plain.length > maxBytes) throw new RangeError(`${plain.length} bytes`);
        return plain;
      },
    }),
  });
}

/** What `registerCompression` takes. */
export interface CustomCompression {
  readonly contentType: string;
  readonly aliases: readonly string[];
  compress(bytes: Uint8Array): Uint8Array;
  /** Should stop, by throwing, as soon as more than `maxBytes` would come out. */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array;
}

/** Codecs whose code is loaded: the same for everyone in the process, like the modules they come from. */
const loaded = new Map<string, Codec>();

/** The header value for a name or a header value; undefined when there is no such compression. */
export function compressionType(name: string): string | undefined {
  return formatNamed(name)?.contentType;
}

/**
 * The codec of a name (`zlib`, `bzip2`, …) or header value. At once when its code is in the
 * process already, else a promise. Throws or rejects with `ImproperlyConfigured` when there is
 * none, or its package is not installed.
 */
export function codecNamed(name: string): Codec | Promise<Codec> {
  const format = formatNamed(name);
  if (format === undefined) {
    const names = formats.flatMap((each) => each.aliases).join(", ");
    throw new ImproperlyConfigured(`unknown compression ${JSON.stringify(name.slice(0, 64))}; there are ${names}`);
  }
  const known = loaded.get(format.contentType);
  if (known !== undefined) return known;
  const compressor = format.load();
  return compressor instanceof Promise
    ? compressor.then((code) => remember(format, code))
    : remember(format, compressor);
}

function formatNamed(name: string): Format | undefined {
  return formats.find((format) => format.contentType === name || format.aliases.includes(name));
}

function remember({ contentType, aliases }: Format, compressor: Compressor): Codec {
  const codec: Codec = {
    contentType,
    compress(bytes) {
      const failed = (error: unknown): never => {
        throw new EncodeError(`${aliases[0]} could not compress ${bytes.length} bytes: ${(error as Error).message}`, {
          cause: error,
        });
      };
      return settle(() => compressor.compress(bytes), failed);
    },
    decompress(bytes, maxBytes = DEFAULT_MAX_BYTES) {
      const failed = (error: unknown): never => {
        if (isTooLarge(error))
          throw new DecodeError(`the compressed body unfolds into more than ${maxBytes} bytes, the limit`, {
            cause: error,
          });
        throw new DecodeError(`the body is not ${aliases[0]}: ${(error as Error).message}`, { cause: error });
      };
      return settle(() => compressor.decompress(bytes, maxBytes), failed);
    },
  };
  loaded.set(contentType, codec);
  return codec;
}

/** One way to fail for those who throw and those who reject. */
function settle<T>(work: () => T | Promise<T>, failed: (error: unknown) => never): T | Promise<T> {
  try {
    const result = work();
    return result instanceof Promise ? result.catch(failed) : result;
  } catch (error) {
    return failed(error);
  }
}

function isTooLarge(error: unknown): boolean {
  return error instanceof RangeError || (error as { readonly code?: unknown } | null)?.code === "ERR_BUFFER_TOO_LARGE";
}
