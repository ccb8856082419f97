import { setTimeout as sleep } from "node:timers/promises";

/** What a `LeaseKeeper` tells its thread at birth, besides what the broker needs. */
export interface LeaseThreadBirth {
  /** Counts the signs of life of the event loop. */
  readonly beats: Int32Array<SharedArrayBuffer>;
  /** Milliseconds between two of them. */
  readonly beatMs: number;
  /** Seconds without a sign of life after which the lease is let go all the same. */
  readonly longest: number;
}

/** Looks in a row without a sign of life after which the event loop counts as blocked. */
const blockedAfter = 3;

/**
 * What the thread of a `LeaseKeeper` does for as long as it lives: renews the lease, again and again,
 * while the event loop of its process is blocked, and lets go of the connection when it is not.
 */
export async function watchLease(
  { beats, beatMs, longest }: LeaseThreadBirth,
  connection: { readonly renew: () => Promise<void>; readonly drop: () => Promise<void> | void },
): Promise<never> {
  let seen = -1;
  let silent = 0;
  for (;;) {
    await sleep(beatMs);
    const beat = Atomics.load(beats, 0);
    silent = beat === seen ? silent + 1 : 0;
    seen = beat;
    const isBlocked = silent >= blockedAfter && (silent * beatMs) / 1000 < longest;
    if (isBlocked)
      await connection.renew().catch(() => connection.drop()); // the next look tries again
    else await connection.drop();
  }
}
