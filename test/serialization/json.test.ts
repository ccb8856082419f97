import { inspect } from "node:util";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { DecodeError, EncodeError } from "../../src/errors.ts";
import { decodeJson, encodeJson, jsonSerializer } from "../../src/serialization/json.ts";
import { DateTime, Decimal, PlainDate, PlainTime, Uuid } from "../../src/serialization/values.ts";
import { pythonRepr } from "../../src/util/repr.ts";

describe("reading", () => {
  test("integers beyond 2^53 keep their digits, others stay numbers", () => {
    expect(
      decodeJson("[9007199254740991, 9007199254740992, -123456789012345678901234567890, 1e20, 12345678901234568.5]"),
    ).toEqual([9007199254740991, 9007199254740992n, -123456789012345678901234567890n, 1e20, 12345678901234568]);
  });

  test("NaN and the infinities are read bare, as Python writes them", () => {
    expect(decodeJson('{"a": NaN, "b": [Infinity, -Infinity], "c": "NaN"}')).toEqual({
      a: Number.NaN,
      b: [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
      c: "NaN",
    });
  });

  test("keys such as __proto__ are own properties and change no prototype", () => {
    for (const extra of ["", ', "n": NaN', ', "t": {"__type__": "date", "__value__": "2024-05-06"}']) {
      const read = decodeJson(
        `{"__proto__": {"admin": true}, "constructor": {"prototype": {"admin": 1}}${extra}}`,
      ) as Record<string, unknown>;
      expect(Object.getPrototypeOf(read)).toBe(Object.prototype);
      expect(Object.hasOwn(read, "__proto__")).toBe(true);
      expect((read as { admin?: unknown }).admin).toBeUndefined();
      expect(({} as { admin?: unknown }).admin).toBeUndefined();
    }
  });

  test.each([
    "",
    "nul",
    "[1,]",
    "{a: 1}",
    "[1] 2",
    "NaN NaN",
    '["\n", NaN]',
    "[NaN, 01]",
    "[NaN",
    '{"a" NaN}',
    "-NaN",
    "[NaN, .5]",
    '["\\x", NaN]',
    "Nan",
    "[NaN}",
    "'NaN'",
  ])("%o is no JSON", (text) => {
    expect(() => decodeJson(text)).toThrow(DecodeError);
  });

  test.each([1001, 100_000, 2_000_000])("%i levels are refused, not walked", (depth) => {
    const names = ["[", '{"a":'];
    for (const open of names) {
      const close = open === "[" ? "]" : "}";
      expect(() => decodeJson(open.repeat(depth) + (open === "[" ? "" : "1") + close.repeat(depth))).toThrow(
        /1000 levels/,
      );
      expect(() => decodeJson(`${open.repeat(depth)}NaN`)).toThrow(DecodeError);
    }
    expect(decodeJson("[".repeat(1000) + "]".repeat(1000))).toHaveLength(1);
    expect(decodeJson(`${"[".repeat(1000)}NaN${"]".repeat(1000)}`)).toHaveLength(1);
  });

  test("brackets inside strings are no levels", () => {
    const text = JSON.stringify([`${"[".repeat(1_200_000)}\\"`, '\\"[', "\\"]);
    expect(decodeJson(text)).toEqual(JSON.parse(text));
  });

  test("an integer of more digits than Python reads is refused at once", () => {
    expect(() => decodeJson("1".repeat(1_000_000))).toThrow(/4300/);
  });

  test.each([
    ['{"__type__": "datetime", "__value__": "soon"}', "datetime"],
    ['{"__type__": "datetime", "__value__": 5}', "datetime"],
    ['{"__type__": "uuid", "__value__": {"hex": "12"}}', "uuid"],
    ['{"__type__": "uuid", "__value__": null}', "uuid"],
    ['{"__type__": "decimal", "__value__": "1,5"}', "decimal"],
    ['{"__type__": "date", "__value__": "2024-02-30"}', "date"],
    ['{"__type__": "time", "__value__": "25:00:00"}', "time"],
  ])("%s is refused", (text, type) => {
    expect(() => decodeJson(text)).toThrow(`marked as ${type}`);
  });

  test("an object of an unknown type stays an object", () => {
    for (const type of ["set", "constructor", "__proto__", "toString"]) {
      expect(decodeJson(`{"__type__": "${type}", "__value__": [1]}`)).toEqual({ __type__: type, __value__: [1] });
    }
    const three = '{"__type__": "date", "__value__": "2024-05-06", "more": 1}';
    expect(decodeJson(three)).toEqual(JSON.parse(three));
  });

  test("bytes that are not utf-8 are no text", () => {
    expect(() => jsonSerializer.decode(Buffer.from([0x22, 0xff, 0x22]))).toThrow(DecodeError);
    expect(jsonSerializer.decode(Buffer.from('"\ufffd"'))).toBe("\ufffd");
  });
});

describe("writing", () => {
  test("what is not ordinary JSON is written as Python writes it", () => {
    expect(encodeJson([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 10n ** 20n])).toBe(
      "[NaN, Infinity, -Infinity, 100000000000000000000]",
    );
    expect(JSON.parse(encodeJson({ at: new Date("2024-05-06T07:08:09Z") }))).toEqual({
      at: { __type__: "datetime", __value__: "2024-05-06T07:08:09+00:00" },
    });
    expect(JSON.parse(encodeJson([Buffer.from("abc"), Uint8Array.of(255, 254), new ArrayBuffer(1)]))).toEqual([
      { __type__: "bytes", __value__: "abc" },
      { __type__: "base64", __value__: "//4=" },
      { __type__: "bytes", __value__: "\0" },
    ]);
  });

  test("undefined is left out of objects and null in lists; maps are objects; toJSON counts", () => {
    expect(encodeJson({ a: undefined, b: [undefined, 1] })).toBe('{"b":[null,1]}');
    expect(
      JSON.parse(
        encodeJson({
          a: undefined,
          b: [undefined, 1n],
          c: new Map<unknown, unknown>([
            ["x", 1],
            [2, "y"],
          ]),
        }),
      ),
    ).toEqual({ b: [null, 1], c: { x: 1, 2: "y" } });
    expect(encodeJson(undefined)).toBe("null");
    expect(encodeJson(new URL("http://x/"))).toBe('"http://x/"');
    expect(encodeJson({ toJSON: () => [new Date(0)] })).toContain("datetime");
    expect(encodeJson([Object(1), Object("a"), Object(false)])).toBe('[1, "a", false]');
    expect(encodeJson(Object.create(null))).toBe("{}");
    class Point {
      x = 1;
      y?: number;
    }
    expect(encodeJson(new Point())).toBe('{"x": 1}');
  });

  test.each([
    [{ a: [{ b: () => 1 }] }, "value.a[0].b", "a function"],
    [[Symbol("x")], "value[0]", "a symbol"],
    [{ tags: new Set([1]) }, "value.tags", "[...set]"],
    [{ "odd key": Promise.resolve() }, 'value["odd key"]', "await"],
    [[new Error("boom")], "value[0]", "Error"],
    [[/x/], "value[0]", "RegExp"],
    [[new Date(Number.NaN)], "value[0]", "invalid Date"],
    [[new Float64Array(1)], "value[0]", "Float64Array"],
    [new Map([[{}, 1]]), "value", "objects as keys"],
  ])("%o is refused with its place", (value, place, hint) => {
    expect(() => encodeJson(value)).toThrow(EncodeError);
    expect(() => encodeJson(value)).toThrow(place);
    expect(() => encodeJson(value)).toThrow(hint);
  });

  test("a value that contains itself, or makes itself anew, is refused", () => {
    const loop: unknown[] = [];
    loop.push(loop, loop);
    expect(() => encodeJson(loop)).toThrow(EncodeError);
    const again = { toJSON: (): unknown => ({ toJSON: again.toJSON }) };
    expect(() => encodeJson(again)).toThrow(EncodeError);
  });
});

describe("round trips", () => {
  const rich = fc.oneof(
    fc.bigInt({ min: 2n ** 53n, max: 2n ** 200n }),
    fc
      .date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true })
      .map((date) => new DateTime(date.getTime(), { extraMicroseconds: 7 })),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.uuid().map((text) => new Uuid(text)),
    fc.integer().map((value) => new Decimal(`${value}.50`)),
    fc.constantFrom(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY),
  );
  const key = fc.oneof(
    fc.string({ unit: "grapheme" }),
    fc.constantFrom("__proto__", "constructor", "toJSON", "__value__"),
  );
  const tree = fc.letrec((tie) => ({
    node: fc.oneof(
      { depthSize: "small" },
      fc.jsonValue() as fc.Arbitrary<unknown>,
      rich,
      fc.array(tie("node")),
      fc.array(fc.tuple(key, tie("node"))).map((entries) => Object.fromEntries(entries)),
    ),
  })).node;

  test("any value comes back as it was", () => {
    fc.assert(
      fc.property(tree, (value) => {
        expect(decodeJson(encodeJson(value))).toEqual(normal(value));
      }),
      { numRuns: 300 },
    );
  });

  test("ordinary JSON is written and read as the engine does", () => {
    fc.assert(
      fc.property(fc.json(), (text) => {
        const engine: unknown = JSON.parse(text);
        expect(decodeJson(text)).toEqual(normal(engine));
        expect(encodeJson(engine)).toBe(JSON.stringify(engine));
      }),
    );
  });

  test("text that nobody wrote is read or refused, never anything else", () => {
    const token = fc.constantFrom(
      "[",
      "]",
      "{",
      "}",
      ":",
      ",",
      '"',
      "NaN",
      "-Infinity",
      "1",
      "-",
      ".5",
      "e9",
      "\\",
      "null",
      " ",
      "12345678901234567890",
      '"a"',
      '"__type__"',
      '"date"',
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 30 }), (tokens) => {
        try {
          decodeJson(tokens.join(""));
        } catch (error) {
          expect(error).toBeInstanceOf(DecodeError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  /** In JSON -0 is 0, and a whole number beyond 2^53 has digits like any other integer. */
  function normal(value: unknown): unknown {
    if (Object.is(value, -0)) return 0;
    if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21)
      return BigInt(String(value));
    if (Array.isArray(value)) return value.map(normal);
    if (typeof value !== "object" || value === null || Object.getPrototypeOf(value) !== Object.prototype) return value;
    return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, normal(item)]));
  }
});

describe("values Python has and JSON has not", () => {
  const dateTime = DateTime.fromIso("2024-05-06T07:08:09.123456+02:00");

  test("a DateTime is a Date that keeps microseconds and offset", () => {
    expect(dateTime).toBeInstanceOf(Date);
    expect(dateTime.toISOString()).toBe("2024-05-06T05:08:09.123Z");
    expect([dateTime.microsecond, dateTime.offset, dateTime.isoformat()]).toEqual([
      123456,
      7200,
      "2024-05-06T07:08:09.123456+02:00",
    ]);
    for (const text of [
      "2024-05-06T07:08:09",
      "2024-05-06T07:08:09.000001",
      "1969-12-31T23:59:59.999999-00:30",
      "2024-05-06T07:08:09+05:30:15",
    ]) {
      expect(DateTime.fromIso(text).isoformat()).toBe(text);
    }
  });

  test("they can be calculated with, compared and printed", () => {
    expect(Number(new Decimal("1.50")) + 1).toBe(2.5);
    expect(String(new Decimal("1.50"))).toBe("1.50");
    expect(new Decimal("-Infinity").valueOf()).toBe(Number.NEGATIVE_INFINITY);
    expect(new Decimal("NaN").valueOf()).toBeNaN();
    expect(() => new Decimal("1,5")).toThrow(RangeError);
    expect(new PlainDate("2024-05-06") < new PlainDate("2024-05-07")).toBe(true);
    expect(() => new PlainDate("2024-02-30")).toThrow(RangeError);
    expect(() => new PlainTime("7:8")).toThrow(RangeError);
    const uuid = new Uuid("{12345678-1234-5678-1234-56781234ABCD}");
    expect([String(uuid), uuid.hex]).toEqual([
      "12345678-1234-5678-1234-56781234abcd",
      "1234567812345678123456781234abcd",
    ]);
    expect(inspect([dateTime, uuid, new Decimal("1.5"), new PlainDate("2024-05-06")])).toContain(
      "DateTime 2024-05-06T07:08:09.123456+02:00",
    );
    expect(pythonRepr([new Decimal("1.5"), uuid])).toBe(
      "[Decimal('1.5'), UUID('12345678-1234-5678-1234-56781234abcd')]",
    );
  });

  test("they survive a plain JSON.stringify as text", () => {
    expect(JSON.stringify([new Decimal("1.5"), new PlainTime("07:08:09")])).toBe('["1.5","07:08:09"]');
  });
});
