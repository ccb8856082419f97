import type { Tq } from "../app/app.ts";
import type { WorkerOptions } from "../worker/options.ts";
import { Worker } from "../worker/worker.ts";
import { travel } from "./travel.ts";

export interface TestWorkerOptions extends WorkerOptions {
  /** Seconds `stop` lets running tasks finish, before they are given up; default 10. */
  readonly shutdownTimeout?: number;
}

/**
 * A worker in the process of the test, ready when this resolves: `await using worker = await
 * startTestWorker(app)`. One task at a time unless `pool` says otherwise, and quiet: no banner, no
 * log below ERROR, no heartbeat, no neighbours.
 */
export async function startTestWorker(app: Tq, options: TestWorkerOptions = {}): Promise<TestWorker> {
  const { shutdownTimeout = 10, ...rest } = options;
  const worker = new Worker(app, {
    pool: "solo",
    quiet: true,
    loglevel: "ERROR",
    withoutHeartbeat: true,
    withoutMingle: true,
    ...rest,
  });
  let ended: Promise<number> | undefined;
  await new Promise<void>((resolve, reject) => {
    const off = app.signals.connect("workerReady", () => {
      off();
      resolve();
    });
    ended = worker.run();
    ended.then(() => reject(new Error("the worker ended before it was ready")), reject);
  });
  return new TestWorker(app, worker, ended as unknown as Promise<number>, shutdownTimeout);
}

/** A worker of a test. Disposing it stops it. */
export class TestWorker implements AsyncDisposable {
  readonly worker: Worker;
  readonly #app: Tq;
  readonly #ended: Promise<number>;
  readonly #shutdownTimeout: number;

  constructor(app: Tq, worker: Worker, ended: Promise<number>, shutdownTimeout: number) {
    this.#app = app;
    this.worker = worker;
    this.#ended = ended;
    this.#shutdownTimeout = shutdownTimeout;
  }

  /** Lets time pass for what waits: see `travel`. */
  async travel(seconds: number): Promise<void> {
    await travel(this.#app, seconds);
  }

  /**
   * Resolves when the worker's queues are empty and nothing runs; calls that wait for a time to
   * come do not count. Rejects after `timeout` seconds, default 10.
   */
  async idle({ timeout = 10 }: { readonly timeout?: number } = {}): Promise<void> {
    const deadline = performance.now() + timeout * 1000;
    const broker = await this.#app.broker();
    const { active, reserved, scheduled } = this.worker.state;
    for (;;) {
      let waiting = active.size + reserved.size + scheduled.size;
      for (const queue of this.#app.topology.consumed.keys()) waiting += await broker.size(queue);
      if (waiting === 0 && active.size + reserved.size === 0) return;
      if (performance.now() > deadline) {
        throw new Error(`the worker was not idle within ${timeout} s: ${waiting} tasks wait or run`);
      }
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  /** Warm, and cold after `shutdownTimeout`; resolves to the exit code. */
  async stop(): Promise<number> {
    this.worker.shutdown();
    const cold = setTimeout(() => this.worker.shutdown("cold"), this.#shutdownTimeout * 1000);
    try {
      return await this.#ended;
    } finally {
      clearTimeout(cold);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
