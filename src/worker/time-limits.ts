import type { TaskMessage } from "../protocol/task-message.ts";
import type { TaskOptions } from "../task/task.ts";

/** Seconds; null and 0 are none, as in Celery. */
export interface Limits {
  readonly hard: number | null;
  readonly soft: number | null;
}

export interface TimeLimitSources {
  /** Set while the worker runs (`time_limit`), by the task's name. */
  readonly changed: ReadonlyMap<string, Limits>;
  /** What the worker was started with (`--time-limit`, `--soft-time-limit`). */
  readonly flags: Limits;
  /** `taskTimeLimit` and `taskSoftTimeLimit`, which tasks that do not say have taken over. */
  readonly settings: Limits;
}

/**
 * Which limits a run has: those of its call, else those set while the worker runs, else the
 * task's own, else the worker's, else the settings' (inventory G54). Changes hold for what begins after them.
 */
export class TimeLimits {
  readonly #sources: TimeLimitSources;

  constructor(sources: TimeLimitSources) {
    this.#sources = sources;
  }

  /** The limits of a task's next run, unless its call says otherwise. */
  ofTask(task: string, options: Pick<TaskOptions, "timeLimit" | "softTimeLimit">): Limits {
    const changed = this.#sources.changed.get(task);
    if (changed) return { hard: changed.hard || null, soft: changed.soft || null };
    const { flags, settings } = this.#sources;
    return {
      hard: pick(options.timeLimit, settings.hard, flags.hard),
      soft: pick(options.softTimeLimit, settings.soft, flags.soft),
    };
  }

  ofMessage(message: TaskMessage, options: Pick<TaskOptions, "timeLimit" | "softTimeLimit">): Limits {
    const [hard, soft] = message.headers.timelimit;
    const task = this.ofTask(message.headers.task, options);
    return { hard: hard || task.hard, soft: soft || task.soft };
  }
}

/** A task's own limit goes before the worker's; one it has from the settings does not. */
function pick(ofTask: number | null, ofSettings: number | null, ofWorker: number | null): number | null {
  if (ofTask !== ofSettings && ofTask) return ofTask;
  return ofWorker || ofTask || null;
}
