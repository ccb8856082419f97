import { backoff } from "../util/backoff.ts";

/** How often a node that ends by itself is started again. Durations are seconds. */
export interface RestartPolicy {
  /** Restarts in a row of a node that does not stay up. */
  readonly maxRestarts: number;
  /** Before the first restart; it doubles from one to the next. */
  readonly delay: number;
  readonly maxDelay: number;
  /** A node that was ready for so long is well: what went before does not count any more. */
  readonly stableAfter: number;
}

export type RestartDecision =
  /** `failures` counts this one. */
  | { readonly kind: "restart"; readonly failures: number; readonly delay: number }
  | { readonly kind: "give-up"; readonly failures: number };

/**
 * What to do about a node that has ended without being asked to: `failures` is how often it did so
 * before without being well in between, `readyFor` how long it was ready, null for not at all. Pure.
 */
export function afterExit(
  { failures, readyFor }: { readonly failures: number; readonly readyFor: number | null },
  policy: RestartPolicy,
  random: () => number = Math.random,
): RestartDecision {
  const count = readyFor !== null && readyFor >= policy.stableAfter ? 1 : failures + 1;
  if (count > policy.maxRestarts) return { kind: "give-up", failures: count };
  const delay = backoff({ attempt: count - 1, initial: policy.delay, max: policy.maxDelay, jitter: 0.2, random });
  return { kind: "restart", failures: count, delay };
}
