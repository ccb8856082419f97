import { describe, expect, test } from "vitest";
import { silentLogger } from "../../src/log.ts";
import type { Pool } from "../../src/pool/pool.ts";
import { type AutoscaleRule, Autoscaler } from "../../src/worker/autoscaler.ts";
import { TimeLimits } from "../../src/worker/time-limits.ts";

/** A pool that is as wide as it was told to be. */
function widePool(width: number): Pool {
  const pool = {
    kind: "prefork",
    width,
    get size() {
      return pool.width;
    },
    async resize(to: number) {
      pool.width = to;
    },
    stats: () => ({}),
  };
  return pool as unknown as Pool;
}

async function autoscaled(options: { min: number; max: number; keepalive?: number; decide?: AutoscaleRule }) {
  const pool = widePool(options.min);
  const seen = { load: 0, maxima: 0 };
  const scaler = new Autoscaler({
    pool,
    slots: 1,
    keepalive: 0,
    load: () => seen.load,
    onGrown: () => undefined,
    onMax: () => {
      seen.maxima += 1;
    },
    logger: silentLogger,
    ...options,
  });
  await scaler.start();
  return { pool, scaler, seen, [Symbol.asyncDispose]: () => scaler.stop() };
}

describe("an autoscaled pool", () => {
  test("grows with the load up to its maximum, and shrinks back to its minimum", async () => {
    await using it = await autoscaled({ min: 1, max: 4 });
    for (const [load, width] of [
      [1, 1],
      [3, 3],
      [9, 4],
    ] as const) {
      it.seen.load = load;
      it.scaler.look();
      expect(it.pool.width).toBe(width);
    }
    it.seen.load = 0;
    await new Promise((resolve) => setTimeout(resolve, 5));
    it.scaler.look();
    expect(it.pool.width).toBe(1);
    expect(it.scaler.info()).toEqual({ max: 4, min: 1, current: 1, qty: 0 });
  });

  test("keeps its size for a while after it has grown", async () => {
    await using it = await autoscaled({ min: 0, max: 4, keepalive: 60 });
    it.seen.load = 2;
    it.scaler.look();
    it.seen.load = 0;
    it.scaler.look();
    expect(it.pool.width).toBe(2);
  });

  test("does as a rule of the user's says, within its bounds, and keeps its size when that fails", async () => {
    const answers = [3, 99, -1, Number.NaN];
    await using it = await autoscaled({
      min: 1,
      max: 4,
      decide: ({ load, width, min, max }) => {
        expect({ load, min, max, width }).toEqual({ load: 7, min: 1, max: 4, width: it.pool.width });
        const answer = answers.shift();
        if (answer === undefined) throw new Error("no more");
        return answer;
      },
    });
    it.seen.load = 7;
    for (const width of [3, 4, 1, 1, 1]) {
      it.scaler.look();
      expect(it.pool.width).toBe(width);
    }
  });

  test("keeps new bounds at once", async () => {
    await using it = await autoscaled({ min: 1, max: 4 });
    expect(it.scaler.update(8, 3)).toEqual({ max: 8, min: 3 });
    expect(it.pool.width).toBe(3);
    expect(it.seen.maxima).toBe(1);
    expect(it.scaler.update(2, null)).toEqual({ max: 2, min: 3 });
    expect(it.pool.width).toBe(2);
  });
});

describe("time limits", () => {
  const task = (timeLimit: number | null, softTimeLimit: number | null = null) => ({ timeLimit, softTimeLimit });
  const message = (timelimit: readonly [number | null, number | null]) =>
    ({ headers: { task: "t", timelimit } }) as unknown as Parameters<TimeLimits["ofMessage"]>[0];

  test("are those of the call, else those set at run time, else the task's, the worker's, the settings'", () => {
    const changed = new Map<string, { hard: number | null; soft: number | null }>();
    const limits = new TimeLimits({ changed, flags: { hard: 50, soft: null }, settings: { hard: 100, soft: 90 } });
    expect(limits.ofMessage(message([null, null]), task(100, 90))).toEqual({ hard: 50, soft: 90 });
    expect(limits.ofMessage(message([null, null]), task(20))).toEqual({ hard: 20, soft: null });
    changed.set("t", { hard: 7, soft: 6 });
    expect(limits.ofMessage(message([null, null]), task(20))).toEqual({ hard: 7, soft: 6 });
    expect(limits.ofMessage(message([3, null]), task(20))).toEqual({ hard: 3, soft: 6 });
    changed.set("t", { hard: null, soft: 0 });
    expect(limits.ofMessage(message([null, null]), task(20))).toEqual({ hard: null, soft: null });
  });
});
