import { expect, test } from "vitest";
import { matchGlob } from "../../src/util/glob.ts";

test.each([
  ["*", "", true],
  ["feed.tasks.*", "feed.tasks.import", true],
  ["feed.tasks.*", "feed_tasks.import", false],
  ["*.a?c", "x.y.abc", true],
  ["a*b", "a\nb", true],
  ["[abc]x", "bx", true],
  ["[!abc]x", "bx", false],
  ["[!abc]x", "dx", true],
  ["[a-c]", "b", true],
  ["[c-a]", "b", false],
  ["[]]", "]", true],
  ["[!]]", "]", false],
  ["[", "[", true],
  ["[^a]", "^", true],
  ["a+b(c)$", "a+b(c)$", true],
  ["A", "a", false],
  ["a", "ab", false],
])("%s against %o: %s", (pattern, text, matches) => {
  expect(matchGlob(pattern, text)).toBe(matches);
});

test("a pattern of stars takes no exponential time", () => {
  const start = performance.now();
  expect(matchGlob(`${"*".repeat(50)}b`, "a".repeat(5000))).toBe(false);
  expect(performance.now() - start).toBeLessThan(1000);
});
