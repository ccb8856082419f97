import { NotRegistered } from "../errors.ts";
import type { Task } from "./task.ts";

/** The tasks of one app, by name. */
export class TaskRegistry implements Iterable<Task> {
  readonly #tasks = new Map<string, Task>();

  /** Keeps the task already there when the name is taken, as Celery does, and returns the one kept. */
  register<T extends Task>(task: T): T {
    const known = this.#tasks.get(task.name);
    if (known) return known as T;
    this.#tasks.set(task.name, task);
    return task;
  }

  get(name: string): Task | undefined {
    return this.#tasks.get(name);
  }

  has(name: string): boolean {
    return this.#tasks.has(name);
  }

  /** Throws `NotRegistered`. */
  find(name: string): Task {
    const task = this.#tasks.get(name);
    if (!task) throw new NotRegistered(name);
    return task;
  }

  /** URL of the result store of this task's own; null where it has none, and for one that is not known. */
  storeOf(name: string): string | null {
    return this.#tasks.get(name)?.options.backend ?? null;
  }

  /** The URLs of all such stores. */
  stores(): ReadonlySet<string> {
    const urls = new Set<string>();
    for (const task of this) if (task.options.backend !== null) urls.add(task.options.backend);
    return urls;
  }

  get size(): number {
    return this.#tasks.size;
  }

  /** Sorted; Celery's own `celery.*` tasks only when asked for. */
  names(options: { readonly builtins?: boolean } = {}): string[] {
    const all = [...this.#tasks.keys()].sort();
    return options.builtins ? all : all.filter((name) => !name.startsWith("celery."));
  }

  [Symbol.iterator](): Iterator<Task> {
    return this.#tasks.values();
  }
}
