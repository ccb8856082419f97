/** Values to bytes and back, for one content type. Pure. */
export interface Serializer {
  readonly name: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** Throws `EncodeError`, naming what cannot be written and where. */
  encode(value: unknown): Uint8Array;
  /** Throws `DecodeError` on anything that is not this format, on more than 1,000 levels of nesting. */
  decode(bytes: Uint8Array): unknown;
}
