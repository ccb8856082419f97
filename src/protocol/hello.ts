/** What workers tell each other when one of them starts (protocol 11.2). */

/** Revoked ids on the wire: `{id: [monotonic seconds, id]}`. */
export type WireRevoked = Readonly<Record<string, readonly [at: number, id: string]>>;

/** A revoked id and when it was revoked, in seconds since 1970. */
export type Revoked = readonly [id: string, at: number];

/** Two readings of the same moment, in seconds: by the calendar, and since the machine was started. */
export interface Clocks {
  readonly now: number;
  readonly monotonic: number;
}

/** Readings below this are no dates: a machine would have to run for thirty years. */
const firstDate = 1_000_000_000;

/**
 * Revoked ids as Python's workers keep them: by a clock that all processes of a machine share.
 * A whole number would stop them, so that each time gets a fraction (trap 12).
 */
export function writeRevoked(revoked: Iterable<Revoked>, { now, monotonic }: Clocks): WireRevoked {
  const wire: Record<string, readonly [number, string]> = {};
  for (const [id, at] of revoked) {
    const reading = monotonic - (now - at);
    wire[id] = [Number.isInteger(reading) ? reading + 1e-6 : reading, id];
  }
  return wire;
}

/**
 * Revoked ids as any worker tells them; also `{id: seconds}`, as Celery takes it. What is none of
 * them is left out. A neighbour tells only what it still remembers: a reading that is ahead of ours,
 * or that would be older than `expires` seconds, is of a machine that was started at another time,
 * and counts as now. A revoke is rather remembered too long than not at all.
 */
export function readRevoked(wire: unknown, { now, monotonic }: Clocks, expires: number): Revoked[] {
  if (typeof wire !== "object" || wire === null) return [];
  return Object.entries(wire).flatMap(([id, value]): Revoked[] => {
    const at: unknown = Array.isArray(value) ? value[0] : value;
    if (typeof at !== "number" || !Number.isFinite(at)) return [];
    const date = at > firstDate ? at : now - (monotonic - at);
    return [[id, date <= now && date >= now - expires ? date : now]];
  });
}
