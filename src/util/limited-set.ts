export interface LimitedSetOptions {
  /** Most members kept; the oldest make room. 0 is no bound. */
  readonly maxSize: number;
  /** Seconds a member is kept; 0 is for ever. */
  readonly expires: number;
  /** Clock in seconds; members carry its readings. */
  readonly now: () => number;
}

/**
 * A set that cannot grow without bound: members go when they are too old, and the oldest when
 * there are too many. Every operation is constant on average.
 */
export class LimitedSet<T = string> {
  /** In order of insertion, which is order of age but for merged members. */
  readonly #added = new Map<T, number>();
  readonly #options: LimitedSetOptions;

  constructor(options: LimitedSetOptions) {
    this.#options = options;
  }

  get size(): number {
    this.purge();
    return this.#added.size;
  }

  /** Adds the member, or makes it young again. `at` is for members of another set with the same clock. */
  add(item: T, at: number = this.#options.now()): void {
    this.#added.delete(item);
    this.#added.set(item, at);
    this.purge();
  }

  has(item: T): boolean {
    const at = this.#added.get(item);
    return at !== undefined && !this.#expired(at, this.#options.now());
  }

  /** When the member was added; undefined when it is not one. */
  addedAt(item: T): number | undefined {
    return this.has(item) ? this.#added.get(item) : undefined;
  }

  delete(item: T): boolean {
    return this.#added.delete(item);
  }

  clear(): void {
    this.#added.clear();
  }

  /** Takes over members of another set, of each the younger reading. */
  merge(entries: Iterable<readonly [item: T, at: number]>): void {
    for (const [item, at] of entries) {
      const known = this.#added.get(item);
      if (known === undefined || at > known) this.add(item, at);
    }
  }

  /** Drops what is too old or too much. Called by every addition. */
  purge(): void {
    const { maxSize, now } = this.#options;
    const reading = now();
    for (const [item, at] of this.#added) {
      const tooMany = maxSize > 0 && this.#added.size > maxSize;
      if (!tooMany && !this.#expired(at, reading)) return;
      this.#added.delete(item);
    }
  }

  /** Members with the reading at which they came, oldest insertion first. */
  entries(): IterableIterator<[item: T, at: number]> {
    this.purge();
    return this.#added.entries();
  }

  [Symbol.iterator](): IterableIterator<T> {
    this.purge();
    return this.#added.keys();
  }

  #expired(at: number, reading: number): boolean {
    return this.#options.expires > 0 && at + this.#options.expires <= reading;
  }
}
