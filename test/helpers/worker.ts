import { join } from "node:path";
import { root } from "./build.ts";
import { type Child, type Exit, startChild } from "./child.ts";
import { celeryBin } from "./services.ts";

export interface WorkerOptions {
  /** What `-A` gets: a path from `cwd` or a module; test/apps/wire.ts by default (Python: `wire`). */
  readonly app?: string;
  /** Further arguments, after `worker -l INFO`. */
  readonly args?: readonly string[];
  /** Added to this process's environment. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** The root of the repository by default (Python: test/python). */
  readonly cwd?: string;
}

/** A worker process with all it logged. */
export interface WorkerHandle extends Child {
  /** Resolves when the worker says that it is ready; rejects with its log when it ends before. */
  ready(options?: { readonly timeout?: number }): Promise<void>;
  /** SIGTERM and a warm shutdown; SIGKILL to the group when it takes longer than `timeout` seconds (10). */
  term(options?: { readonly timeout?: number }): Promise<Exit>;
  /** SIGKILL to the parent and all its children at once: power loss as far as they can tell. */
  kill9Group(): Promise<Exit>;
}

/** Starts `tq worker` as users do, by bin/tq.js, in a process group of its own. Await `ready()` next. */
export function startWorker(options: WorkerOptions = {}): WorkerHandle {
  const app = options.app ?? join(root, "test", "apps", "wire.ts");
  const args = [join(root, "bin", "tq.js"), "-A", app, "worker", "-l", "INFO", ...(options.args ?? [])];
  return asWorker(startChild(process.execPath, args, { cwd: options.cwd ?? root, env: merged(options.env) }));
}

/**
 * Starts a real Celery worker on test/python/wire.py, in a process group of its own. Await `ready()`
 * next. It minds nobody else, which makes it start faster, unless it is `neighbourly`.
 */
export function startCeleryWorker({
  neighbourly = false,
  ...options
}: WorkerOptions & { readonly neighbourly?: boolean } = {}): WorkerHandle {
  const quick = neighbourly ? [] : ["--without-gossip", "--without-mingle", "--without-heartbeat"];
  const args = ["-m", "celery", "-A", options.app ?? "wire", "worker", "-l", "INFO", ...quick, ...(options.args ?? [])];
  const cwd = options.cwd ?? pythonFolder;
  return asWorker(startChild(join(celeryBin(), "python"), args, { cwd, env: pythonEnv(options.env) }));
}

/** The folder of the Python project. */
export const pythonFolder = join(root, "test", "python");

/** The environment in which Python leaves no caches in the repository and hides nothing in buffers. */
export function pythonEnv(env: WorkerOptions["env"] = {}): NodeJS.ProcessEnv {
  return merged({ PYTHONDONTWRITEBYTECODE: "1", PYTHONUNBUFFERED: "1", ...env });
}

function merged(env: WorkerOptions["env"] = {}): NodeJS.ProcessEnv {
  return { ...process.env, NO_COLOR: "1", ...env };
}

function asWorker(child: Child): WorkerHandle {
  const additions = {
    async ready({ timeout = 20 }: { readonly timeout?: number } = {}) {
      await child.printed(/ ready\.$/, { timeout });
    },
    term: (options?: { readonly timeout?: number }) => child.stop(options),
    kill9Group: () => child.kill(),
  };
  // The child's getters must stay getters.
  return Object.defineProperties(additions, Object.getOwnPropertyDescriptors(child)) as WorkerHandle;
}
