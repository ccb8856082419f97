/** A binary heap: gives back what was put in, in the order of `before`. Equal items come in any order. */
export class Heap<T> {
  readonly #items: T[] = [];
  readonly #before: (a: T, b: T) => boolean;

  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  /** The first item, which stays; undefined when empty. */
  peek(): T | undefined {
    return this.#items[0];
  }

  push(item: T): void {
    this.#items.push(item);
    this.#up(this.#items.length - 1);
  }

  /** Takes the first item; undefined when empty. */
  pop(): T | undefined {
    const first = this.#items[0];
    const last = this.#items.pop();
    if (this.#items.length > 0) {
      this.#items[0] = last as T;
      this.#down(0);
    }
    return first;
  }

  /** Takes out this very item, wherever it is; false when it is not here. Linear in the size. */
  remove(item: T): boolean {
    const index = this.#items.indexOf(item);
    if (index < 0) return false;
    const last = this.#items.pop() as T;
    if (index < this.#items.length) {
      this.#items[index] = last;
      this.#up(index);
      this.#down(index);
    }
    return true;
  }

  /** Empties the heap and returns what was in it, unordered. */
  drain(): T[] {
    return this.#items.splice(0);
  }

  /** Unordered. */
  [Symbol.iterator](): IterableIterator<T> {
    return this.#items[Symbol.iterator]();
  }

  #up(index: number): void {
    const items = this.#items;
    let at = index;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(items[at] as T, items[parent] as T)) return;
      [items[at], items[parent]] = [items[parent] as T, items[at] as T];
      at = parent;
    }
  }

  #down(index: number): void {
    const items = this.#items;
    let at = index;
    for (;;) {
      const left = 2 * at + 1;
      const right = left + 1;
      let first = at;
      if (left < items.length && this.#before(items[left] as T, items[first] as T)) first = left;
      if (right < items.length && this.#before(items[right] as T, items[first] as T)) first = right;
      if (first === at) return;
      [items[at], items[first]] = [items[first] as T, items[at] as T];
      at = first;
    }
  }
}
