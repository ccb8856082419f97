import type { Request } from "./request.ts";

/** What a worker has in hand and has done: one object, handed to whoever shows or steers it. */
export class WorkerState {
  /** Waiting for a slot, or on its way to a child that has not begun it. */
  readonly reserved = new Set<Request>();
  readonly active = new Set<Request>();
  /** Due within the second: waiting here rather than in the broker. */
  readonly scheduled = new Set<Request>();
  /** Tasks accepted, by the name they are shown under. */
  readonly totals = new Map<string, number>();
  readonly startedAt = Date.now();
  processed = 0;

  /** All that is in hand. */
  *requests(): Iterable<Request> {
    yield* this.active;
    yield* this.reserved;
    yield* this.scheduled;
  }

  count(name: string): void {
    this.processed += 1;
    this.totals.set(name, (this.totals.get(name) ?? 0) + 1);
  }
}
