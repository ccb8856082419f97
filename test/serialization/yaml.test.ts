import fc from "fast-check";
import { expect, test } from "vitest";
import { DecodeError, EncodeError } from "../../src/errors.ts";
import { DateTime, Decimal, PlainDate } from "../../src/serialization/values.ts";
import { yamlSerializer as yaml } from "../../src/serialization/yaml.ts";

const read = (text: string): unknown => yaml.decode(Buffer.from(text));
const write = (value: unknown): string => Buffer.from(yaml.encode(value)).toString("utf8");

test("what PyYAML's safe dumper writes is read", () => {
  const text = [
    "- &id001",
    "  - 1",
    "  - 2.5",
    "- *id001",
    "- {a: null, b: true, 'no': 'yes'}",
    "- 2024-05-06",
    "- 2024-05-06 07:08:09.123456+02:00",
    "- 2024-05-06 07:08:09",
    "- !!binary |",
    "  //4=",
    "- 123456789012345678901234567890",
    "- -9007199254740993",
    '- "za\\u017C\\xF3"',
    "- !!set {x: null}",
    "- .nan",
  ].join("\n");
  expect(read(text)).toEqual([
    [1, 2.5],
    [1, 2.5],
    { a: null, b: true, no: "yes" },
    new PlainDate("2024-05-06"),
    DateTime.fromIso("2024-05-06T07:08:09.123456+02:00"),
    DateTime.fromIso("2024-05-06T07:08:09"),
    Uint8Array.of(255, 254),
    123456789012345678901234567890n,
    -9007199254740993n,
    "zażó",
    new Set(["x"]),
    Number.NaN,
  ]);
});

test("any plain value comes back as it was", () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      expect(read(write(value))).toEqual(integers(value));
    }),
  );
});

test("text that YAML 1.1 takes for something else is quoted", () => {
  for (const text of [
    "yes",
    "No",
    "on",
    "~",
    "null",
    "2024-05-06",
    "1:30",
    "017",
    "1_000",
    "0x1F",
    ".5",
    "=",
    "<<",
    "1.0",
    "y",
  ]) {
    expect(write([text])).toMatch(/^- ['"]/);
    expect(read(write([text]))).toEqual([text]);
  }
});

test("dates, bytes and large integers are written for PyYAML", () => {
  const value = {
    at: DateTime.fromIso("2024-05-06T07:08:09.5+02:00"),
    bytes: Buffer.from([255]),
    day: new PlainDate("2024-05-06"),
    large: 10n ** 25n,
    plain: new Date(0),
    skip: undefined,
  };
  expect(write(value)).toBe(
    [
      "at: 2024-05-06 07:08:09.500000+02:00",
      "bytes: !!binary /w==",
      "day: 2024-05-06",
      "large: 10000000000000000000000000",
      "plain: 1970-01-01 00:00:00+00:00",
      "",
    ].join("\n"),
  );
});

test("keys are sorted, and one object used twice is written twice", () => {
  const shared = [1];
  expect(write({ b: shared, a: shared })).toBe("a:\n  - 1\nb:\n  - 1\n");
});

test.each([
  "!!python/object/apply:os.system ['echo pwned']",
  "!!js/function 'function () {}'",
  "&a [*a]",
  "[".repeat(2000),
  "a: b: c",
  "",
  `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${Array.from({ length: 9 }, (_, index) => `a${index + 1}: &a${index + 1} [${Array(9).fill(`*a${index}`).join(",")}]`).join("\n")}`,
])("%#: hostile YAML is refused", (text) => {
  expect(() => read(text)).toThrow(DecodeError);
});

test("__proto__ is a key like any other", () => {
  const value = read("__proto__: {admin: true}") as { admin?: unknown };
  expect([Object.keys(value), value.admin, Object.getPrototypeOf(value)]).toEqual([
    ["__proto__"],
    undefined,
    Object.prototype,
  ]);
});

test.each([[{ a: () => 1 }], [[new Decimal("1.5")]], [[Promise.resolve()]], [[new Date(Number.NaN)]]])(
  "%o is refused",
  (value) => {
    expect(() => write(value)).toThrow(EncodeError);
  },
);

/** A whole number beyond 2^53 is an integer like any other; -0 keeps its sign. */
function integers(value: unknown): unknown {
  if (typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) < 1e21)
    return BigInt(value);
  if (Array.isArray(value)) return value.map(integers);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, integers(item)]));
}
