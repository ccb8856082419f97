import { isReady } from "../protocol/states.ts";
import type { TaskMeta } from "../protocol/task-meta.ts";

export interface WatchOptions {
  readonly signal?: AbortSignal | undefined;
  readonly intermediate?: boolean;
}

/**
 * Everybody in this process who waits for results of one store, so that the store needs to
 * listen only once. The store calls `deliver` with whatever it learns; each waiter sees what it
 * asked for, once.
 */
export class Waiters {
  readonly #byTask = new Map<string, Set<Watch>>();
  readonly #watches = new Set<Watch>();

  /** Number of tasks somebody waits for. */
  get size(): number {
    return this.#byTask.size;
  }

  /** The tasks somebody waits for. */
  get taskIds(): Iterable<string> {
    return this.#byTask.keys();
  }

  wants(taskId: string): boolean {
    return this.#byTask.has(taskId);
  }

  /**
   * The `watch` of a result store. `load` is asked once, after notifications for these tasks
   * have begun to count, for those known already: so nothing falls between.
   */
  async *watch(
    taskIds: Iterable<string>,
    options: WatchOptions,
    load: (taskIds: readonly string[]) => Promise<readonly TaskMeta[]>,
  ): AsyncGenerator<TaskMeta, void, undefined> {
    options.signal?.throwIfAborted();
    const watch = new Watch(new Set(taskIds), options.intermediate ?? false);
    const onAbort = (): void => watch.fail(options.signal?.reason);
    options.signal?.addEventListener("abort", onAbort, { once: true });
    this.#add(watch);
    try {
      if (watch.pending.size > 0) {
        for (const meta of await load([...watch.pending])) watch.offer(meta);
      }
      yield* watch.drain();
    } finally {
      options.signal?.removeEventListener("abort", onAbort);
      this.#remove(watch);
    }
  }

  deliver(meta: TaskMeta): void {
    for (const watch of this.#byTask.get(meta.task_id) ?? []) watch.offer(meta);
  }

  /** Ends every watch with this error. */
  fail(error: Error): void {
    for (const watch of this.#watches) watch.fail(error);
  }

  #add(watch: Watch): void {
    this.#watches.add(watch);
    for (const taskId of watch.pending) {
      const watches = this.#byTask.get(taskId) ?? new Set();
      this.#byTask.set(taskId, watches.add(watch));
    }
  }

  #remove(watch: Watch): void {
    this.#watches.delete(watch);
    for (const taskId of watch.taskIds) {
      const watches = this.#byTask.get(taskId);
      watches?.delete(watch);
      if (watches?.size === 0) this.#byTask.delete(taskId);
    }
  }
}

/** One caller's wait for some tasks. */
class Watch {
  readonly taskIds: readonly string[];
  /** Not ready yet. */
  readonly pending: Set<string>;
  readonly #intermediate: boolean;
  readonly #found: TaskMeta[] = [];
  readonly #lastStates = new Map<string, string>();
  #failure: { readonly reason: unknown } | undefined;
  #wake: (() => void) | undefined;

  constructor(taskIds: Set<string>, intermediate: boolean) {
    this.taskIds = [...taskIds];
    this.pending = taskIds;
    this.#intermediate = intermediate;
  }

  offer(meta: TaskMeta): void {
    if (!this.pending.has(meta.task_id)) return;
    if (isReady(meta.status)) this.pending.delete(meta.task_id);
    else if (!this.#intermediate || !this.#isNews(meta)) return;
    this.#found.push(meta);
    this.#wake?.();
  }

  fail(reason: unknown): void {
    this.#failure ??= { reason };
    this.#wake?.();
  }

  async *drain(): AsyncGenerator<TaskMeta, void, undefined> {
    for (;;) {
      while (this.#found.length > 0) yield this.#found.shift() as TaskMeta;
      if (this.pending.size === 0) return;
      if (this.#failure) throw this.#failure.reason;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** A store may tell of one state twice, by notification and by loading; the document tells them apart. */
  #isNews(meta: TaskMeta): boolean {
    const document = JSON.stringify([meta.status, meta.result]);
    if (this.#lastStates.get(meta.task_id) === document) return false;
    this.#lastStates.set(meta.task_id, document);
    return true;
  }
}
