import * as zlib from "node:zlib";
import type { Compressor } from "./compressor.ts";

interface NodeZstd {
  readonly zstdCompressSync?: (bytes: Uint8Array) => Uint8Array;
  readonly zstdDecompressSync?: (bytes: Uint8Array, options: { readonly maxOutputLength: number }) => Uint8Array;
}

/** zstd of Node itself where it has it (from 22.15), else as WebAssembly. */
export function loadZstd(): Compressor | Promise<Compressor> {
  const { zstdCompressSync, zstdDecompressSync } = zlib as NodeZstd;
  if (zstdCompressSync === undefined || zstdDecompressSync === undefined) return loadWasm();
  return {
    compress: (bytes) => zstdCompressSync(bytes),
    decompress: (bytes, maxBytes) => zstdDecompressSync(bytes, { maxOutputLength: maxBytes }),
  };
}

async function loadWasm(): Promise<Compressor> {
  const { init, compress, decompress } = await import("@bokuweb/zstd-wasm");
  await init();
  return {
    compress: (bytes) => compress(bytes, 3),
    decompress: (bytes, maxBytes) => {
      const size = frameSize(bytes);
      if (size === undefined) throw new Error("no zstd frame");
      if (size !== null) {
        // The library reserves what the frame claims before it looks further.
        if (size > maxBytes) throw new RangeError("too large");
        return decompress(bytes);
      }
      for (let room = Math.min(Math.max(bytes.length * 8, 65_536), maxBytes); ; room = Math.min(room * 4, maxBytes)) {
        try {
          return decompress(bytes, { defaultHeapSize: room });
        } catch (error) {
          if (!/code -70\b/.test((error as Error).message)) throw error;
          if (room >= maxBytes) throw new RangeError("too large");
        }
      }
    },
  };
}

/** Bytes the first frame says it holds; null when it does not say, undefined when it is no frame (RFC 8878, 3.1.1.1). */
function frameSize(bytes: Uint8Array): number | null | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 6 || view.getUint32(0, true) !== 0xfd2fb528) return undefined;
  const descriptor = view.getUint8(4);
  const single = (descriptor & 0x20) !== 0;
  const flag = descriptor >> 6;
  if (flag === 0 && !single) return null;
  const at = 5 + (single ? 0 : 1) + ([0, 1, 2, 4][descriptor & 3] as number);
  const length = [1, 2, 4, 8][flag] as number;
  if (bytes.length < at + length) return undefined;
  if (flag === 0) return view.getUint8(at);
  if (flag === 1) return view.getUint16(at, true) + 256;
  return flag === 2 ? view.getUint32(at, true) : Number(view.getBigUint64(at, true));
}
