import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** What every drain runs: a task that does nothing. Its twin for Celery is bench_celery.py. */
export const app = new Tq("bench", { broker: process.env.BENCH_BROKER, backend: process.env.BENCH_BACKEND });

export const noop = app.task("bench.noop", (n) => n);

/** The body of a chord. */
export const total = app.task("bench.total", (numbers) => numbers.reduce((sum, n) => sum + n, 0));

/** Waits 10 ms as a task that asks a database does. */
export const nap = app.task("bench.nap", async (n) => {
  await sleep(10);
  return n;
});

/** Takes a payload, and returns its length. */
export const measure = app.task("bench.measure", (text) => text.length);

/** Keeps a core busy for so many milliseconds. */
export const spin = app.task("bench.spin", (ms) => {
  const until = performance.now() + ms;
  while (performance.now() < until);
});
