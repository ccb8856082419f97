import fc from "fast-check";
import { expect, test } from "vitest";
import { formatIso, parseIso, parseIsoParts } from "../../src/util/iso8601.ts";

test.each([
  ["2024-05-06T07:08:09Z", "2024-05-06T07:08:09.000Z"],
  ["2024-05-06T07:08:09+00:00", "2024-05-06T07:08:09.000Z"],
  ["2024-05-06T07:08:09", "2024-05-06T07:08:09.000Z"],
  ["2024-05-06 07:08:09.5", "2024-05-06T07:08:09.500Z"],
  ["2024-05-06T07:08:09.123456+02:00", "2024-05-06T05:08:09.123Z"],
  ["2024-05-06T07:08:09.999999-05:30", "2024-05-06T12:38:09.999Z"],
  ["2024-05-06T07:08+0200", "2024-05-06T05:08:00.000Z"],
  ["2024-05-06T07:08:09-02", "2024-05-06T09:08:09.000Z"],
  ["2024-02-29", "2024-02-29T00:00:00.000Z"],
  ["0001-01-01T00:00:00", "0001-01-01T00:00:00.000Z"],
])("%s is %s", (text, iso) => {
  expect(parseIso(text).toISOString()).toBe(iso);
});

test.each([
  "tomorrow",
  "",
  "2024",
  "2024-13-01",
  "2023-02-29",
  "2024-05-06T24:00:00",
  "2024-05-06T07:60",
  "2024-05-06T07:08:09+25:00",
  "2024-05-06T07:08:09Zx",
  " 2024-05-06",
  "1700000000",
  "0000-01-01",
  "2024-05-06T07:08:09+1",
])("%o is no date", (text) => {
  expect(() => parseIso(text)).toThrow(RangeError);
});

test("a number is no date, whatever its type says", () => {
  expect(() => parseIso(1700000000 as unknown as string)).toThrow("1700000000");
});

test("microseconds and offset are told apart from the instant", () => {
  expect(parseIsoParts("2024-05-06T07:08:09.123456+02:00")).toMatchObject({ microsecond: 123456, offset: 7200 });
  expect(parseIsoParts("2024-05-06T07:08:09")).toMatchObject({ microsecond: 0, offset: null });
});

test("dates are printed as Python prints them", () => {
  expect(formatIso(new Date("2024-05-06T07:08:09Z"))).toBe("2024-05-06T07:08:09+00:00");
  expect(formatIso(new Date("2024-05-06T07:08:09.120Z"))).toBe("2024-05-06T07:08:09.120000+00:00");
  expect(() => formatIso(new Date(Number.NaN))).toThrow(RangeError);
  expect(() => formatIso(new Date(8.64e15))).toThrow("year 275760");
});

test("what is printed reads as the same instant", () => {
  fc.assert(
    fc.property(fc.date({ min: new Date("0001-01-01"), max: new Date("9999-12-31"), noInvalidDate: true }), (date) => {
      expect(parseIso(formatIso(date)).getTime()).toBe(date.getTime());
    }),
  );
});
