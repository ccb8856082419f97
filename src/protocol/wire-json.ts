import { isUtf8 } from "node:buffer";
import { DecodeError, EncodeError } from "../errors.ts";
import { formatIso } from "../util/iso8601.ts";

/**
 * JSON as kombu writes it (protocol 3.2): bare `NaN` and `Infinity`, integers of any size, and
 * `{"__type__", "__value__"}` for what JSON lacks. Ordinary documents go through the engine's
 * own parser and printer; one cheap walk tells whether a document is ordinary.
 */

/**
 * A method under this key returns what a value is on the wire, for example
 * `{"__type__": "decimal", "__value__": "1.50"}`. It goes before `toJSON`. A registered symbol,
 * so that value types of higher layers need not be imported here.
 */
export const wireJsonSymbol: unique symbol = Symbol.for("tq.wireJson") as never;

/** More than this is an attack or a mistake, and would overflow the stack of whoever walks it. */
export const MAX_DEPTH = 1000;

/** Makes a value of `{"__type__": type, "__value__": value}`; returns undefined to leave the object as it is. */
export type Reviver = (type: string, value: unknown) => unknown;

/**
 * Reads a document. Integers beyond 2^53 become bigints; keys such as `__proto__` are plain own
 * properties. Without `revive`, typed objects stay as they are. Throws `DecodeError`.
 */
export function parseWireJson(text: string, revive?: Reviver): unknown {
  const value = parseTokens(text);
  return revive !== undefined && text.includes('"__type__"') ? reviveTree(value, revive) : value;
}

/** Prints a value. Throws `EncodeError` naming what cannot be written, and where. */
export function writeWireJson(value: unknown): string {
  return isOrdinary(value, 0) ? JSON.stringify(value) : new Printer().print(value);
}

// ── reading ──────────────────────────────────────────────────────────────────

/** From this size on, depth is checked before the engine's parser spends memory on every level. */
const SCAN_FIRST = 1_000_000;

function parseTokens(text: string): unknown {
  if (text.length > SCAN_FIRST) refuseDepth(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (/NaN|Infinity/.test(text)) return new Parser(text).parse();
    throw new DecodeError(`not JSON: ${(error as Error).message}`, { cause: error });
  }
  return hasHugeInteger(value, 0) ? new Parser(text).parse() : value;
}

function tooDeep(): DecodeError {
  return new DecodeError(`the document is nested more than ${MAX_DEPTH} levels deep`);
}

/** Whether a number may have lost digits. Throws when the document is too deep. */
function hasHugeInteger(value: unknown, depth: number): boolean {
  if (typeof value === "number") return value > Number.MAX_SAFE_INTEGER || value < -Number.MAX_SAFE_INTEGER;
  return typeof value === "object" && value !== null && containsHugeInteger(value, depth);
}

function containsHugeInteger(container: object, depth: number): boolean {
  if (depth >= MAX_DEPTH) throw tooDeep();
  let found = false;
  if (Array.isArray(container)) {
    for (let index = 0; index < container.length; index += 1)
      found = hasHugeInteger(container[index], depth + 1) || found;
  } else {
    for (const key in container)
      found = hasHugeInteger((container as Record<string, unknown>)[key], depth + 1) || found;
  }
  return found;
}

function refuseDepth(text: string): void {
  let depth = 0;
  for (let index = 0; index < text.length; index += 1) {
    const code = text.charCodeAt(index);
    if (code === 0x22) index = stringEnd(text, index);
    else if (code === 0x5b || code === 0x7b) {
      depth += 1;
      if (depth > MAX_DEPTH) throw tooDeep();
    } else if (code === 0x5d || code === 0x7d) depth -= 1;
  }
}

/** Index of the quote that closes the string opened at `start`; the text's length when none does. */
function stringEnd(text: string, start: number): number {
  for (let end = text.indexOf('"', start + 1); end >= 0; end = text.indexOf('"', end + 1)) {
    let backslashes = 0;
    while (text.charCodeAt(end - 1 - backslashes) === 0x5c) backslashes += 1;
    if (backslashes % 2 === 0) return end;
  }
  return text.length;
}

function reviveTree(value: unknown, revive: Reviver): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) value[index] = reviveTree(value[index], revive);
    return value;
  }
  const record = value as Record<string, unknown>;
  const keys = Object.keys(record);
  for (const key of keys) {
    const child = record[key];
    // Assigning to an own `__proto__` stays an own property: the object came from a parser.
    if (typeof child === "object" && child !== null) record[key] = reviveTree(child, revive);
  }
  if (keys.length !== 2 || typeof record.__type__ !== "string" || !Object.hasOwn(record, "__value__")) return record;
  return revive(record.__type__, record.__value__) ?? record;
}

const number = /-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?/y;
const constants: Readonly<Record<string, unknown>> = {
  true: true,
  false: false,
  null: null,
  NaN: Number.NaN,
  Infinity: Number.POSITIVE_INFINITY,
  "-Infinity": Number.NEGATIVE_INFINITY,
};
const constant = /-?[A-Za-z]+/y;
/** As many as Python reads; turning more into a bigint takes more than linear time. */
const MAX_DIGITS = 4300;

/** Reads what `JSON.parse` refuses or rounds. Slower, and as strict about everything else. */
class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): unknown {
    const value = this.#value(0);
    this.#skip();
    if (this.#at < this.#text.length) throw this.#unexpected();
    return value;
  }

  #value(depth: number): unknown {
    if (depth > MAX_DEPTH) throw tooDeep();
    this.#skip();
    const char = this.#text[this.#at];
    if (char === "{") return this.#object(depth + 1);
    if (char === "[") return this.#array(depth + 1);
    if (char === '"') return this.#string();
    return this.#number() ?? this.#constant();
  }

  #object(depth: number): unknown {
    if (depth > MAX_DEPTH) throw tooDeep();
    const record: Record<string, unknown> = {};
    this.#at += 1;
    if (this.#take("}")) return record;
    do {
      this.#skip();
      const key = this.#string();
      this.#expect(":");
      const value = this.#value(depth);
      if (key === "__proto__")
        Object.defineProperty(record, key, { value, writable: true, enumerable: true, configurable: true });
      else record[key] = value;
    } while (this.#take(","));
    this.#expect("}");
    return record;
  }

  #array(depth: number): unknown {
    if (depth > MAX_DEPTH) throw tooDeep();
    const items: unknown[] = [];
    this.#at += 1;
    if (this.#take("]")) return items;
    do items.push(this.#value(depth));
    while (this.#take(","));
    this.#expect("]");
    return items;
  }

  #string(): string {
    if (this.#text[this.#at] !== '"') throw this.#unexpected();
    const start = this.#at;
    const end = stringEnd(this.#text, start);
    const literal = this.#text.slice(start, end + 1);
    try {
      const text: unknown = JSON.parse(literal);
      this.#at = end + 1;
      return text as string;
    } catch (error) {
      throw new DecodeError(`not JSON: a broken string at position ${start}`, { cause: error });
    }
  }

  #number(): number | bigint | undefined {
    number.lastIndex = this.#at;
    const match = number.exec(this.#text);
    if (match === null) return undefined;
    const [text, fraction, exponent] = match;
    this.#at += text.length;
    const value = Number(text);
    if (fraction !== undefined || exponent !== undefined || Number.isSafeInteger(value)) return value;
    if (text.length > MAX_DIGITS)
      throw new DecodeError(`an integer of ${text.length} digits; ${MAX_DIGITS} are the most`);
    return BigInt(text);
  }

  #constant(): unknown {
    constant.lastIndex = this.#at;
    const word = constant.exec(this.#text)?.[0];
    if (word === undefined || !Object.hasOwn(constants, word)) throw this.#unexpected();
    this.#at += word.length;
    return constants[word];
  }

  #skip(): void {
    for (;;) {
      const code = this.#text.charCodeAt(this.#at);
      if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return;
      this.#at += 1;
    }
  }

  #take(char: string): boolean {
    this.#skip();
    if (this.#text[this.#at] !== char) return false;
    this.#at += 1;
    return true;
  }

  #expect(char: string): void {
    if (!this.#take(char)) throw this.#unexpected();
  }

  #unexpected(): DecodeError {
    const char = this.#text[this.#at];
    return new DecodeError(
      char === undefined
        ? "not JSON: it ends too early"
        : `not JSON: unexpected ${JSON.stringify(char)} at position ${this.#at}`,
    );
  }
}

// ── writing ──────────────────────────────────────────────────────────────────

/** Whether `JSON.stringify` writes this value as we want it. */
function isOrdinary(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "undefined":
      return depth > 0;
    case "object":
      return value === null || (depth < MAX_DEPTH && isOrdinaryObject(value, depth + 1));
    default:
      return false;
  }
}

function isOrdinaryObject(value: object, depth: number): boolean {
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index += 1) if (!isOrdinary(value[index], depth)) return false;
    return true;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return false;
  for (const key in value) if (!isOrdinary((value as Record<string, unknown>)[key], depth)) return false;
  return true;
}

/** Writes what `JSON.stringify` would drop, alter or refuse, and knows where it is when it cannot. */
class Printer {
  readonly #path: (string | number)[] = [];
  /** Containers entered and conversions made: a `toJSON` may return yet another object with one. */
  #depth = 0;
  #out = "";

  print(value: unknown): string {
    this.#value(value);
    return this.#out;
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "string":
      case "boolean":
        this.#out += JSON.stringify(value);
        return;
      case "number":
        this.#out += Number.isFinite(value) ? JSON.stringify(value) : String(value);
        return;
      case "bigint":
        this.#out += String(value);
        return;
      case "undefined":
        this.#out += "null";
        return;
      case "object":
        if (value === null) {
          this.#out += "null";
          return;
        }
        this.#depth += 1;
        if (this.#depth > MAX_DEPTH)
          throw new EncodeError(`the value is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
        this.#object(value);
        this.#depth -= 1;
        return;
      default:
        throw this.#refuse(`a ${typeof value}`, "send data, not code");
    }
  }

  #object(value: object): void {
    if (Array.isArray(value)) return this.#array(value);
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype && !Object.hasOwn(value, "toJSON")) return this.#entries(Object.entries(value));
    const typed = this.#typed(value);
    if (typed !== undefined) return this.#value(typed.value);
    if (value instanceof Map) return this.#entries(this.#mapEntries(value));
    const problem = unwritable(value);
    if (problem !== undefined) throw this.#refuse(...problem);
    this.#entries(Object.entries(value));
  }

  /** What stands for the value on the wire. */
  #typed(value: object): { readonly value: unknown } | undefined {
    const own = (value as { readonly [wireJsonSymbol]?: unknown })[wireJsonSymbol];
    if (typeof own === "function") return { value: own.call(value) };
    if (value instanceof Uint8Array) return { value: bytesDocument(value) };
    if (value instanceof ArrayBuffer) return { value: bytesDocument(new Uint8Array(value)) };
    if (value instanceof Date) return { value: this.#dateDocument(value) };
    if (value instanceof Number || value instanceof String || value instanceof Boolean)
      return { value: value.valueOf() };
    const toJSON = (value as { readonly toJSON?: unknown }).toJSON;
    if (typeof toJSON !== "function") return undefined;
    const json: unknown = toJSON.call(value, String(this.#path.at(-1) ?? ""));
    return json === value ? undefined : { value: json };
  }

  #dateDocument(date: Date): unknown {
    try {
      return { __type__: "datetime", __value__: formatIso(date) };
    } catch {
      throw this.#refuse("an invalid Date", "check how it was made");
    }
  }

  #array(items: readonly unknown[]): void {
    this.#out += "[";
    for (let index = 0; index < items.length; index += 1) {
      if (index > 0) this.#out += ", ";
      this.#path.push(index);
      this.#value(items[index]);
      this.#path.pop();
    }
    this.#out += "]";
  }

  #entries(entries: Iterable<readonly [key: string, value: unknown]>): void {
    let separator = "";
    this.#out += "{";
    for (const [key, value] of entries) {
      if (value === undefined) continue;
      this.#out += `${separator}${JSON.stringify(key)}: `;
      separator = ", ";
      this.#path.push(key);
      this.#value(value);
      this.#path.pop();
    }
    this.#out += "}";
  }

  *#mapEntries(map: ReadonlyMap<unknown, unknown>): Generator<readonly [string, unknown]> {
    for (const [key, value] of map) {
      if (typeof key === "object" && key !== null) throw this.#refuse("a Map with objects as keys", "use strings");
      if (typeof key === "symbol" || typeof key === "function")
        throw this.#refuse(`a Map with a ${typeof key} as key`, "use strings");
      yield [String(key), value];
    }
  }

  #refuse(what: string, wayOut: string): EncodeError {
    const place = this.#path.map((key) =>
      typeof key === "number" ? `[${key}]` : /^[\w$]+$/.test(key) ? `.${key}` : `[${JSON.stringify(key)}]`,
    );
    return new EncodeError(`cannot write ${what} as JSON at value${place.join("")}: ${wayOut}`);
  }
}

/** Objects that `JSON.stringify` would silently turn into `{}`. */
function unwritable(value: object): [what: string, wayOut: string] | undefined {
  if (value instanceof Set) return ["a Set", "send an array, for example [...set]"];
  if (value instanceof Promise) return ["a Promise", "await it first"];
  if (value instanceof Error) return [`an ${value.name}`, "send its message"];
  if (value instanceof RegExp) return ["a RegExp", "send its source"];
  if (value instanceof WeakMap || value instanceof WeakSet) return ["a weak collection", "send an array or an object"];
  if (ArrayBuffer.isView(value))
    return [`a ${value.constructor.name}`, "send an array, for example [...view], or its bytes as a Uint8Array"];
  return undefined;
}

/** Bytes that are text travel as text, others as base64 (protocol 3.2). */
function bytesDocument(bytes: Uint8Array): unknown {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (isUtf8(buffer)) return { __type__: "bytes", __value__: buffer.toString("utf8") };
  return { __type__: "base64", __value__: buffer.toString("base64") };
}
