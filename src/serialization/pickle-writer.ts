import { EncodeError } from "../errors.ts";
import { MAX_DEPTH } from "../protocol/wire-json.ts";
import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "./values.ts";

/** Writes a value as pickle protocol 4, what Celery writes. Throws `EncodeError` naming what cannot be written, and where. */
export function writePickle(value: unknown): Uint8Array {
  const writer = new PickleWriter();
  writer.value(value);
  return writer.end();
}

class PickleWriter {
  readonly #chunks: Uint8Array[] = [Buffer.from([0x80, 4])];
  readonly #path: (string | number)[] = [];
  #depth = 0;

  end(): Uint8Array {
    this.#op(".");
    return Buffer.concat(this.#chunks);
  }

  value(value: unknown): void {
    switch (typeof value) {
      case "string":
        return this.#text(value);
      case "number":
        return Number.isSafeInteger(value) && !Object.is(value, -0) ? this.#integer(value) : this.#float(value);
      case "bigint":
        return this.#long(value);
      case "boolean":
        return this.#put(value ? 0x88 : 0x89);
      case "undefined":
        return this.#op("N");
      case "object":
        return value === null ? this.#op("N") : this.#nested(value);
      default:
        throw this.#refuse(`a ${typeof value}`, "send data, not code");
    }
  }

  #nested(value: object): void {
    if (this.#depth >= MAX_DEPTH)
      throw new EncodeError(`the value is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
    this.#depth += 1;
    this.#object(value);
    this.#depth -= 1;
  }

  #object(value: object): void {
    if (Array.isArray(value)) return this.#items("]", "e", value);
    if (value instanceof Uint8Array) return this.#bytes(value);
    if (value instanceof Date) return this.#datetime(value);
    if (value instanceof Set) return this.#items(0x8f, 0x90, [...value]);
    if (value instanceof Map) return this.#dict([...value]);
    if (value instanceof Decimal) return this.#call("decimal", "Decimal", [value.toString()]);
    if (value instanceof Uuid) return this.#call("uuid", "UUID", [value.hex]);
    if (value instanceof PlainDate) return this.#call("datetime", "date", [packDate(value.toString())]);
    if (value instanceof PlainTime) return this.#time(value);
    const { toJSON } = value as { readonly toJSON?: unknown };
    if (typeof toJSON === "function") return this.value(toJSON.call(value, ""));
    if (value instanceof Error || value instanceof Promise || value instanceof RegExp || ArrayBuffer.isView(value)) {
      throw this.#refuse(`a ${value.constructor.name}`, "send an array or an object");
    }
    if (value.constructor?.name === "PickledObject" || value.constructor?.name === "PickledGlobal") {
      throw this.#refuse("an object of a Python class", "send its data");
    }
    this.#dict(Object.entries(value).filter(([, item]) => item !== undefined));
  }

  #items(empty: string | number, add: string | number, items: readonly unknown[]): void {
    this.#put(empty);
    if (items.length === 0) return;
    this.#op("(");
    for (let index = 0; index < items.length; index += 1) this.#inside(index, items[index]);
    this.#put(add);
  }

  #dict(entries: readonly (readonly [key: unknown, value: unknown])[]): void {
    this.#op("}");
    if (entries.length === 0) return;
    this.#op("(");
    for (const [key, value] of entries) {
      this.value(key);
      this.#inside(String(key), value);
    }
    this.#op("u");
  }

  #inside(key: string | number, value: unknown): void {
    this.#path.push(key);
    this.value(value);
    this.#path.pop();
  }

  #call(module: string, name: string, args: readonly unknown[]): void {
    this.#text(module);
    this.#text(name);
    this.#put(0x93);
    for (const arg of args) this.value(arg);
    this.#put(args.length === 1 ? 0x85 : args.length === 2 ? 0x86 : 0x87);
    this.#op("R");
  }

  #datetime(date: Date): void {
    if (Number.isNaN(date.getTime())) throw this.#refuse("an invalid Date", "check how it was made");
    const iso = (date instanceof DateTime ? date : new DateTime(date.getTime())).isoformat();
    const packed = Buffer.concat([packDate(iso.slice(0, 10)), packTime(iso.slice(11))]);
    this.#zoned("datetime", packed, date instanceof DateTime ? date.offset : 0);
  }

  #time(time: PlainTime): void {
    const zone = /(?:[Zz]|([+-])(\d\d):?(\d\d)?:?(\d\d)?)$/.exec(time.toString());
    const [, sign, hours = "0", minutes = "0", seconds = "0"] = zone ?? [];
    const size = Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds);
    this.#zoned("time", packTime(time.toString()), zone === null ? null : sign === "-" ? -size : size);
  }

  #zoned(name: string, packed: Uint8Array, offset: number | null): void {
    if (offset === null) return this.#call("datetime", name, [packed]);
    this.#text("datetime");
    this.#text(name);
    this.#put(0x93);
    this.#bytes(packed);
    this.#text("datetime");
    this.#text("timezone");
    this.#put(0x93);
    this.#call("datetime", "timedelta", [0, offset]);
    this.#put(0x85);
    this.#op("R");
    this.#put(0x86);
    this.#op("R");
  }

  #text(text: string): void {
    const bytes = Buffer.from(text, "utf8");
    this.#sized(bytes, 0x8c, "X", 0x8d);
  }

  #bytes(bytes: Uint8Array): void {
    this.#sized(bytes, "C", "B", 0x8e);
  }

  #sized(bytes: Uint8Array, short: string | number, long: string | number, huge: number): void {
    if (bytes.length <= 0xff) this.#put(short, bytes.length);
    else if (bytes.length <= 0xffffffff) this.#number(long, 4, (at) => at.writeUInt32LE(bytes.length));
    else this.#number(huge, 8, (at) => at.writeBigUInt64LE(BigInt(bytes.length)));
    this.#chunks.push(bytes);
  }

  #integer(value: number): void {
    if (value >= 0 && value <= 0xff) this.#put("K", value);
    else if (value >= -0x80000000 && value <= 0x7fffffff) this.#number("J", 4, (at) => at.writeInt32LE(value));
    else this.#long(BigInt(value));
  }

  #long(value: bigint): void {
    const bytes = twosComplement(value);
    if (bytes.length <= 0xff) this.#put(0x8a, bytes.length);
    else this.#number(0x8b, 4, (at) => at.writeUInt32LE(bytes.length));
    this.#chunks.push(bytes);
  }

  #float(value: number): void {
    this.#number("G", 8, (at) => at.writeDoubleBE(value));
  }

  #number(opcode: string | number, size: number, write: (at: Buffer) => void): void {
    const bytes = Buffer.alloc(size);
    write(bytes);
    this.#put(opcode);
    this.#chunks.push(bytes);
  }

  #op(opcode: string): void {
    this.#put(opcode);
  }

  #put(opcode: string | number, argument?: number): void {
    const code = typeof opcode === "string" ? opcode.charCodeAt(0) : opcode;
    this.#chunks.push(Uint8Array.of(...(argument === undefined ? [code] : [code, argument])));
  }

  #refuse(what: string, wayOut: string): EncodeError {
    const place = this.#path.map((key) => (typeof key === "number" ? `[${key}]` : `.${key}`)).join("");
    return new EncodeError(`cannot write ${what} as pickle at value${place}: ${wayOut}`);
  }
}

function packDate(text: string): Uint8Array {
  const [year, month, day] = text.split("-").map(Number) as [number, number, number];
  return Buffer.from([year >> 8, year & 0xff, month, day]);
}

function packTime(text: string): Uint8Array {
  const [hour, minute, second = 0] = text
    .slice(0, 8)
    .split(":")
    .map((part) => Number.parseInt(part, 10)) as [number, number, number];
  const fraction = /^\d\d:\d\d:\d\d[.,](\d+)/.exec(text)?.[1] ?? "";
  const microsecond = Number(fraction.slice(0, 6).padEnd(6, "0"));
  return Buffer.from([
    hour,
    minute,
    Number.isNaN(second) ? 0 : second,
    microsecond >> 16,
    (microsecond >> 8) & 0xff,
    microsecond & 0xff,
  ]);
}

/** Little-endian, as short as the sign allows; nothing at all for zero. */
function twosComplement(value: bigint): Buffer {
  if (value === 0n) return Buffer.alloc(0);
  const bits = BigInt((value < 0n ? -value - 1n : value).toString(16).length * 4 + 1);
  const bytes = (bits + 7n) / 8n;
  const hex = BigInt.asUintN(Number(bytes) * 8, value)
    .toString(16)
    .padStart(Number(bytes) * 2, "0");
  return Buffer.from(hex, "hex").reverse();
}
