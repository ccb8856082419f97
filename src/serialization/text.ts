import { isUtf8 } from "node:buffer";
import { DecodeError } from "../errors.ts";

/**
 * Bytes as text of the encoding named by a message. Throws `DecodeError` when they are none,
 * instead of putting replacement characters where something else was.
 */
export function decodeText(bytes: Uint8Array, encoding: string): string {
  const buffer = Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (encoding === "utf-8" || isUtf8Name(encoding)) {
    const text = buffer.toString("utf8");
    if (text.includes("\ufffd") && !isUtf8(buffer)) throw new DecodeError("the body is not utf-8");
    return text;
  }
  // The web's "latin1" is windows-1252; Python's is not.
  if (/^(?:latin-?1|iso-?8859-1)$/i.test(encoding)) return buffer.toString("latin1");
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(buffer);
  } catch (error) {
    throw new DecodeError(`the body is not text in ${JSON.stringify(encoding.slice(0, 32))}`, { cause: error });
  }
}

/** Encodings that say nothing about the text leave it at utf-8, as kombu does. */
function isUtf8Name(encoding: string): boolean {
  return ["utf-8", "utf8", "binary", "ascii-8bit", "us-ascii", "ascii", ""].includes(encoding.toLowerCase());
}
