import { expect, test } from "vitest";
import {
  bool,
  dict,
  integer,
  list,
  nullable,
  number,
  options,
  parseRate,
  parseSize,
  seconds,
  timeZone,
} from "../../src/config/parse.ts";
import { setting } from "../../src/config/setting.ts";

test("a bool is written in all of Celery's words and in no other", () => {
  for (const yes of [true, 1, "true", "YES", "on", "1"]) expect(bool.parse(yes)).toBe(true);
  for (const no of [false, 0, "false", "No", "OFF", "0"]) expect(bool.parse(no)).toBe(false);
  for (const other of ["maybe", "", 2, null, {}, []]) expect(bool.parse(other)).toBeUndefined();
});

test("seconds are finite and not negative, as a number or as text", () => {
  expect(seconds.parse("1.5")).toBe(1.5);
  expect(seconds.parse(0)).toBe(0);
  for (const other of [-1, "soon", "", " ", Number.NaN, "inf", "0x10", null, [5]]) {
    expect(seconds.parse(other)).toBeUndefined();
  }
});

test("a whole number keeps to its bounds", () => {
  expect(integer(1).parse("8")).toBe(8);
  expect(integer(1, 9).parse(10)).toBeUndefined();
  expect(integer(1).parse(1.5)).toBeUndefined();
  expect(integer().parse(-3)).toBe(-3);
  expect(number(0).parse("inf")).toBe(Number.POSITIVE_INFINITY);
});

test("a list is an array, a set or a text with commas", () => {
  expect(list.parse("json, yaml,")).toEqual(["json", "yaml"]);
  expect(list.parse(new Set(["json"]))).toEqual(["json"]);
  expect(list.parse([1])).toBeUndefined();
  expect(list.parse(null)).toBeUndefined();
});

test("an object is taken as a copy, or as JSON; its keys stay, those of options become snake case", () => {
  const given = { visibilityTimeout: 3600, sentinelKwargs: { masterName: "x" } };
  expect(options.parse(given)).toEqual({ visibility_timeout: 3600, sentinel_kwargs: { masterName: "x" } });
  expect(dict.parse(given)).toEqual(given);
  expect(dict.parse(given)).not.toBe(given);
  expect(Object.isFrozen(given)).toBe(false);
  expect(dict.parse('{"a": 1}')).toEqual({ a: 1 });
  for (const other of ["{", "[1]", [], new Date(), new Map(), null]) expect(dict.parse(other)).toBeUndefined();
});

test("a key such as __proto__ changes no prototype", () => {
  const parsed = options.parse(JSON.parse('{"__proto__": {"polluted": true}}'));
  expect(Object.getPrototypeOf(parsed)).toBe(Object.prototype);
  expect(({} as Record<string, unknown>).polluted).toBeUndefined();
});

test("null and none are null where null is allowed", () => {
  const rule = nullable(integer(1));
  expect([null, "None", ""].map((given) => rule.parse(given))).toEqual([null, null, null]);
  expect(rule.parse("0")).toBeUndefined();
  expect(rule.expects).toContain("or null");
});

test("a rate is read as tasks per second", () => {
  expect(["10/s", "120/m", "36/h", 5, "5", "0.5/s"].map(parseRate)).toEqual([10, 2, 0.01, 5, 5, 0.5]);
  expect([null, "", 0, "0/m"].map(parseRate)).toEqual([null, null, null, null]);
  for (const other of ["10/d", "fast", "1/2/s", -1, "/s", {}, "10/constructor"])
    expect(parseRate(other)).toBeUndefined();
});

test("a size is read with its unit, or in the unit of the setting", () => {
  expect(parseSize("128MiB", 1)).toBe(134_217_728);
  expect(parseSize("1.5 kb", 1)).toBe(1536);
  expect(parseSize("100b", 1)).toBe(100);
  expect(parseSize(12, 1024)).toBe(12_288);
  for (const other of ["big", "12 apples", -1, null, "1.2.3m"]) expect(parseSize(other, 1)).toBeUndefined();
});

test("a time zone is one the runtime knows", () => {
  expect(timeZone.parse("Europe/Berlin")).toBe("Europe/Berlin");
  expect(timeZone.parse("Mars/Olympus")).toBeUndefined();
});

test("a setting is honoured and Celery's unless it says otherwise", () => {
  expect(setting(bool, true, "A doc.")).toEqual({
    rule: bool,
    default: true,
    doc: "A doc.",
    old: null,
    honoured: true,
    inert: null,
    own: false,
  });
});
