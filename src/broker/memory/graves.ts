import type { Entry } from "./entry.ts";

/** An entry rejected without requeue, with why, when and by whom. */
export interface Dead {
  readonly id: string;
  readonly entry: Entry;
  readonly reason: string;
  readonly node: string;
  readonly at: Date;
}

/** Where rejected entries lie, newest first. */
export class Graves {
  #all: Dead[] = [];
  #serial = 0;

  get all(): readonly Dead[] {
    return this.#all;
  }

  /** `most` of 0 is no bound; the oldest make room. */
  /** `most` of 0 is no bound; the oldest make room. */
  bury(entry: Entry, reason: string, node: string, most: number): void {
    this.#serial += 1;
    this.#all.unshift({ id: String(this.#serial), entry, reason, node, at: new Date() });
    if (most > 0 && this.#all.length > most) this.#all.length = most;
  }

  /** Takes out all, or those named, and returns them oldest first. */
  exhume(ids?: readonly string[]): Dead[] {
    const wanted = ids && new Set(ids);
    const taken = this.#all.filter(({ id }) => wanted?.has(id) ?? true);
    this.#all = this.#all.filter((dead) => !taken.includes(dead));
    return taken.reverse();
  }
}
