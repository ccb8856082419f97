import { isUtf8 } from "node:buffer";
import { DecodeError, EncodeError } from "../errors.ts";
import { MAX_DEPTH, wireJsonSymbol } from "../protocol/wire-json.ts";
import type { Serializer } from "./serializer.ts";

/**
 * MessagePack as Python's msgpack reads and writes it: `bin` for bytes, `str` for text
 * (protocol 3.1). Dates travel as the standard timestamp, which Python shows as
 * `msgpack.Timestamp`. Written here and not taken from a package, because of what a hostile
 * message may do: every length is checked against the bytes that are there before anything is
 * reserved, integers keep their digits, and `__proto__` is a key like any other.
 */
export const msgpackSerializer: Serializer = {
  name: "msgpack",
  contentType: "application/x-msgpack",
  contentEncoding: "binary",
  encode: (value) => new Writer().write(value),
  decode: (bytes) => new Reader(bytes).read(),
};

const TIMESTAMP = -1;

class Writer {
  #buffer = Buffer.allocUnsafe(1024);
  #at = 0;
  readonly #path: (string | number)[] = [];
  #depth = 0;

  write(value: unknown): Uint8Array {
    this.#value(value);
    return this.#buffer.subarray(0, this.#at);
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.#text(value);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? this.#integer(value) : this.#float(value);
      case "bigint":
        return this.#bigint(value);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "undefined":
        return this.#byte(0xc0);
      case "object":
        return value === null ? this.#byte(0xc0) : this.#object(value);
      default:
        throw this.#refuse(`a ${typeof value}`, "send data, not code");
    }
  }

  #object(value: object): void {
    if (this.#depth >= MAX_DEPTH)
      throw new EncodeError(`the value is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
    this.#depth += 1;
    if (Array.isArray(value)) this.#array(value);
    else if (value instanceof Uint8Array) this.#bytes(value);
    else if (value instanceof Date) this.#date(value);
    else if (value instanceof Map) this.#map([...value]);
    else this.#record(value);
    this.#depth -= 1;
  }

  #record(value: object): void {
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (wireJsonSymbol in value) throw this.#refuse(`a ${value.constructor.name}`, "send String(value), or use json");
    if (typeof toJSON === "function") return this.#value(toJSON.call(value, ""));
    if (
      value instanceof Set ||
      value instanceof Error ||
      value instanceof Promise ||
      value instanceof RegExp ||
      ArrayBuffer.isView(value)
    ) {
      throw this.#refuse(`a ${value.constructor.name}`, "send an array or an object");
    }
    this.#map(Object.entries(value).filter(([, item]) => item !== undefined));
  }

  #array(items: readonly unknown[]): void {
    this.#length(items.length, 0x90, 15, null, 0xdc, 0xdd);
    for (let index = 0; index < items.length; index += 1) {
      this.#path.push(index);
      this.#value(items[index]);
      this.#path.pop();
    }
  }

  #map(entries: readonly (readonly [key: unknown, value: unknown])[]): void {
    this.#length(entries.length, 0x80, 15, null, 0xde, 0xdf);
    for (const [key, value] of entries) {
      this.#path.push(String(key));
      this.#value(key);
      this.#value(value);
      this.#path.pop();
    }
  }

  #text(text: string): void {
    const size = Buffer.byteLength(text, "utf8");
    this.#length(size, 0xa0, 31, 0xd9, 0xda, 0xdb);
    this.#reserve(size);
    this.#at += this.#buffer.write(text, this.#at, "utf8");
  }

  #bytes(bytes: Uint8Array): void {
    this.#length(bytes.length, null, -1, 0xc4, 0xc5, 0xc6);
    this.#reserve(bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /** A type and a length in its shortest form. */
  #length(length: number, fix: number | null, fixMax: number, tag8: number | null, tag16: number, tag32: number): void {
    if (fix !== null && length <= fixMax) return this.#byte(fix | length);
    if (tag8 !== null && length <= 0xff) return this.#tagged(tag8, 1, (at) => this.#buffer.writeUInt8(length, at));
    if (length <= 0xffff) return this.#tagged(tag16, 2, (at) => this.#buffer.writeUInt16BE(length, at));
    this.#tagged(tag32, 4, (at) => this.#buffer.writeUInt32BE(length, at));
  }

  #integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) return this.#byte(value);
      if (value <= 0xff) return this.#tagged(0xcc, 1, (at) => this.#buffer.writeUInt8(value, at));
      if (value <= 0xffff) return this.#tagged(0xcd, 2, (at) => this.#buffer.writeUInt16BE(value, at));
      if (value <= 0xffffffff) return this.#tagged(0xce, 4, (at) => this.#buffer.writeUInt32BE(value, at));
    } else {
      if (value >= -0x20) return this.#byte(value & 0xff);
      if (value >= -0x80) return this.#tagged(0xd0, 1, (at) => this.#buffer.writeInt8(value, at));
      if (value >= -0x8000) return this.#tagged(0xd1, 2, (at) => this.#buffer.writeInt16BE(value, at));
      if (value >= -0x80000000) return this.#tagged(0xd2, 4, (at) => this.#buffer.writeInt32BE(value, at));
    }
    this.#bigint(BigInt(value));
  }

  #bigint(value: bigint): void {
    if (value >= 0n && value < 2n ** 64n)
      return this.#tagged(0xcf, 8, (at) => this.#buffer.writeBigUInt64BE(value, at));
    if (value < 0n && value >= -(2n ** 63n))
      return this.#tagged(0xd3, 8, (at) => this.#buffer.writeBigInt64BE(value, at));
    throw this.#refuse("an integer of more than 64 bits", "send it as text, or use json");
  }

  #float(value: number): void {
    this.#tagged(0xcb, 8, (at) => this.#buffer.writeDoubleBE(value, at));
  }

  /** The 96-bit form, which holds any date. */
  #date(date: Date): void {
    const ms = date.getTime();
    if (Number.isNaN(ms)) throw this.#refuse("an invalid Date", "check how it was made");
    const seconds = Math.floor(ms / 1000);
    const { extraMicroseconds } = date as { readonly extraMicroseconds?: unknown };
    const extra = typeof extraMicroseconds === "number" ? extraMicroseconds : 0;
    this.#tagged(0xc7, 14, (at) => {
      this.#buffer.writeUInt8(12, at);
      this.#buffer.writeInt8(TIMESTAMP, at + 1);
      this.#buffer.writeUInt32BE((ms - seconds * 1000) * 1_000_000 + extra * 1000, at + 2);
      this.#buffer.writeBigInt64BE(BigInt(seconds), at + 6);
    });
  }

  #byte(value: number): void {
    this.#reserve(1);
    this.#buffer[this.#at] = value;
    this.#at += 1;
  }

  #tagged(tag: number, size: number, write: (at: number) => void): void {
    this.#byte(tag);
    this.#reserve(size);
    write(this.#at);
    this.#at += size;
  }

  #reserve(size: number): void {
    if (this.#at + size <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafe(Math.max(this.#buffer.length * 2, this.#at + size));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }

  #refuse(what: string, wayOut: string): EncodeError {
    const place = this.#path.map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`)).join("");
    return new EncodeError(`cannot write ${what} as msgpack at value${place}: ${wayOut}`);
  }
}

class Reader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read(): unknown {
    const value = this.#value(0);
    if (this.#at < this.#bytes.length)
      throw new DecodeError(`not msgpack: ${this.#bytes.length - this.#at} bytes too many`);
    return value;
  }

  #value(depth: number): unknown {
    const tag = this.#bytes[this.#take(1)] as number;
    if (tag < 0x80) return tag;
    if (tag < 0x90) return this.#map(tag & 0x0f, depth);
    if (tag < 0xa0) return this.#array(tag & 0x0f, depth);
    if (tag < 0xc0) return this.#text(tag & 0x1f);
    if (tag >= 0xe0) return tag - 0x100;
    switch (tag) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#slice(this.#unsigned(1 << (tag - 0xc4)));
      case 0xc7:
      case 0xc8:
      case 0xc9:
        return this.#extension(this.#unsigned(1 << (tag - 0xc7)));
      case 0xca:
        return this.#bytes.readFloatBE(this.#take(4));
      case 0xcb:
        return this.#bytes.readDoubleBE(this.#take(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#unsigned(1 << (tag - 0xcc));
      case 0xcf:
        return safe(this.#bytes.readBigUInt64BE(this.#take(8)));
      case 0xd0:
        return this.#bytes.readInt8(this.#take(1));
      case 0xd1:
        return this.#bytes.readInt16BE(this.#take(2));
      case 0xd2:
        return this.#bytes.readInt32BE(this.#take(4));
      case 0xd3:
        return safe(this.#bytes.readBigInt64BE(this.#take(8)));
      case 0xd4:
      case 0xd5:
      case 0xd6:
      case 0xd7:
      case 0xd8:
        return this.#extension(1 << (tag - 0xd4));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#unsigned(1 << (tag - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#unsigned(2 << (tag - 0xdc)), depth);
      case 0xde:
      case 0xdf:
        return this.#map(this.#unsigned(2 << (tag - 0xde)), depth);
      default:
        throw new DecodeError(`not msgpack: byte 0x${tag.toString(16)} at ${this.#at - 1} means nothing`);
    }
  }

  #array(length: number, depth: number): unknown[] {
    this.#enter(length, depth);
    const items: unknown[] = [];
    for (let index = 0; index < length; index += 1) items.push(this.#value(depth + 1));
    return items;
  }

  /** An object, or a Map when a key is not text. */
  #map(length: number, depth: number): unknown {
    this.#enter(length * 2, depth);
    const entries: [unknown, unknown][] = [];
    for (let index = 0; index < length; index += 1) entries.push([this.#value(depth + 1), this.#value(depth + 1)]);
    if (entries.every(([key]) => typeof key === "string")) return Object.fromEntries(entries as [string, unknown][]);
    return new Map(entries);
  }

  /** Every element takes a byte at least, so what is claimed must be there. */
  #enter(elements: number, depth: number): void {
    if (depth >= MAX_DEPTH) throw new DecodeError(`the document is nested more than ${MAX_DEPTH} levels deep`);
    if (elements > this.#bytes.length - this.#at) throw this.#short();
  }

  #text(length: number): string {
    const bytes = this.#slice(length);
    if (!isUtf8(bytes)) throw new DecodeError("not msgpack: a text that is not utf-8");
    return bytes.toString("utf8");
  }

  #extension(length: number): unknown {
    const type = this.#bytes.readInt8(this.#take(1));
    const data = this.#slice(length);
    if (type === TIMESTAMP && length === 4) return new Date(data.readUInt32BE(0) * 1000);
    if (type === TIMESTAMP && length === 8) {
      const both = data.readBigUInt64BE(0);
      return date(both & 0x3ffffffffn, Number(both >> 34n));
    }
    if (type === TIMESTAMP && length === 12) return date(data.readBigInt64BE(4), data.readUInt32BE(0));
    throw new DecodeError(`a msgpack extension of type ${type}, which means nothing here`);
  }

  #unsigned(size: number): number {
    return this.#bytes.readUIntBE(this.#take(size), size);
  }

  #slice(length: number): Buffer {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  /** Where the next `length` bytes begin. */
  #take(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw this.#short();
    this.#at += length;
    return start;
  }

  #short(): DecodeError {
    return new DecodeError("not msgpack: it ends too early");
  }
}

function safe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function date(seconds: bigint, nanoseconds: number): Date {
  const made = new Date(Number(seconds) * 1000 + Math.floor(nanoseconds / 1_000_000));
  if (Number.isNaN(made.getTime())) throw new DecodeError("a msgpack timestamp outside what a Date can hold");
  return made;
}
