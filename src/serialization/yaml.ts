import { defineScalarTag, dump, load, NOT_RESOLVED, type ScalarTagDefinition, YAML11_SCHEMA } from "js-yaml";
import { DecodeError, EncodeError } from "../errors.ts";
import { MAX_DEPTH, wireJsonSymbol } from "../protocol/wire-json.ts";
import { formatIso } from "../util/iso8601.ts";
import type { Serializer } from "./serializer.ts";
import { decodeText } from "./text.ts";
import { requireTree } from "./tree.ts";
import { DateTime, PlainDate } from "./values.ts";

const integerName = "tag:yaml.org,2002:int";
const plainInteger = YAML11_SCHEMA.tags.find((tag) => tag.tagName === integerName) as ScalarTagDefinition;

/** An integer as YAML 1.1 writes it in decimal, of any size. */
const integer = defineScalarTag<unknown>(integerName, {
  implicit: true,
  implicitFirstChars: [..."+-0123456789"],
  resolve: (source, isExplicit, tag) => {
    if (!/^[+-]?[1-9][0-9_]{14,}$/.test(source)) return plainInteger.resolve(source, isExplicit, tag);
    const value = BigInt(source.replace(/[+_]/g, ""));
    return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  },
  identify: (data) =>
    typeof data === "bigint" ||
    (typeof data === "number" && Number.isInteger(data) && !Object.is(data, -0) && Math.abs(data) < 1e21),
  represent: (data: number | bigint) => String(BigInt(data)),
});

/** PyYAML's timestamps keep microseconds and offset; a bare date stays a date. */
const timestamp = defineScalarTag("tag:yaml.org,2002:timestamp", {
  implicit: true,
  implicitFirstChars: [..."0123456789"],
  resolve: (source) => {
    try {
      if (/^\d{4}-\d\d-\d\d$/.test(source)) return new PlainDate(source);
      const match =
        /^(\d{4}-\d\d?-\d\d?)(?:[Tt]|[ \t]+)(\d\d?)(:\d\d:\d\d(?:\.\d*)?)[ \t]*(Z|[+-]\d\d?(?::\d\d)?)?$/.exec(source);
      if (match === null) return NOT_RESOLVED;
      const [, date, hour, rest, zone = ""] = match as unknown as [string, string, string, string, string?];
      const day = date.replace(/-(\d)(?=-|$)/g, "-0$1");
      return DateTime.fromIso(
        `${day}T${hour.padStart(2, "0")}${rest.replace(/\.$/, "")}${zone.replace(/^([+-])(\d)(?=:|$)/, "$10$2")}`,
      );
    } catch {
      return NOT_RESOLVED;
    }
  },
  identify: (data) => data instanceof Date || data instanceof PlainDate,
  represent: (data: Date | PlainDate) => {
    if (data instanceof PlainDate) return data.toString();
    return (data instanceof DateTime ? data.isoformat() : formatIso(data)).replace("T", " ");
  },
});

const schema = YAML11_SCHEMA.withTags(integer, timestamp);

/** YAML as PyYAML's safe loader reads and its safe dumper writes it: block style, keys sorted (protocol 3.1). */
export const yamlSerializer: Serializer = {
  name: "yaml",
  contentType: "application/x-yaml",
  contentEncoding: "utf-8",
  encode(value) {
    try {
      return Buffer.from(
        dump(plain(value, "value", 0), { schema, sortKeys: true, noRefs: true, lineWidth: -1 }),
        "utf8",
      );
    } catch (error) {
      if (error instanceof EncodeError) throw error;
      throw new EncodeError(`cannot write the value as YAML: ${(error as Error).message}`, { cause: error });
    }
  },
  decode(bytes) {
    const text = decodeText(bytes, "utf-8");
    let value: unknown;
    try {
      value = load(text, { schema, maxDepth: MAX_DEPTH });
    } catch (error) {
      throw new DecodeError(`not YAML that is plain data: ${(error as Error).message.split("\n")[0]}`, {
        cause: error,
      });
    }
    return requireTree(value, bytes.length);
  },
};

/** The value with everything the dumper does not know turned into what Python expects, or refused. */
function plain(value: unknown, path: string, depth: number): unknown {
  if (typeof value === "function" || typeof value === "symbol")
    throw new EncodeError(`cannot write a ${typeof value} as YAML at ${path}`);
  if (typeof value !== "object" || value === null) return value ?? null;
  if (depth >= MAX_DEPTH)
    throw new EncodeError(`the value is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
  if (value instanceof Date || value instanceof PlainDate || value instanceof Set) return value;
  if (value instanceof Uint8Array) return new Uint8Array(value);
  if (Array.isArray(value)) return value.map((item, index) => plain(item, `${path}[${index}]`, depth + 1));
  // Decimals, times and UUIDs: PyYAML refuses them as well.
  if (wireJsonSymbol in value)
    throw new EncodeError(
      `cannot write a ${value.constructor.name} as YAML at ${path}: send String(value), or use json`,
    );
  const { toJSON } = value as { readonly toJSON?: unknown };
  if (typeof toJSON === "function") return plain(toJSON.call(value), path, depth + 1);
  if (value instanceof Error || value instanceof Promise || value instanceof RegExp || ArrayBuffer.isView(value)) {
    throw new EncodeError(`cannot write a ${value.constructor.name} as YAML at ${path}`);
  }
  const entries: (readonly [unknown, unknown])[] = value instanceof Map ? [...value] : Object.entries(value);
  const kept = entries.filter(([, item]) => item !== undefined);
  // Defines properties, so that `__proto__` is a key like any other.
  return Object.fromEntries(kept.map(([key, item]) => [String(key), plain(item, `${path}.${String(key)}`, depth + 1)]));
}
