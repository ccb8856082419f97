import { expect, test } from "vitest";
import { backoff, exponentialBackoff } from "../../src/util/backoff.ts";

test("waits double up to the maximum", () => {
  const waits = [0, 1, 2, 3, 4, 50].map((attempt) => backoff({ attempt, initial: 1, max: 10 }));
  expect(waits).toEqual([1, 2, 4, 8, 10, 10]);
  expect(backoff({ attempt: 2, initial: 0.2, factor: 3, max: 100 })).toBeCloseTo(1.8);
});

test("jitter takes a random share off", () => {
  const wait = (random: number): number =>
    backoff({ attempt: 0, initial: 10, max: 100, jitter: 0.5, random: () => random });
  expect([wait(0), wait(0.5), wait(1)]).toEqual([10, 7.5, 5]);
});

test("automatic retries wait as Celery's do", () => {
  const wait = (retries: number): number => exponentialBackoff({ factor: 2, retries, maximum: 600, fullJitter: false });
  expect([0, 1, 2, 8, 9, 2000].map(wait)).toEqual([2, 4, 8, 512, 600, 600]);
  const jittered = (random: number): number =>
    exponentialBackoff({ factor: 4, retries: 1, maximum: 600, fullJitter: true, random: () => random });
  expect([jittered(0), jittered(0.5), jittered(0.999)]).toEqual([0, 4, 8]);
});
