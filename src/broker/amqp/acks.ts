/** An acknowledgement to write: of one delivery tag, or of all up to it that are still unsettled. */
export interface Ack {
  readonly tag: number;
  readonly multiple: boolean;
}

/**
 * The fewest acknowledgements that settle exactly `tags`. `lowestOther` is the smallest tag of
 * this channel that is unsettled and not among them; tags below it may go as one. Pure.
 */
export function planAcks(tags: readonly number[], lowestOther: number | null): Ack[] {
  const limit = lowestOther ?? Number.POSITIVE_INFINITY;
  let highestTogether = 0;
  let together = 0;
  const single: Ack[] = [];
  for (const tag of tags) {
    if (tag >= limit) {
      single.push({ tag, multiple: false });
      continue;
    }
    together += 1;
    if (tag > highestTogether) highestTogether = tag;
  }
  if (together > 0) single.unshift({ tag: highestTogether, multiple: together > 1 });
  return single;
}
