export interface BackoffOptions {
  /** Attempts made so far: 0 waits `initial`. */
  readonly attempt: number;
  /** Seconds before the first retry. */
  readonly initial: number;
  /** Growth per attempt. Default 2. */
  readonly factor?: number;
  /** Most seconds ever waited. */
  readonly max: number;
  /** Share of the wait that is random, 0 to 1: 0.2 waits between 80 and 100 per cent. Default 0. */
  readonly jitter?: number;
  readonly random?: () => number;
}

/** Seconds to wait before the next attempt: exponential, bounded, spread so that many do not return at once. */
export function backoff({
  attempt,
  initial,
  factor = 2,
  max,
  jitter = 0,
  random = Math.random,
}: BackoffOptions): number {
  const full = Math.min(initial * factor ** Math.max(attempt, 0), max);
  return full * (1 - jitter * random());
}

export interface ExponentialBackoffOptions {
  /** Seconds of the first step. */
  readonly factor: number;
  /** Retries made so far. */
  readonly retries: number;
  /** Most seconds. */
  readonly maximum: number;
  /** Anything from no wait to the full step, each as likely. */
  readonly fullJitter: boolean;
  readonly random?: () => number;
}

/**
 * Whole seconds before a task's automatic retry, by the rule of Celery's `retry_backoff`:
 * `factor * 2 ** retries`, at most `maximum`, and with full jitter a random whole number up to that.
 */
export function exponentialBackoff(options: ExponentialBackoffOptions): number {
  const { factor, retries, maximum, fullJitter, random = Math.random } = options;
  const step = Math.min(maximum, factor * 2 ** retries);
  return Math.max(0, fullJitter ? Math.floor(random() * (step + 1)) : step);
}
