import { isUtf8 } from "node:buffer";

/**
 * A method under this key says how an object is spelled in Python (`Decimal('1.50')`). A
 * registered symbol, so that value types of higher layers and of other copies of the package
 * are recognised without an import.
 */
export const pythonReprSymbol: unique symbol = Symbol.for("tq.pythonRepr") as never;

export interface ReprOptions {
  /** Containers nested deeper than this print as `[...]`, `{...}`. Default 3, as Celery. */
  readonly maxLevels?: number;
  /** Characters after which the rest becomes `, ...`. The text may be a little longer than this. Default 1024. */
  readonly maxLength?: number;
}

/**
 * The value in Python's spelling, as Celery shows arguments and results in logs, events and
 * headers (protocol 1.1): `None`, `True`, `'it\'s'`, `{'k': [1, 2]}`. For display only, never
 * parsed. Never throws and takes time bounded by `maxLength`, however large the value.
 */
export function pythonRepr(value: unknown, options: ReprOptions = {}): string {
  const writer = new ReprWriter(options.maxLength ?? 1024, options.maxLevels ?? 3);
  writer.value(value, 1);
  return writer.text;
}

/** Positional arguments as the tuple Python would print: `(2, 3)`, `(1,)`. */
export function argsRepr(args: readonly unknown[]): string {
  const writer = new ReprWriter(1024, 3);
  writer.sequence(args, "(", args.length === 1 ? ",)" : ")", 1);
  return writer.text;
}

/** Keyword arguments as the dict Python would print: `{'debug': True}`. */
export function kwargsRepr(kwargs: Readonly<Record<string, unknown>>): string {
  const writer = new ReprWriter(1024, 3);
  writer.record(kwargs, 1);
  return writer.text;
}

/** A string literal exactly as Python's `repr` spells it, its choice of quotes and escapes included. */
export function pythonStringLiteral(text: string): string {
  const quote = text.includes("'") && !text.includes('"') ? '"' : "'";
  let out = quote;
  for (const char of text) out += escaped(char, quote);
  return out + quote;
}

const escapes: Readonly<Record<string, string>> = { "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t" };
const unprintable = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\p{Zs}]/u;

function escaped(char: string, quote: string): string {
  if (char === quote) return `\\${char}`;
  const known = escapes[char];
  if (known !== undefined) return known;
  if (char === " " || !unprintable.test(char)) return char;
  const code = char.codePointAt(0) as number;
  if (code < 0x100) return `\\x${code.toString(16).padStart(2, "0")}`;
  return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
}

/** A number as Python prints the value it reads from our JSON: whole numbers are ints, others floats. */
export function pythonNumber(value: number): string {
  if (Number.isNaN(value)) return "nan";
  if (!Number.isFinite(value)) return value > 0 ? "inf" : "-inf";
  const size = Math.abs(value);
  const text = size !== 0 && size < 1e-4 ? value.toExponential() : String(value);
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}

/**
 * Writes tokens until the room is used up; then `, ...` and the closing brackets. Where the
 * room ends Celery closes the brackets it is in *before* the next token: a container whose
 * last token was just written is not closed. That quirk is kept, so that both sides show the
 * same text for the same call.
 */
class ReprWriter {
  text = "";
  #room: number;
  readonly #maxLevels: number;
  readonly #open: string[] = [];
  #full = false;

  constructor(maxLength: number, maxLevels: number) {
    this.#room = maxLength;
    this.#maxLevels = maxLevels;
  }

  value(value: unknown, level: number): void {
    switch (typeof value) {
      case "string":
        return this.#quoted(value);
      case "number":
        return this.#plain(pythonNumber(value));
      case "boolean":
        return this.#plain(value ? "True" : "False");
      case "bigint":
        return this.#plain(bigintText(value));
      case "undefined":
        return this.#plain("None");
      case "object":
        return value === null ? this.#plain("None") : this.#object(value, level);
      case "function":
        return this.#plain(`<function ${value.name || "<lambda>"}>`);
      default:
        return this.#plain(`<${String(value)}>`);
    }
  }

  sequence(items: readonly unknown[], open: string, close: string, level: number): void {
    if (level > this.#maxLevels) return this.#plain(`${open}...${close}`);
    this.#enter(open, close);
    for (let index = 0; index < items.length && !this.#full; index += 1) {
      if (index > 0) this.#literal(", ");
      this.value(items[index], level + 1);
    }
    this.#leave();
  }

  record(object: object, level: number): void {
    if (level > this.#maxLevels) return this.#plain("{...}");
    this.#enter("{", "}");
    let first = true;
    for (const key in object) {
      if (this.#full) break;
      if (!Object.hasOwn(object, key)) continue;
      const value = (object as Record<string, unknown>)[key];
      if (value === undefined) continue;
      this.#entry(first, key, value, level);
      first = false;
    }
    this.#leave();
  }

  #entry(first: boolean, key: unknown, value: unknown, level: number): void {
    if (!first) this.#literal(", ");
    this.value(key, level + 1);
    this.#literal(": ");
    this.value(value, level + 1);
  }

  #map(map: ReadonlyMap<unknown, unknown>, level: number): void {
    if (level > this.#maxLevels) return this.#plain("{...}");
    this.#enter("{", "}");
    let first = true;
    for (const [key, value] of map) {
      if (this.#full) break;
      this.#entry(first, key, value, level);
      first = false;
    }
    this.#leave();
  }

  #set(set: ReadonlySet<unknown>, level: number): void {
    if (set.size === 0) return this.#plain("set()");
    if (level > this.#maxLevels) return this.#plain("{...}");
    this.#enter("{", "}");
    let first = true;
    for (const item of set) {
      if (this.#full) break;
      if (!first) this.#literal(", ");
      this.value(item, level + 1);
      first = false;
    }
    this.#leave();
  }

  #object(value: object, level: number): void {
    if (this.#full) return;
    try {
      if (Array.isArray(value)) return this.sequence(value, "[", "]", level);
      const prototype: unknown = Object.getPrototypeOf(value);
      if (prototype === Object.prototype || prototype === null) return this.record(value, level);
      const own = (value as { readonly [pythonReprSymbol]?: unknown })[pythonReprSymbol];
      if (typeof own === "function") return this.#plain(String(own.call(value)));
      if (value instanceof Uint8Array) return this.#bytes(value);
      if (value instanceof Date) return this.#plain(dateRepr(value));
      if (value instanceof Map) return this.#map(value, level);
      if (value instanceof Set) return this.#set(value, level);
      if (value instanceof Error)
        return this.#plain(`${value.name}(${pythonStringLiteral(value.message.slice(0, 1024))})`);
      const json = (value as { readonly toJSON?: unknown }).toJSON;
      if (typeof json === "function") return this.value(json.call(value), level + 1);
      return this.record(value, level);
    } catch {
      // Getters, proxies and toJSON are the user's own code; showing a value must not fail.
      return this.#plain("<unprintable object>");
    }
  }

  #bytes(bytes: Uint8Array): void {
    if (!this.#fits()) return;
    const cut = bytes.length > this.#room;
    const seen = Buffer.from(bytes.buffer, bytes.byteOffset, cut ? this.#room : bytes.byteLength);
    const shown = isUtf8(seen) ? seen.toString("utf8") : seen.toString("hex");
    this.text += `b'${shown}${cut ? "..." : ""}'`;
    this.#room -= cut ? this.#room : characterCount(shown) + 3;
  }

  #enter(open: string, close: string): void {
    this.#open.push(close);
    this.#literal(open);
  }

  #leave(): void {
    if (this.#full) return;
    this.#literal(this.#open.pop() as string);
  }

  /** False when the room is used up; what is open is then closed and nothing more is written. */
  #fits(): boolean {
    if (this.#full) return false;
    if (this.#room > 0) return true;
    this.#full = true;
    this.text += ", ...";
    for (let index = this.#open.length - 1; index >= 0; index -= 1) this.text += this.#open[index];
    return false;
  }

  #literal(token: string): void {
    if (!this.#fits()) return;
    this.text += token;
    this.#room -= token.length;
  }

  #plain(token: string): void {
    if (!this.#fits()) return;
    const shown = token.length >= this.#room ? `${atWord(token.slice(0, this.#room))}...` : token;
    this.text += shown;
    this.#room -= shown.length;
  }

  #quoted(text: string): void {
    if (!this.#fits()) return;
    const cut = text.length >= this.#room ? firstCharacters(text, this.#room) : undefined;
    const shown = cut ?? text;
    const safe = shown.includes("'") ? shown.replaceAll("'", "\\'") : shown;
    this.text += `'${safe}${cut === undefined ? "" : "..."}'`;
    // Cut before quotes are escaped, counted after.
    this.#room -= cut === undefined ? characterCount(safe) + 2 : this.#room;
  }
}

/** Without the word the cut went through. */
function atWord(text: string): string {
  const space = text.lastIndexOf(" ");
  return space < 0 ? text : text.slice(0, space);
}

function characterCount(text: string): number {
  return /[\ud800-\udfff]/.test(text) ? Array.from(text).length : text.length;
}

/** The first `count` characters, or undefined when there are fewer: a pair of surrogates counts once, as in Python. */
function firstCharacters(text: string, count: number): string | undefined {
  const start = text.slice(0, count * 2);
  if (!/[\ud800-\udfff]/.test(start)) return text.slice(0, count);
  const characters = Array.from(start);
  return characters.length >= count ? characters.slice(0, count).join("") : undefined;
}

/** Digits of a bigint. As many as nobody reads take quadratic time; then only its size is told. */
function bigintText(value: bigint): string {
  const size = value.toString(16).length;
  return size <= 4000 ? String(value) : `<integer of ${size * 4} bits>`;
}

function dateRepr(date: Date): string {
  if (Number.isNaN(date.getTime())) return "None";
  return datetimeRepr(date, date.getUTCMilliseconds() * 1000, "datetime.timezone.utc");
}

/** `datetime.datetime(…)` of the UTC fields of a date, Python leaving out seconds and microseconds that are zero. */
export function datetimeRepr(fields: Date, microsecond: number, tzinfo: string | null): string {
  const parts = [
    fields.getUTCFullYear(),
    fields.getUTCMonth() + 1,
    fields.getUTCDate(),
    fields.getUTCHours(),
    fields.getUTCMinutes(),
  ];
  if (fields.getUTCSeconds() !== 0 || microsecond !== 0) parts.push(fields.getUTCSeconds());
  if (microsecond !== 0) parts.push(microsecond);
  return `datetime.datetime(${parts.join(", ")}${tzinfo === null ? "" : `, tzinfo=${tzinfo}`})`;
}
