import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { decodeJson } from "../../src/serialization/json.ts";
import { argsRepr, kwargsRepr, pythonRepr, pythonReprSymbol, pythonStringLiteral } from "../../src/util/repr.ts";

const made = (name: string): unknown =>
  JSON.parse(readFileSync(new URL(`../fixtures/made/${name}.json`, import.meta.url), "utf8"));

test("any value looks as Celery's saferepr prints it, cut at the same place", () => {
  const samples = made("saferepr") as readonly { value: string; maxLength: number; maxLevels: number; text: string }[];
  expect(samples.length).toBe(400);
  for (const { value, maxLength, maxLevels, text } of samples) {
    const shown = pythonRepr(decodeJson(value), { maxLength, maxLevels });
    expect({ value, maxLength, maxLevels, text: shown }).toEqual({ value, maxLength, maxLevels, text });
  }
});

test("string literals are those of Python's repr", () => {
  const samples = made("repr-literals") as readonly [string, string][];
  expect(samples.length).toBe(7);
  for (const [text, literal] of samples) expect(pythonStringLiteral(text)).toBe(literal);
});

test("arguments are a tuple and keyword arguments a dict", () => {
  expect(argsRepr([])).toBe("()");
  expect(argsRepr([1])).toBe("(1,)");
  expect(argsRepr([2, 3])).toBe("(2, 3)");
  expect(kwargsRepr({})).toBe("{}");
  expect(kwargsRepr({ debug: true, left: undefined })).toBe("{'debug': True}");
});

describe("values Python does not send", () => {
  test.each([
    [undefined, "None"],
    [Number.NaN, "nan"],
    [5.0, "5"],
    [1e21, "1e+21"],
    [new Set([1, "a"]), "{1, 'a'}"],
    [new Set(), "set()"],
    [new Map([[1, 2]]), "{1: 2}"],
    [new Date("2024-05-06T00:00:00Z"), "datetime.datetime(2024, 5, 6, 0, 0, tzinfo=datetime.timezone.utc)"],
    [new Date(Number.NaN), "None"],
    [new TypeError("it's"), `TypeError("it's")`],
    [Symbol("s"), "<Symbol(s)>"],
    [() => 1, "<function <lambda>>"],
    [{ toJSON: () => ({ a: 1 }) }, "{'toJSON': <function toJSON>}"],
    [new URL("http://x/"), "'http://x/'"],
    [{ [pythonReprSymbol]: 1, a: 1 }, "{'a': 1}"],
  ])("%o", (value, text) => {
    expect(pythonRepr(value)).toBe(text);
  });

  test("a value that throws when looked at does not make the sender fail", () => {
    const trap = {
      get broken(): never {
        throw new Error("no");
      },
    };
    expect(argsRepr([trap])).toContain("<unprintable object>");
  });

  test("a value that contains itself ends", () => {
    const loop: unknown[] = [];
    loop.push(loop);
    expect(pythonRepr(loop)).toBe("[[[[...]]]]");
  });
});

test("huge values take time for what is shown only", () => {
  const start = performance.now();
  const text = argsRepr([
    "x".repeat(100_000_000),
    new Uint8Array(50_000_000),
    Array.from({ length: 1_000_000 }, (_, index) => index),
  ]);
  expect(text.length).toBeLessThan(1100);
  expect(pythonRepr(2n ** 10_000_000n)).toContain("bits");
  expect(performance.now() - start).toBeLessThan(1000);
});
