/** Bytes to fewer bytes and back. */
export interface Compressor {
  compress(bytes: Uint8Array): Uint8Array | Promise<Uint8Array>;
  /** Throws for anything that is not this format, and as soon as the output would exceed `maxBytes`. */
  decompress(bytes: Uint8Array, maxBytes: number): Uint8Array | Promise<Uint8Array>;
}
