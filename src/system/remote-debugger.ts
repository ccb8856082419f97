import { open, url } from "node:inspector";

/** Whether a signal may let a debugger in (inventory G11): `TQ_RDBSIG=1`, or Celery's `CELERY_RDBSIG=1`. */
export const debuggable = (env: NodeJS.ProcessEnv): boolean => (env.TQ_RDBSIG ?? env.CELERY_RDBSIG) === "1";

/** The port for this process: `CELERY_RDB_PORT` (6899) for a worker, and those after it for its children. */
export function debuggerPort(env: NodeJS.ProcessEnv, index = 0): number {
  const first = Number(env.TQ_RDB_PORT ?? env.CELERY_RDB_PORT ?? 6899);
  return first + (index % (65_536 - first));
}

/**
 * Opens Node's inspector on `CELERY_RDB_HOST` (127.0.0.1), at the first free port of a hundred.
 * Returns its address; undefined when none is free. Whoever reaches it can do what this process can.
 */
export function letDebuggerIn(env: NodeJS.ProcessEnv): string | undefined {
  const host = env.TQ_RDB_HOST ?? env.CELERY_RDB_HOST ?? "127.0.0.1";
  const first = debuggerPort(env);
  for (let port = first; port < first + 100 && url() === undefined; port += 1) open(port, host);
  return url();
}
