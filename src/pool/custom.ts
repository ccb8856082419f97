import { dirname } from "node:path";
import type { Tq } from "../app/app.ts";
import { ModuleLoader } from "../app/module-loader.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { Executor } from "../execution/executor.ts";
import type { Logger } from "../log.ts";
import type { Pool } from "./pool.ts";

/** What the maker of a custom pool gets. */
export interface PoolContext {
  readonly app: Tq;
  /** Node name of the worker. */
  readonly hostname: string;
  /** What `-c` says. */
  readonly concurrency: number;
  readonly logger: Logger;
  /** Runs a job here: `prepare` it, tell that it is accepted, `run` it. */
  readonly executor: Executor;
}

/** A module given by `workerPool` or `TQ_CUSTOM_WORKER_POOL` exports this as `createPool`, or as its default. */
export type PoolMaker = (context: PoolContext) => Pool | Promise<Pool>;

const methods = ["start", "run", "terminate", "resize", "restart", "stats", "stop"] as const;

/** Loads a pool of the user's own. Rejects with `ImproperlyConfigured` when the module has none. */
export async function createCustomPool(specifier: string, context: PoolContext, cwd: string): Promise<Pool> {
  const from = context.app.file === null ? cwd : dirname(context.app.file);
  const module = await new ModuleLoader({ cwd }).importModule(specifier, from);
  const make = module.createPool ?? module.default;
  if (typeof make !== "function") {
    throw new ImproperlyConfigured(
      `the pool module ${specifier} must export a function \`createPool(context)\` that makes a Pool, got: ${Object.keys(module).join(", ") || "no exports"}`,
    );
  }
  const pool = await (make as PoolMaker)(context);
  const missing = methods.filter((name) => typeof (pool as unknown as Record<string, unknown>)?.[name] !== "function");
  if (missing.length > 0) {
    throw new ImproperlyConfigured(
      `the pool made by ${specifier} must have the methods of a Pool, lacks: ${missing.join(", ")}`,
    );
  }
  return pool;
}
