import type { Entry } from "./entry.ts";

/** The entries waiting in one queue: priority 0 first, each priority in its order. */
export class Line {
  readonly #lanes: Lane[] = Array.from({ length: 10 }, () => ({ entries: [], start: 0 }));
  #size = 0;

  get size(): number {
    return this.#size;
  }

  push(entry: Entry): void {
    this.#laneOf(entry).entries.push(entry);
    this.#size += 1;
  }

  unshift(entry: Entry): void {
    const lane = this.#laneOf(entry);
    if (lane.start > 0) {
      lane.start -= 1;
      lane.entries[lane.start] = entry;
    } else {
      lane.entries.unshift(entry);
    }
    this.#size += 1;
  }

  peek(): Entry | undefined {
    const lane = this.#lanes.find(({ entries, start }) => start < entries.length);
    return lane?.entries[lane.start];
  }

  shift(): Entry | undefined {
    if (this.#size === 0) return undefined;
    const lane = this.#lanes.find(({ entries, start }) => start < entries.length) as Lane;
    const entry = lane.entries[lane.start];
    lane.entries[lane.start] = undefined;
    lane.start += 1;
    this.#size -= 1;
    if (lane.start === lane.entries.length || lane.start === 10_000) {
      lane.entries.splice(0, lane.start);
      lane.start = 0;
    }
    return entry;
  }

  /** In the order in which they are taken. */
  *[Symbol.iterator](): Generator<Entry, void, undefined> {
    for (const { entries, start } of this.#lanes) {
      for (const entry of entries.slice(start)) if (entry !== undefined) yield entry;
    }
  }

  /** Empties the line and says how many were in it. */
  clear(): number {
    const size = this.#size;
    for (const lane of this.#lanes) {
      lane.entries.length = 0;
      lane.start = 0;
    }
    this.#size = 0;
    return size;
  }

  #laneOf(entry: Entry): Lane {
    return this.#lanes[entry.priority] as Lane;
  }
}

/** Taken from the front by moving `start`, so that taking one does not move all the others. */
interface Lane {
  readonly entries: (Entry | undefined)[];
  start: number;
}
