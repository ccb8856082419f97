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
