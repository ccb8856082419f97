import { finished } from "node:stream";
import { ImproperlyConfigured } from "../errors.ts";
import type { Compressor } from "./compressor.ts";

/** What is used of the package. */
interface LzmaNative {
  createStream(
    coder: "easyEncoder" | "streamDecoder",
    options: Readonly<Record<string, unknown>>,
  ): NodeJS.ReadWriteStream & { destroy(): void };
}

/**
 * .xz by the package `lzma-native`, which is not installed by default: few use it, and it
 * brings native code. Rejects with `ImproperlyConfigured` when it is not there.
 */
export async function loadLzma(): Promise<Compressor> {
  const lzma = await importLzma();
  return {
    compress: (bytes) => collect(lzma.createStream("easyEncoder", {}), bytes, Number.POSITIVE_INFINITY),
    decompress: (bytes, maxBytes) =>
      collect(lzma.createStream("streamDecoder", { memlimit: 1024 ** 3 }), bytes, maxBytes),
  };
}

async function importLzma(): Promise<LzmaNative> {
  // A variable, so that the compiler does not look for an optional package.
  const name: string = "lzma-native";
  try {
    return ((await import(name)) as { readonly default: LzmaNative }).default;
  } catch (cause) {
    throw new ImproperlyConfigured(`lzma needs the package ${name}: npm install ${name}`, { cause });
  }
}

/** All that comes out of a stream given these bytes; ends it as soon as that is too much. */
function collect(
  stream: ReturnType<LzmaNative["createStream"]>,
  bytes: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= maxBytes) chunks.push(chunk);
      else {
        reject(new RangeError("too large"));
        stream.destroy();
      }
    });
    finished(stream, (error) => (error ? reject(error) : resolve(Buffer.concat(chunks))));
    stream.end(bytes);
  });
}
