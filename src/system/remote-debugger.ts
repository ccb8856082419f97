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

/**
 * Node's flags for a child: how SIGUSR1 opens its inspector. Without a permission to debug it takes any port of this
 * machine alone, and says its address nowhere but on the standard error its parent reads. Where that is not read, or
 * the user has an inspector of his own, there are none, and the signal opens nothing.
 */
export function inspectorFlags(env: NodeJS.ProcessEnv, index: number, readsErrors: boolean): readonly string[] {
  if (debuggable(env)) return [`${portFlag}127.0.0.1:${debuggerPort(env, index)}`];
  if (!readsErrors || env.NODE_OPTIONS?.includes("--inspect")) return [];
  return [`${portFlag}127.0.0.1:0`, "--inspect-publish-uid=stderr"];
}

/** Whether this process was started with such flags. */
export const hasInspectorFlags = (): boolean => process.execArgv.some((flag) => flag.startsWith(portFlag));

const portFlag = "--inspect-port=";
