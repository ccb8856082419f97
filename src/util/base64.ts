/**
 * Characters decoded in one step, a multiple of four. They become a string first, and one of more than
 * 128 KiB gets pages of its own from the system, which cost several times what decoding does.
 */
const step = 49_152;

/** Bytes a base64 text of this length stands for, or up to two more. */
export const bytesOfBase64 = (text: { readonly length: number }): number => Math.ceil((text.length * 3) / 4);

/**
 * The bytes a base64 text, itself given as bytes, stands for; read as leniently as Node reads any.
 * They are written into `room`, which has place for `bytesOfBase64` of them, unless the text is damaged.
 */
export function decodeBase64(text: Buffer, room: Buffer): Buffer {
  let end = 0;
  for (let from = 0; from < text.length; from += step) {
    const piece = text.toString("latin1", from, from + step);
    const written = room.write(piece, end, "base64");
    end += written;
    // Something in it is not base64, and shifts what follows.
    if (written !== (step * 3) / 4 && from + step < text.length) return Buffer.from(text.toString("latin1"), "base64");
  }
  return room.subarray(0, end);
}
