import { readFileSync } from "node:fs";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DecodeError, EncodeError } from "../../src/errors.ts";
import { decodeJson, encodeJson } from "../../src/serialization/json.ts";
import { PickledObject, pickleSerializer as pickle } from "../../src/serialization/pickle.ts";
import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "../../src/serialization/values.ts";

const made = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../fixtures/made/${name}.json`, import.meta.url), "utf8"));
const samples = made("pickles") as readonly { name: string; protocol: number; pickle: string; json: string }[];

test("what Python pickled in any protocol reads like what it wrote as JSON", () => {
  expect(samples.length).toBe(6 * 6 + 1 + 3);
  for (const sample of samples) {
    const read = pickle.decode(Buffer.from(sample.pickle, "base64"));
    expect(decodeJson(encodeJson(read)), `${sample.name}, protocol ${sample.protocol}`).toEqual(
      decodeJson(sample.json.replace("-0.0", "0")),
    );
  }
});

test("a pickle that would run code in Python is read as an inert object", () => {
  const pickles = made("hostile-pickles") as readonly string[];
  expect(pickles.length).toBe(6);
  for (const text of pickles) {
    const read = pickle.decode(Buffer.from(text, "base64")) as PickledObject;
    expect(read).toBeInstanceOf(PickledObject);
    expect([read.type.path, read.args]).toEqual(["posix.system", ["echo pwned"]]);
  }
});

describe("writing", () => {
  const values = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      fc.constantFrom<unknown>(null, true, false, Number.NaN, Number.POSITIVE_INFINITY),
      fc.maxSafeInteger(),
      fc.double(),
      fc.bigInt({ min: 2n ** 53n, max: 2n ** 3000n }),
      fc.bigInt({ min: -(2n ** 100n), max: -(2n ** 53n) }),
      fc.string({ unit: "grapheme", maxLength: 300 }),
      fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
      fc
        .integer({ min: -86_000, max: 86_000 })
        .map((offset) => new DateTime(1e12 + offset * 1001, { extraMicroseconds: 5, offset })),
      fc.constantFrom(
        new PlainDate("2024-05-06"),
        new PlainTime("07:08:09.000005"),
        new PlainTime("07:08:09+02:00"),
        new Decimal("1.50"),
        new Uuid("12345678123456781234567812345678"),
      ),
      fc.array(tie("node")),
      fc.dictionary(fc.string(), tie("node")).map((record) => ({ ...record })),
    ),
  })).node;

  test("any value comes back as it was", () => {
    fc.assert(
      fc.property(values, (value) => {
        const read = pickle.decode(pickle.encode(value));
        expect(read).toEqual(value);
        expect(encodeJson(read)).toBe(encodeJson(value));
      }),
      { numRuns: 300 },
    );
  });

  test("sets, maps and dates keep their kind", () => {
    expect(pickle.decode(pickle.encode([new Set([1, "a"]), new Map<unknown, unknown>([[1, 2]]), new Date(5)]))).toEqual(
      [new Set([1, "a"]), new Map([[1, 2]]), new DateTime(5)],
    );
  });

  test.each([[() => 1], [new Error("x")], [new Date(Number.NaN)], [Promise.resolve()]])(
    "%o is refused with its place",
    (value) => {
      expect(() => pickle.encode({ a: [value] })).toThrow(EncodeError);
      expect(() => pickle.encode({ a: [value] })).toThrow("value.a[0]");
    },
  );

  test("an object of a Python class is not sent on", () => {
    const read = pickle.decode(Buffer.from((made("hostile-pickles") as string[])[4] as string, "base64"));
    expect(() => pickle.encode([read])).toThrow(EncodeError);
  });
});

describe("hostile bytes", () => {
  const mustEnd = (bytes: Uint8Array): void => {
    try {
      pickle.decode(bytes);
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
    }
  };

  test("mutations of real pickles are read or refused, never anything else", () => {
    const originals = samples.map((sample) => Buffer.from(sample.pickle, "base64"));
    const mutation = fc.record({
      at: fc.nat(),
      byte: fc.integer({ min: 0, max: 255 }),
      kind: fc.constantFrom("set", "insert", "delete"),
    });
    fc.assert(
      fc.property(
        fc.constantFrom(...originals),
        fc.array(mutation, { minLength: 1, maxLength: 6 }),
        (original, mutations) => {
          let bytes = Buffer.from(original);
          for (const { at, byte, kind } of mutations) {
            const index = at % (bytes.length || 1);
            if (kind === "set") bytes[index] = byte;
            else
              bytes = Buffer.concat([
                bytes.subarray(0, index),
                kind === "insert" ? Buffer.of(byte) : Buffer.alloc(0),
                bytes.subarray(kind === "insert" ? index : index + 1),
              ]);
          }
          mustEnd(bytes);
        },
      ),
      { numRuns: 10_000 },
    );
  });

  test("random opcodes are read or refused", () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 100 }), mustEnd), { numRuns: 5000 });
  });

  test.each([
    ["nothing", ""],
    ["a claim of 4 GB", "8004580000ffff"],
    ["a claim of 2^63 bytes", "80048effffffffffffff7f2e"],
    ["an unterminated line", "56616263"],
    ["an empty stack", "80042e"],
    ["a list in itself", "80045d71006800612e"],
    ["an object in itself", "80047d9428580100000061680075 2e".replace(" ", "")],
    ["a persistent id", "800451310a2e"],
    ["an extension", "8004820a2e"],
    ["100,000 levels", `8004${"5d".repeat(100_000)}${"61".repeat(99_999)}2e`],
    ["a call of text", "80045801000000612952 2e".replace(" ", "")],
    [
      "an impossible date",
      "80048c086461746574696d658c08646174 6574696d6593430a0000ff000000000000008552 2e".replaceAll(" ", ""),
    ],
    ["a newer protocol", "80094e2e"],
    ["bytes after its end", "80044e2e00"],
  ])("%s", (_, hex) => {
    expect(() => pickle.decode(Buffer.from(hex, "hex"))).toThrow(DecodeError);
  });

  test("a few bytes that unfold into millions of lists are refused", () => {
    // Each step makes a pair of the pair before: 2^60 lists, were they counted one by one.
    const bytes = Buffer.concat([
      Buffer.from("80045d", "hex"),
      Buffer.from("3286".repeat(60), "hex"),
      Buffer.from("2e", "hex"),
    ]);
    expect(() => pickle.decode(bytes)).toThrow(/unfolds/);
  });

  test("names of prototypes are names", () => {
    const read = pickle.decode(pickle.encode(new Map([["__proto__", new Map([["x", 1]])]]))) as object;
    expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
    expect(Object.keys(read)).toEqual(["__proto__"]);
    const global = Buffer.from("80048c0b636f6e7374727563746f728c095f5f70726f746f5f5f9329522e", "hex");
    expect(pickle.decode(global)).toBeInstanceOf(PickledObject);
  });
});
