import { isUtf8 } from "node:buffer";
import { DecodeError } from "../errors.ts";
import { MAX_DEPTH } from "../protocol/wire-json.ts";
import { callGlobal, completeObject, globalNamed, PickledGlobal, PickledObject } from "./pickle-classes.ts";
import { requireTree } from "./tree.ts";

/** Reads one pickle. Throws `DecodeError`. Tuples become arrays, dicts objects, or Maps when a key is not text. */
export function readPickle(bytes: Uint8Array): unknown {
  try {
    return requireTree(new Finisher().finish(new PickleMachine(bytes).run(), 0), bytes.length);
  } catch (error) {
    if (error instanceof DecodeError) throw error;
    // A date that does not exist, a bigint too large to be one.
    throw new DecodeError(`a pickle with an impossible value: ${(error as Error).message}`, { cause: error });
  }
}

/** As many digits as Python reads by default. */
const MAX_DIGITS = 4300;

/** The stack machine a pickle is a program for. Every opcode moves on by a byte at least, so it always ends. */
class PickleMachine {
  readonly #bytes: Buffer;
  #at = 0;
  readonly #stack: unknown[] = [];
  readonly #marks: number[] = [];
  readonly #memo = new Map<number, unknown>();

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  run(): unknown {
    for (;;) {
      const opcode = this.#bytes[this.#take(1)] as number;
      if (opcode === 0x2e /* STOP */) {
        if (this.#at < this.#bytes.length) throw broken(`${this.#bytes.length - this.#at} bytes follow its end`);
        return this.#pop();
      }
      this.#step(opcode);
    }
  }

  #step(opcode: number): void {
    switch (opcode) {
      case 0x80 /* PROTO */:
        if (this.#uint(1) > 5) throw broken("its protocol is newer than 5");
        return;
      case 0x95 /* FRAME */:
        this.#take(8);
        return;

      case 0x4e /* NONE */:
        return this.#push(null);
      case 0x88 /* NEWTRUE */:
        return this.#push(true);
      case 0x89 /* NEWFALSE */:
        return this.#push(false);
      case 0x49 /* INT */:
        return this.#push(textInteger(this.#line(), true));
      case 0x4a /* BININT */:
        return this.#push(this.#bytes.readInt32LE(this.#take(4)));
      case 0x4b /* BININT1 */:
        return this.#push(this.#uint(1));
      case 0x4d /* BININT2 */:
        return this.#push(this.#uint(2));
      case 0x4c /* LONG */:
        return this.#push(textInteger(this.#line().replace(/L$/, ""), false));
      case 0x8a /* LONG1 */:
        return this.#push(longInteger(this.#slice(this.#uint(1))));
      case 0x8b /* LONG4 */:
        return this.#push(longInteger(this.#slice(this.#uint(4))));
      case 0x46 /* FLOAT */:
        return this.#push(textFloat(this.#line()));
      case 0x47 /* BINFLOAT */:
        return this.#push(this.#bytes.readDoubleBE(this.#take(8)));

      case 0x53 /* STRING */:
        return this.#push(quotedString(this.#line()));
      case 0x54 /* BINSTRING */:
        return this.#push(oldString(this.#slice(this.#uint(4))));
      case 0x55 /* SHORT_BINSTRING */:
        return this.#push(oldString(this.#slice(this.#uint(1))));
      case 0x56 /* UNICODE */:
        return this.#push(rawUnicode(this.#line()));
      case 0x58 /* BINUNICODE */:
        return this.#push(utf8(this.#slice(this.#uint(4))));
      case 0x8c /* SHORT_BINUNICODE */:
        return this.#push(utf8(this.#slice(this.#uint(1))));
      case 0x8d /* BINUNICODE8 */:
        return this.#push(utf8(this.#slice(this.#uint8())));
      case 0x42 /* BINBYTES */:
        return this.#push(this.#slice(this.#uint(4)));
      case 0x43 /* SHORT_BINBYTES */:
        return this.#push(this.#slice(this.#uint(1)));
      case 0x8e /* BINBYTES8 */:
      case 0x96 /* BYTEARRAY8 */:
        return this.#push(this.#slice(this.#uint8()));

      case 0x5d /* EMPTY_LIST */:
      case 0x29 /* EMPTY_TUPLE */:
        return this.#push([]);
      case 0x7d /* EMPTY_DICT */:
        return this.#push(new Map());
      case 0x8f /* EMPTY_SET */:
        return this.#push(new Set());
      case 0x85 /* TUPLE1 */:
        return this.#push(this.#popMany(1));
      case 0x86 /* TUPLE2 */:
        return this.#push(this.#popMany(2));
      case 0x87 /* TUPLE3 */:
        return this.#push(this.#popMany(3));
      case 0x74 /* TUPLE */:
      case 0x6c /* LIST */:
        return this.#push(this.#popMark());
      case 0x91 /* FROZENSET */:
        return this.#push(new Set(this.#popMark()));
      case 0x64 /* DICT */:
        {
          const entries = this.#popMark();
          this.#push(new Map());
          return this.#setItems(entries);
        }
      case 0x61 /* APPEND */:
        return this.#addItems([this.#pop()]);
      case 0x65 /* APPENDS */:
      case 0x90 /* ADDITEMS */:
        return this.#addItems(this.#popMark());
      case 0x73 /* SETITEM */:
        return this.#setItems(this.#popMany(2));
      case 0x75 /* SETITEMS */:
        return this.#setItems(this.#popMark());

      case 0x28 /* MARK */:
        this.#marks.push(this.#stack.length);
        return;
      case 0x30 /* POP */:
        if (this.#marks.at(-1) === this.#stack.length) this.#marks.pop();
        else this.#pop();
        return;
      case 0x31 /* POP_MARK */:
        this.#popMark();
        return;
      case 0x32 /* DUP */:
        return this.#push(this.#top());
      case 0x94 /* MEMOIZE */:
        this.#memo.set(this.#memo.size, this.#top());
        return;
      case 0x70 /* PUT */:
        this.#memo.set(memoIndex(this.#line()), this.#top());
        return;
      case 0x71 /* BINPUT */:
        this.#memo.set(this.#uint(1), this.#top());
        return;
      case 0x72 /* LONG_BINPUT */:
        this.#memo.set(this.#uint(4), this.#top());
        return;
      case 0x67 /* GET */:
        return this.#recall(memoIndex(this.#line()));
      case 0x68 /* BINGET */:
        return this.#recall(this.#uint(1));
      case 0x6a /* LONG_BINGET */:
        return this.#recall(this.#uint(4));

      case 0x63 /* GLOBAL */:
        {
          const module = this.#line();
          return this.#push(globalNamed(module, this.#line()));
        }
      case 0x93 /* STACK_GLOBAL */:
        {
          const [module, name] = this.#popMany(2);
          if (typeof module !== "string" || typeof name !== "string") throw broken("a class name is not text");
          return this.#push(globalNamed(module, name));
        }
      case 0x52 /* REDUCE */:
      case 0x81 /* NEWOBJ */:
        {
          const [callable, args] = this.#popMany(2);
          return this.#call(callable, args);
        }
      case 0x92 /* NEWOBJ_EX */:
        {
          const [callable, args, kwargs] = this.#popMany(3);
          if (kwargs instanceof Map && kwargs.size === 0) return this.#call(callable, args);
          return this.#push(new PickledObject(requireGlobal(callable), [args, kwargs]));
        }
      case 0x69 /* INST */:
        {
          const module = this.#line();
          return this.#call(globalNamed(module, this.#line()), this.#popMark());
        }
      case 0x6f /* OBJ */:
        {
          const [callable, ...args] = this.#popMark();
          return this.#call(callable, args);
        }
      case 0x62 /* BUILD */:
        {
          const state = this.#pop();
          const target = this.#top();
          // State of anything else, such as the attributes of an exception, has no place here.
          if (target instanceof PickledObject) target.state = state;
          return;
        }

      default:
        // Among them PERSID and EXT, whose meaning is an agreement between two programs.
        throw broken(`opcode 0x${opcode.toString(16)} at ${this.#at - 1} means nothing here`);
    }
  }

  #call(callable: unknown, args: unknown): void {
    if (!Array.isArray(args)) throw broken("a call without a tuple of arguments");
    const type = requireGlobal(callable);
    // Protocols 0 and 1 make instances by a call naming class, base class and its value.
    if (type.path === "copyreg._reconstructor" && args[0] instanceof PickledGlobal) {
      return this.#push(new PickledObject(args[0], []));
    }
    this.#push(callGlobal(type, args));
  }

  #addItems(items: readonly unknown[]): void {
    const target = this.#top();
    if (target instanceof Set) for (const item of items) target.add(item);
    else {
      const list = target instanceof PickledObject ? target.items : target;
      if (!Array.isArray(list)) throw broken("items for what is no list");
      for (const item of items) list.push(item);
    }
  }

  #setItems(items: readonly unknown[]): void {
    const top = this.#top();
    const target = top instanceof PickledObject ? top.entries : top;
    if (!(target instanceof Map) || items.length % 2 !== 0) throw broken("entries for what is no dict");
    for (let index = 0; index < items.length; index += 2) target.set(items[index], items[index + 1]);
  }

  #recall(index: number): void {
    if (!this.#memo.has(index)) throw broken(`nothing is remembered as ${index}`);
    this.#push(this.#memo.get(index));
  }

  #push(value: unknown): void {
    this.#stack.push(value);
  }

  #top(): unknown {
    if (this.#stack.length <= (this.#marks.at(-1) ?? 0)) throw broken("its stack is empty");
    return this.#stack.at(-1);
  }

  #pop(): unknown {
    this.#top();
    return this.#stack.pop();
  }

  #popMany(count: number): unknown[] {
    if (this.#stack.length - count < (this.#marks.at(-1) ?? 0)) throw broken("its stack is empty");
    return this.#stack.splice(this.#stack.length - count);
  }

  #popMark(): unknown[] {
    const mark = this.#marks.pop();
    if (mark === undefined) throw broken("a mark is missing");
    return this.#stack.splice(mark);
  }

  #uint(size: number): number {
    return this.#bytes.readUIntLE(this.#take(size), size);
  }

  #uint8(): number {
    const size = this.#bytes.readBigUInt64LE(this.#take(8));
    if (size > BigInt(this.#bytes.length)) throw broken("it ends too early");
    return Number(size);
  }

  #slice(length: number): Buffer {
    const start = this.#take(length);
    return this.#bytes.subarray(start, start + length);
  }

  #line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end < 0) throw broken("a line does not end");
    const text = this.#bytes.toString("latin1", this.#at, end);
    this.#at = end + 1;
    return text.endsWith("\r") ? text.slice(0, -1) : text;
  }

  #take(length: number): number {
    const start = this.#at;
    if (length > this.#bytes.length - start) throw broken("it ends too early");
    this.#at += length;
    return start;
  }
}

/** Turns what the machine built into values: Maps with text keys into objects, known objects into what they stand for. */
class Finisher {
  readonly #done = new Map<object, unknown>();
  readonly #open = new Set<object>();

  finish(value: unknown, depth: number): unknown {
    if (typeof value !== "object" || value === null || !needsFinishing(value)) return value;
    if (this.#done.has(value)) return this.#done.get(value);
    if (depth >= MAX_DEPTH || this.#open.has(value)) {
      throw new DecodeError(`the document is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
    }
    this.#open.add(value);
    const finished = this.#finishContainer(value, depth + 1);
    this.#open.delete(value);
    this.#done.set(value, finished);
    return finished;
  }

  #finishContainer(value: object, depth: number): unknown {
    if (Array.isArray(value)) {
      for (let index = 0; index < value.length; index += 1) value[index] = this.finish(value[index], depth);
      return value;
    }
    if (value instanceof Set) return new Set([...value].map((item) => this.finish(item, depth)));
    if (value instanceof Map) return this.#finishMap(value, depth);
    if (!(value instanceof PickledObject)) {
      // An exception, as the wire has it.
      const error = value as { exc_message: unknown };
      error.exc_message = this.finish(error.exc_message, depth);
      return error;
    }
    const complete = completeObject(value);
    if (complete !== value) return complete;
    value.args = value.args.map((arg) => this.finish(arg, depth));
    value.state = this.finish(value.state, depth);
    for (let index = 0; index < value.items.length; index += 1)
      value.items[index] = this.finish(value.items[index], depth);
    for (const [key, item] of value.entries) value.entries.set(key, this.finish(item, depth));
    return value;
  }

  #finishMap(map: ReadonlyMap<unknown, unknown>, depth: number): unknown {
    const entries: [unknown, unknown][] = [];
    for (const [key, item] of map) entries.push([this.finish(key, depth), this.finish(item, depth)]);
    // Defines properties, so that `__proto__` is a key like any other.
    if (entries.every(([key]) => typeof key === "string")) return Object.fromEntries(entries as [string, unknown][]);
    return new Map(entries);
  }
}

function needsFinishing(value: object): boolean {
  if (Array.isArray(value) || value instanceof Map || value instanceof Set || value instanceof PickledObject)
    return true;
  return Object.getPrototypeOf(value) === Object.prototype && "exc_type" in value;
}

function requireGlobal(callable: unknown): PickledGlobal {
  if (callable instanceof PickledGlobal) return callable;
  throw broken("it calls what is no class");
}

function broken(problem: string): DecodeError {
  return new DecodeError(`not a pickle: ${problem}`);
}

function memoIndex(line: string): number {
  if (!/^\d{1,10}$/.test(line)) throw broken("a wrong number");
  return Number(line);
}

function textInteger(line: string, booleans: boolean): number | bigint | boolean {
  if (booleans && (line === "00" || line === "01")) return line === "01";
  if (!/^\s*[+-]?\d+\s*$/.test(line) || line.length > MAX_DIGITS) throw broken("a wrong number");
  return safe(BigInt(line.trim().replace(/^\+/, "")));
}

function textFloat(line: string): number {
  const text = line.trim().toLowerCase();
  if (text === "nan") return Number.NaN;
  if (text === "inf") return Number.POSITIVE_INFINITY;
  if (text === "-inf") return Number.NEGATIVE_INFINITY;
  if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/.test(text)) throw broken("a wrong number");
  return Number(text);
}

/** Little-endian two's complement of any length. */
function longInteger(bytes: Buffer): number | bigint {
  if (bytes.length === 0) return 0;
  const unsigned = BigInt(`0x${Buffer.from(bytes).reverse().toString("hex")}`);
  const negative = ((bytes.at(-1) as number) & 0x80) !== 0;
  return safe(negative ? unsigned - (1n << BigInt(bytes.length * 8)) : unsigned);
}

function safe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}

function utf8(bytes: Buffer): string {
  if (!isUtf8(bytes)) throw broken("a text that is not utf-8");
  return bytes.toString("utf8");
}

/** A `str` of Python 2 may be text or bytes. */
function oldString(bytes: Buffer): string | Buffer {
  return isUtf8(bytes) ? bytes.toString("utf8") : bytes;
}

const simpleEscapes: Readonly<Record<string, string>> = {
  n: "\n",
  r: "\r",
  t: "\t",
  "\\": "\\",
  "'": "'",
  '"': '"',
  "0": "\0",
};

function quotedString(line: string): string | Buffer {
  const match = /^(['"])(.*)\1$/s.exec(line.trim());
  if (match === null) throw broken("a text without quotes");
  const text = (match[2] as string).replace(
    /\\(?:x([0-9a-fA-F]{2})|(.))/gs,
    (whole, hex: string | undefined, char: string | undefined) => {
      if (hex !== undefined) return String.fromCharCode(Number.parseInt(hex, 16));
      return char !== undefined && Object.hasOwn(simpleEscapes, char) ? (simpleEscapes[char] as string) : whole;
    },
  );
  return oldString(Buffer.from(text, "latin1"));
}

function rawUnicode(line: string): string {
  return line.replace(
    /\\u([0-9a-fA-F]{4})|\\U([0-9a-fA-F]{8})/g,
    (whole, short: string | undefined, long: string | undefined) => {
      const code = Number.parseInt(short ?? (long as string), 16);
      return code <= 0x10ffff ? String.fromCodePoint(code) : whole;
    },
  );
}
