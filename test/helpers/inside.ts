import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Tq } from "../../src/app/app.ts";
import { createLogger } from "../../src/log-writer.ts";
import { startAll, stopAll } from "../../src/util/service.ts";
import { type Assembly, assemble } from "../../src/worker/assemble.ts";
import type { createPool as CreatePool } from "../../src/worker/create-pool.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { WorkerState } from "../../src/worker/state.ts";
import { root } from "./build.ts";
import { temporaryFolder } from "./tmp.ts";

/** A worker in this very process, with all its parts in reach. */
export interface InsideWorker extends Assembly, AsyncDisposable {
  readonly state: WorkerState;
  /** All it logged so far. */
  log(): string;
  /** A warm stop. */
  stop(): Promise<void>;
  /** Ends it without giving anything back or waiting for what runs. */
  abort(): Promise<void>;
}

/** Puts together and starts a worker of `app` as `Worker` does, without signals and pidfile; solo unless told otherwise. */
export async function workInside(app: Tq, options: WorkerOptions = {}): Promise<InsideWorker> {
  const folder = await temporaryFolder();
  const logger = createLogger({ level: "INFO", destination: folder.file("log") });
  const state = new WorkerState();
  const cold = new AbortController();
  const hostname = options.hostname ?? "inside@host";
  const all: WorkerOptions = { pool: "solo", ...options };
  if (all.overrides) app.conf.setFlags(all.overrides);
  for (const task of app.tasks) void task.options;
  const broker = await app.createBroker("read", logger);
  const onFatal = (error: Error): void => logger.fatal("%s", error.message);
  // Children are started from what was built.
  const from = all.pool === "solo" ? "src/worker/create-pool.ts" : "dist/worker/create-pool.js";
  const { createPool } = (await import(join(root, from))) as { createPool: typeof CreatePool };
  const pool = await createPool({ app, options: all, hostname, concurrency: all.concurrency ?? 1, logger, onFatal });
  const context = {
    app,
    options: all,
    hostname,
    logger,
    state,
    ladder: { cold: cold.signal, phase: "running" as const, held: async () => undefined },
    shutdown: () => undefined,
  };
  const assembly = assemble(context, { broker, queues: [...app.topology.consumed.values()], pool });
  assembly.prepare();
  let stopped: Promise<void> | undefined;
  const end = async (): Promise<void> => {
    try {
      await stopAll(assembly.services, cold.signal);
    } finally {
      logger.close();
      await folder[Symbol.asyncDispose]();
    }
  };
  const stop = (): Promise<void> => {
    stopped ??= end();
    return stopped;
  };
  try {
    await startAll(assembly.services);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    ...assembly,
    state,
    log: () => readFileSync(folder.file("log"), "utf8"),
    stop,
    abort() {
      cold.abort();
      return stop();
    },
    [Symbol.asyncDispose]: stop,
  };
}
