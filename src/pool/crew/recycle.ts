/** When a child has served long enough. Zero or null is no limit. */
export interface RecycleLimits {
  readonly maxTasks: number | null;
  /** KiB of resident memory (inventory G21). */
  readonly maxMemory: number | null;
}

/** Pure: whether a child that has just finished a task is to be replaced. `rss` in bytes. */
export function shouldRetire(done: { readonly tasks: number; readonly rss: number }, limits: RecycleLimits): boolean {
  if (limits.maxTasks && done.tasks >= limits.maxTasks) return true;
  return Boolean(limits.maxMemory && done.rss > limits.maxMemory * 1024);
}

export interface Service {
  readonly tasks: number;
  /** Bytes. */
  readonly rss: number;
  /** Milliseconds it has served for. */
  readonly servedMs: number;
  /** Milliseconds a new one takes until it is ready. */
  readonly startMs: number;
}

/**
 * Pure: whether a child will have to be replaced before long, so that its successor had better
 * start now: at its pace it reaches its last task while the successor loads the app, or it has
 * less than a tenth of its memory left.
 */
export function retiresSoon(service: Service, limits: RecycleLimits): boolean {
  const { tasks, rss, servedMs, startMs } = service;
  if (limits.maxTasks) {
    const left = limits.maxTasks - tasks;
    const pace = tasks / Math.max(servedMs, 1);
    if (left <= 1 || left <= pace * startMs * 2) return true;
  }
  return Boolean(limits.maxMemory && rss > limits.maxMemory * 1024 * 0.9);
}
