import { randomUUID } from "node:crypto";
import { afterEach } from "vitest";
import { Tq, type TqOptions } from "../../src/app/app.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { Worker } from "../../src/worker/worker.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** An app on a memory store of its own; closed after the test. */
export function stage(options: TqOptions = {}, main = "app"): Tq {
  const store = randomUUID();
  const app = new Tq(main, { broker: `memory://${store}`, backend: `cache+memory://${store}`, ...options });
  closers.push(() => app.close());
  return app;
}

/** A worker of the app in this very process; stopped after the test. */
export function work(app: Tq, options: WorkerOptions = {}): Worker {
  const worker = new Worker(app, { pool: "solo", quiet: true, loglevel: "CRITICAL", ...options });
  const ended = worker.run();
  closers.push(async () => {
    worker.shutdown();
    await ended;
  });
  return worker;
}
