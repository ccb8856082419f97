import { Tq } from "tq";

/** What every drain runs: a task that does nothing. Its twin for Celery is bench_celery.py. */
export const app = new Tq("bench", { broker: process.env.BENCH_BROKER, backend: process.env.BENCH_BACKEND });

export const noop = app.task("bench.noop", (n) => n);
