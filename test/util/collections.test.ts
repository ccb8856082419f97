import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Heap } from "../../src/util/heap.ts";
import { LimitedSet } from "../../src/util/limited-set.ts";
import { TokenBucket } from "../../src/util/token-bucket.ts";

describe("a heap", () => {
  test("gives back everything in order, whatever is added and removed", () => {
    fc.assert(
      fc.property(fc.array(fc.integer()), fc.array(fc.nat()), (numbers, removals) => {
        const items = numbers.map((value) => ({ value }));
        const heap = new Heap<{ value: number }>((a, b) => a.value < b.value);
        for (const item of items) heap.push(item);
        for (const index of removals) {
          const item = items[index];
          if (item === undefined) continue;
          items.splice(index, 1);
          expect(heap.remove(item)).toBe(true);
          expect(heap.remove(item)).toBe(false);
        }
        const out: number[] = [];
        while (heap.size > 0) {
          const next = heap.peek();
          expect(heap.pop()).toBe(next);
          out.push((next as { value: number }).value);
        }
        expect(out).toEqual(items.map((item) => item.value).sort((a, b) => a - b));
      }),
    );
  });

  test("is empty after draining", () => {
    const heap = new Heap<number>((a, b) => a < b);
    for (const value of [3, 1, 2]) heap.push(value);
    expect([...heap].sort()).toEqual([1, 2, 3]);
    expect(heap.drain().sort()).toEqual([1, 2, 3]);
    expect([heap.pop(), heap.peek(), heap.size]).toEqual([undefined, undefined, 0]);
  });
});

describe("a limited set", () => {
  let clock = 0;
  const now = (): number => clock;

  test("forgets what is older than its time", () => {
    clock = 0;
    const set = new LimitedSet({ maxSize: 0, expires: 10, now });
    set.add("a");
    clock = 9;
    set.add("b");
    expect([set.has("a"), set.has("b")]).toEqual([true, true]);
    clock = 10;
    expect([set.has("a"), set.has("b"), set.size]).toEqual([false, true, 1]);
  });

  test("lets the oldest go when there are too many", () => {
    clock = 0;
    const set = new LimitedSet<number>({ maxSize: 3, expires: 0, now });
    for (let item = 0; item < 100; item += 1) set.add(item);
    expect([...set]).toEqual([97, 98, 99]);
    set.add(97);
    set.add(100);
    expect([...set]).toEqual([99, 97, 100]);
  });

  test("takes over the members of another, of each the younger reading", () => {
    clock = 5;
    const set = new LimitedSet({ maxSize: 10, expires: 100, now });
    set.add("a");
    set.merge([
      ["a", 1],
      ["b", 3],
      ["c", 7],
    ]);
    expect([...set.entries()]).toEqual([
      ["a", 5],
      ["b", 3],
      ["c", 7],
    ]);
    expect(set.delete("a")).toBe(true);
    expect(set.addedAt("a")).toBeUndefined();
    expect(set.addedAt("b")).toBe(3);
    set.clear();
    expect(set.size).toBe(0);
  });
});

describe("a token bucket", () => {
  test("spreads uses evenly, and says how long to wait", () => {
    let clock = 100;
    const bucket = new TokenBucket({ rate: 10 / 6, now: () => clock });
    let used = 0;
    for (let step = 0; step < 1000; step += 1) {
      const wait = bucket.secondsUntil();
      if (wait > 0) clock += wait;
      expect(bucket.take()).toBe(true);
      expect(bucket.take()).toBe(false);
      used += 1;
    }
    expect(used / (clock - 100)).toBeCloseTo(10 / 6, 2);
  });

  test("allows a burst of its capacity and no more", () => {
    let clock = 0;
    const bucket = new TokenBucket({ rate: 1, capacity: 3, now: () => clock });
    expect([bucket.take(), bucket.take(), bucket.take(), bucket.take()]).toEqual([true, true, true, false]);
    clock = 100;
    expect([bucket.take(3), bucket.take()]).toEqual([true, false]);
    expect(bucket.secondsUntil(4)).toBe(Number.POSITIVE_INFINITY);
    clock = 50;
    expect(bucket.take()).toBe(false);
  });
});
