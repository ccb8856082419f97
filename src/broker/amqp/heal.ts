import type { ChannelModel } from "amqplib";

/** The two members of amqplib's connection this file stands on. */
interface FrameReader {
  rest: Buffer;
  recvFrame(): unknown;
}

/**
 * Puts three things before amqplib's frame reader: Python writes 64-bit integers in headers under
 * the type tag `L`, which amqplib does not know and closes the connection over (one such
 * message would stop every worker in turn), so the tag becomes its synonym `l` before it looks;
 * tables within tables within tables, thousands of them, would overflow its stack to the same effect;
 * and `onFrame` is called for each frame, as a sign of life.
 */
export function healFrames(model: ChannelModel, onFrame: () => void): void {
  const reader = model.connection as unknown as FrameReader;
  if (typeof reader.recvFrame !== "function" || !Buffer.isBuffer(reader.rest)) {
    throw new TypeError("this version of amqplib reads frames in another way; tq needs amqplib 2.3");
  }
  const receive = reader.recvFrame;
  reader.recvFrame = function recvFrame(this: FrameReader): unknown {
    healHeaderFrame(this.rest);
    const frame = receive.call(this);
    if (frame) onFrame();
    return frame;
  };
}

const frameOverhead = 8;
const headerFrame = 2;
const tagL = 0x4c;
const tagl = 0x6c;
const tagx = 0x78;
/** Tables and lists further down stay bytes: amqplib reads them by calling itself, and a frame has room for 18,000. */
const deepest = 64;
/** Bytes that a header frame needs at least to be so deep. */
const deepSize = 21 + deepest * 7;

/** Rewrites, in place, the first frame of `bytes` if it is a whole content header with such integers, or too deep. */
export function healHeaderFrame(bytes: Buffer): void {
  if (bytes.length < frameOverhead || bytes[0] !== headerFrame) return;
  const end = 7 + bytes.readUInt32BE(3);
  if (bytes.length <= end) return;
  const first = bytes.indexOf(tagL, 21);
  if ((first < 0 || first >= end) && end < deepSize) return;
  // class, weight, body size, then the flags that say which properties follow.
  const flags = bytes.readUInt16BE(19);
  let offset = 21;
  if (flags & 0x8000) offset += 1 + (bytes[offset] ?? 0);
  if (flags & 0x4000) offset += 1 + (bytes[offset] ?? 0);
  if (flags & 0x2000) healTable(bytes, offset, 1);
}

function healTable(bytes: Buffer, start: number, depth: number): number {
  const end = start + 4 + bytes.readUInt32BE(start);
  let offset = start + 4;
  while (offset < end) {
    offset += 1 + (bytes[offset] as number);
    offset = healValue(bytes, offset, depth);
  }
  return end;
}

/** Bytes of the values whose size does not depend on them, by type tag. */
const sizes: Readonly<Record<string, number>> = {
  t: 1,
  b: 1,
  B: 1,
  s: 2,
  u: 2,
  I: 4,
  i: 4,
  l: 8,
  L: 8,
  f: 4,
  d: 8,
  D: 5,
  T: 8,
  V: 0,
};

function healValue(bytes: Buffer, start: number, depth: number): number {
  const offset = start + 1;
  if (bytes[start] === tagL) bytes[start] = tagl;
  const tag = String.fromCharCode(bytes[start] as number);
  if ((tag === "F" || tag === "A") && depth >= deepest) {
    bytes[start] = tagx;
    return offset + 4 + bytes.readUInt32BE(offset);
  }
  if (tag === "F") return healTable(bytes, offset, depth + 1);
  if (tag === "A") {
    const end = offset + 4 + bytes.readUInt32BE(offset);
    let item = offset + 4;
    while (item < end) item = healValue(bytes, item, depth + 1);
    return end;
  }
  if (tag === "S" || tag === "x") return offset + 4 + bytes.readUInt32BE(offset);
  const size = sizes[tag];
  if (size === undefined) throw new TypeError(`a header has the unknown type tag ${JSON.stringify(tag)}`);
  return offset + size;
}
