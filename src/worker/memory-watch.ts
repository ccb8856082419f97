import { residentMemory } from "../system/resident-memory.ts";

/** Milliseconds between two looks. */
const lookMs = 250;

/**
 * How much memory a process had when it was last seen: once it has died, nobody can say. Looks
 * only while something is watched, and only where looking costs nothing (`/proc`).
 */
export class MemoryWatch {
  readonly #seen = new Map<number, number>();
  #timer: NodeJS.Timeout | undefined;

  watch(pid: number): void {
    if (process.platform !== "linux" || pid === process.pid) return;
    this.#seen.set(pid, residentMemory(pid));
    this.#timer ??= setTimeout(this.#look, lookMs).unref();
  }

  /** Bytes; null when it was never seen. It is watched no more. */
  last(pid: number): number | null {
    const bytes = this.#seen.get(pid) ?? 0;
    this.#seen.delete(pid);
    return bytes > 0 ? bytes : null;
  }

  readonly #look = (): void => {
    this.#timer = undefined;
    for (const pid of this.#seen.keys()) {
      const bytes = residentMemory(pid);
      if (bytes > 0) this.#seen.set(pid, bytes);
    }
    if (this.#seen.size > 0) this.#timer = setTimeout(this.#look, lookMs).unref();
  };
}
