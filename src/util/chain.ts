/** A member's place in a `Chain`, by which it is taken out. */
export interface Place<Value> {
  readonly value: Value;
}

interface Link<Value> extends Place<Value> {
  before: Link<Value> | undefined;
  after: Link<Value> | undefined;
}

/**
 * Members in the order they came, each taken out in one step by its place. For what comes and goes by
 * the hundred thousand in an object that lives long: there a `Set` or a `Map` costs memory. The engine
 * makes its table anew every few members, and each table keeps the next, so that after the first has
 * grown old none is collected before a full collection, which may be tens of MiB away.
 */
export class Chain<Value> implements Iterable<Value> {
  #first: Link<Value> | undefined;
  #last: Link<Value> | undefined;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The one that came before all others still in it. */
  get first(): Value | undefined {
    return this.#first?.value;
  }

  add(value: Value): Place<Value> {
    const link: Link<Value> = { value, before: this.#last, after: undefined };
    if (this.#last === undefined) this.#first = link;
    else this.#last.after = link;
    this.#last = link;
    this.#size += 1;
    return link;
  }

  /** Takes out the member at a place of this chain; false when it was taken out before. */
  remove(place: Place<Value>): boolean {
    const link = place as Link<Value>;
    const { before, after } = link;
    if (before === undefined && this.#first !== link) return false;
    if (before === undefined) this.#first = after;
    else before.after = after;
    if (after === undefined) this.#last = before;
    else after.before = before;
    // An old link must not keep younger ones.
    link.before = undefined;
    link.after = undefined;
    this.#size -= 1;
    return true;
  }

  clear(): void {
    while (this.#first !== undefined) this.remove(this.#first);
  }

  /** Those that are in it now, whatever is taken out meanwhile. */
  [Symbol.iterator](): Iterator<Value> {
    const values: Value[] = [];
    for (let link = this.#first; link !== undefined; link = link.after) values.push(link.value);
    return values[Symbol.iterator]();
  }
}
