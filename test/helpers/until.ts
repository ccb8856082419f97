import { setTimeout as delay } from "node:timers/promises";

/** How `until` waits. */
export interface UntilOptions {
  /** Seconds before it gives up; 10 by default. */
  readonly timeout?: number;
  /** Seconds between two looks; 0.01 by default. */
  readonly interval?: number;
  /** What was awaited, for the error: "the worker to be ready". */
  readonly message?: string;
}

/** What is left of a type when it is not falsy. */
export type Truthy<T> = Exclude<T, undefined | null | false | 0 | "">;

/**
 * Looks again and again until `probe` gives a truthy value, and resolves with that value.
 *
 * A probe that throws counts as "not yet"; its last error becomes the cause of the final one.
 *
 * @throws Error when `timeout` seconds have passed without a truthy value.
 */
export async function until<T>(probe: () => T | Promise<T>, options: UntilOptions = {}): Promise<Truthy<T>> {
  const { timeout = 10, interval = 0.01, message = "the condition to hold" } = options;
  const deadline = performance.now() + timeout * 1000;
  let failure: unknown;
  for (;;) {
    try {
      const value = await probe();
      if (value) return value as Truthy<T>;
      failure = undefined;
    } catch (error) {
      failure = error;
    }
    if (performance.now() >= deadline) {
      throw new Error(`waited ${timeout} s for ${message}`, failure === undefined ? {} : { cause: failure });
    }
    await delay(interval * 1000);
  }
}
