import { decode, encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DecodeError, EncodeError } from "../../src/errors.ts";
import { msgpackSerializer as msgpack } from "../../src/serialization/msgpack.ts";
import { DateTime, Uuid } from "../../src/serialization/values.ts";

const value = fc.letrec((tie) => ({
  node: fc.oneof(
    { depthSize: "small" },
    fc.constantFrom(null, true, false),
    fc.integer(),
    fc.maxSafeInteger(),
    fc.double(),
    fc.string({ unit: "grapheme" }),
    fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes)),
    fc.array(tie("node"), { maxLength: 20 }),
    fc.dictionary(fc.string(), tie("node")).map((record) => ({ ...record })),
  ),
})).node;

test("any value comes back as it was, and another implementation reads and writes the same", () => {
  fc.assert(
    fc.property(value, (input) => {
      const bytes = msgpack.encode(input);
      expect(msgpack.decode(bytes)).toEqual(input);
      if (JSON.stringify(input).includes("__proto__")) return;
      expect(plain(decode(bytes))).toEqual(plain(input));
      expect(plain(msgpack.decode(encode(input)))).toEqual(plain(input));
    }),
    { numRuns: 500 },
  );
});

test("integers of 64 bits keep their digits", () => {
  const edges = [
    0,
    127,
    128,
    255,
    256,
    65535,
    65536,
    2 ** 32,
    2 ** 53 - 1,
    -1,
    -32,
    -33,
    -128,
    -129,
    -32768,
    -32769,
    -(2 ** 31) - 1,
  ];
  expect(msgpack.decode(msgpack.encode(edges))).toEqual(edges);
  const big = [2n ** 64n - 1n, 2n ** 53n, -(2n ** 63n)];
  expect(msgpack.decode(msgpack.encode(big))).toEqual(big);
  expect(msgpack.decode(msgpack.encode(5n))).toBe(5);
  expect(() => msgpack.encode([2n ** 64n])).toThrow(/value\[0\].*64 bits|64 bits.*value\[0\]/);
});

test("dates travel as the standard timestamp", () => {
  for (const date of [
    new Date(0),
    new Date("2024-05-06T07:08:09.123Z"),
    new Date("1900-01-01T00:00:00.001Z"),
    new Date("9999-01-01"),
  ]) {
    expect(msgpack.decode(msgpack.encode(date))).toEqual(date);
    expect(decode(msgpack.encode(date))).toEqual(date);
    expect(msgpack.decode(encode(date))).toEqual(date);
  }
  const precise = msgpack.encode(DateTime.fromIso("2024-05-06T07:08:09.123456Z"));
  expect(Buffer.from(precise).readUInt32BE(3)).toBe(123_456_000);
});

test("keys are plain: __proto__ changes nothing, others than text make a Map", () => {
  const read = msgpack.decode(Buffer.from("81a95f5f70726f746f5f5f81a17801", "hex")) as object;
  expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
  expect(Object.keys(read)).toEqual(["__proto__"]);
  expect(
    msgpack.decode(
      msgpack.encode(
        new Map<unknown, unknown>([
          [1, "a"],
          ["b", 2],
        ]),
      ),
    ),
  ).toEqual(
    new Map<unknown, unknown>([
      [1, "a"],
      ["b", 2],
    ]),
  );
});

describe("what cannot be written is refused", () => {
  test("a list that contains itself", () => {
    const loop: unknown[] = [];
    loop.push(loop);
    expect(() => msgpack.encode(loop)).toThrow(EncodeError);
  });

  test.each([
    [() => 1],
    [new Set([1])],
    [new Uuid("12345678123456781234567812345678")],
    [new Error("x")],
    [new Date(Number.NaN)],
  ])("%o", (input) => {
    expect(() => msgpack.encode({ a: input })).toThrow(EncodeError);
  });
});

describe("hostile bytes", () => {
  test("end in a DecodeError, soon and without much memory", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          msgpack.decode(bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
      }),
      { numRuns: 5000 },
    );
  });

  test.each([
    ["a list of 4 thousand million", "ddffffffff"],
    ["nested claims", "dd7fffffff".repeat(500)],
    ["a map of 4 thousand million", "dfffffffff"],
    ["a text of 4 GB", "dbffffffff"],
    ["100,000 levels", "91".repeat(100_000)],
    ["text that is not utf-8", "a1ff"],
    ["a byte too many", "c0c0"],
    ["an unknown byte", "c1"],
    ["an unknown extension", "d40500"],
    ["nothing", ""],
  ])("%s", (_, hex) => {
    expect(() => msgpack.decode(Buffer.from(hex, "hex"))).toThrow(DecodeError);
  });
});

/** The other implementation gives plain Uint8Arrays, and 32-bit floats it may choose itself. */
function plain(input: unknown): unknown {
  if (input instanceof Uint8Array) return [...input];
  if (Object.is(input, -0)) return 0;
  if (Array.isArray(input)) return input.map(plain);
  if (typeof input !== "object" || input === null) return input;
  return Object.fromEntries(Object.entries(input).map(([key, item]) => [key, plain(item)]));
}
