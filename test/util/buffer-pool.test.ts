import { expect, test } from "vitest";
import { BufferPool } from "../../src/util/buffer-pool.ts";

test("a buffer that came back is lent again to whom it is large enough for", () => {
  const pool = new BufferPool();
  const first = pool.take(100_000);
  expect(first).toHaveLength(100_000);
  pool.giveBack(first.subarray(0, 10));
  expect(pool.take(200_000).buffer).not.toBe(first.buffer);
  const second = pool.take(100_001);
  expect(second).toHaveLength(100_001);
  expect(second.buffer).toBe(first.buffer);
  expect(pool.take(1).buffer, "it is out").not.toBe(first.buffer);
});

test("it keeps a few, and none that is very large", () => {
  const pool = new BufferPool();
  const large = pool.take(2 << 20);
  pool.giveBack(large);
  expect(pool.take(2 << 20).buffer).not.toBe(large.buffer);
  const lent = Array.from({ length: 10 }, () => pool.take(20_000));
  for (const buffer of lent) pool.giveBack(buffer);
  const again = Array.from({ length: 10 }, () => pool.take(20_000));
  expect(again.filter(({ buffer }) => lent.some((one) => one.buffer === buffer))).toHaveLength(4);
});
