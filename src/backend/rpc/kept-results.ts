import { isReady } from "../../protocol/states.ts";
import type { TaskMeta } from "../../protocol/task-meta.ts";

interface Kept {
  readonly meta: TaskMeta;
  readonly bytes: number;
}

/** Bounds of what is kept until somebody asks. */
export interface KeptLimits {
  readonly count: number;
  readonly bytes: number;
}

/**
 * Results that have arrived, the newest state of each task, until they are asked for. Bounded:
 * when there is too much the oldest go first. A result is never replaced by an earlier state.
 */
export class KeptResults {
  readonly #byTask = new Map<string, Kept>();
  readonly #limits: KeptLimits;
  #bytes = 0;

  constructor(limits: KeptLimits) {
    this.#limits = limits;
  }

  /** Keeps a state; `bytes` is what it weighed on the wire. False when a result was there already. */
  keep(meta: TaskMeta, bytes: number): boolean {
    const known = this.#byTask.get(meta.task_id);
    if (known && isReady(known.meta.status)) return false;
    this.forget(meta.task_id);
    this.#byTask.set(meta.task_id, { meta, bytes });
    this.#bytes += bytes;
    for (const oldest of this.#byTask.keys()) {
      if (this.#byTask.size <= this.#limits.count && this.#bytes <= this.#limits.bytes) break;
      if (oldest === meta.task_id) break;
      this.forget(oldest);
    }
    return true;
  }

  get(taskId: string): TaskMeta | undefined {
    return this.#byTask.get(taskId)?.meta;
  }

  forget(taskId: string): void {
    this.#bytes -= this.#byTask.get(taskId)?.bytes ?? 0;
    this.#byTask.delete(taskId);
  }
}
