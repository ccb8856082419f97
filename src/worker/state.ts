import type { Request } from "./request.ts";

/** Children whose tasks are counted: more than there are at once, so that only the dead are forgotten. */
const mostChildren = 4_096;

/** What a worker has in hand and has done: one object, handed to whoever shows or steers it. */
export class WorkerState {
  /** Waiting for a slot, or on its way to a child that has not begun it. */
  readonly reserved = new Set<Request>();
  readonly active = new Set<Request>();
  /** Due within the second: waiting here rather than in the broker. */
  readonly scheduled = new Set<Request>();
  /** Tasks accepted, by the name they are shown under. */
  readonly totals = new Map<string, number>();
  /** Limits of tasks that were changed while working (`time_limit`), by their names. Seconds; null is none. */
  readonly timeLimits = new Map<string, { readonly soft: number | null; readonly hard: number | null }>();
  /** Tasks accepted, by process; those of children long gone are forgotten. */
  readonly byChild = new Map<number, number>();
  readonly startedAt = Date.now();
  processed = 0;

  /** All that is in hand. */
  *requests(): Iterable<Request> {
    yield* this.active;
    yield* this.reserved;
    yield* this.scheduled;
  }

  /** A task of this name has begun in the process `pid`. */
  count(name: string, pid: number): void {
    this.processed += 1;
    this.totals.set(name, (this.totals.get(name) ?? 0) + 1);
    this.byChild.set(pid, (this.byChild.get(pid) ?? 0) + 1);
    if (this.byChild.size > mostChildren) this.byChild.delete(this.byChild.keys().next().value as number);
  }
}
