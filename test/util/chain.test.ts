import { describe, expect, test } from "vitest";
import { Chain } from "../../src/util/chain.ts";

describe("a chain", () => {
  test("holds its members in the order they came, whoever leaves", () => {
    const chain = new Chain<string>();
    const [a, b, c] = [chain.add("a"), chain.add("b"), chain.add("c")];
    expect([...chain]).toEqual(["a", "b", "c"]);
    expect(chain.remove(b)).toBe(true);
    expect([[...chain], chain.first, chain.size]).toEqual([["a", "c"], "a", 2]);
    expect(chain.remove(a)).toBe(true);
    chain.add("d");
    expect([[...chain], chain.first, chain.size]).toEqual([["c", "d"], "c", 2]);
    expect(c.value).toBe("c");
  });

  test("lets a member leave once, from wherever it stands", () => {
    const chain = new Chain<number>();
    const only = chain.add(1);
    expect([chain.remove(only), chain.remove(only), chain.size, chain.first]).toEqual([true, false, 0, undefined]);
    const places = [2, 3, 4].map((value) => chain.add(value));
    for (const place of [...places].reverse()) expect(chain.remove(place)).toBe(true);
    for (const place of places) expect(chain.remove(place)).toBe(false);
    expect([...chain]).toEqual([]);
  });

  test("is left by all at once, and takes members again", () => {
    const chain = new Chain<number>();
    const first = chain.add(1);
    chain.add(2);
    chain.clear();
    expect([chain.size, chain.remove(first)]).toEqual([0, false]);
    chain.add(3);
    expect([...chain]).toEqual([3]);
  });

  test("tells those that were in it when asked, though they leave meanwhile", () => {
    const chain = new Chain<number>();
    const places = [1, 2, 3].map((value) => chain.add(value));
    const told: number[] = [];
    for (const value of chain) {
      for (const place of places) chain.remove(place);
      told.push(value);
    }
    expect(told).toEqual([1, 2, 3]);
  });
});
