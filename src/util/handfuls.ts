/** What one step carries at most. */
export interface HandfulLimits<Item> {
  readonly count: number;
  /** The sum of the sizes; one item alone may be larger. */
  readonly size: number;
  readonly sizeOf: (item: Item) => number;
}

/** How many of the first items go into one step. */
export function handful<Item>(items: readonly Item[], limits: HandfulLimits<Item>): number {
  const { count, size, sizeOf } = limits;
  let sum = 0;
  let taken = 0;
  for (const item of items) {
    sum += sizeOf(item);
    if (taken > 0 && (taken >= count || sum > size)) break;
    taken += 1;
  }
  return taken;
}
