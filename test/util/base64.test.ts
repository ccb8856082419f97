import fc from "fast-check";
import { expect, test } from "vitest";
import { bytesOfBase64, decodeBase64 } from "../../src/util/base64.ts";

/** As Node reads the whole text. */
const whole = (text: string): Buffer => Buffer.from(text, "base64");
const decoded = (text: string): Buffer => decodeBase64(Buffer.from(text), Buffer.alloc(bytesOfBase64(text)));

test("a text of any length is read as Node reads it", () => {
  fc.assert(
    fc.property(fc.constantFrom(0, 1, 2, 3, 36_863, 36_864, 36_865, 100_000, 147_456), fc.nat(255), (length, seed) => {
      const text = Buffer.from(Uint8Array.from({ length }, (_, index) => index * seed + index)).toString("base64");
      expect(decoded(text).equals(whole(text))).toBe(true);
    }),
    { numRuns: 50 },
  );
});

test("what is no base64 shifts nothing that follows it", () => {
  const text = Buffer.from("ab".repeat(50_000)).toString("base64");
  for (const at of [0, 3, 49_151, 49_152, 60_000, text.length])
    for (const odd of ["\n", "-", "*", "="]) {
      const damaged = text.slice(0, at) + odd + text.slice(at);
      expect(decoded(damaged).equals(whole(damaged)), `${JSON.stringify(odd)} at ${at}`).toBe(true);
    }
});
