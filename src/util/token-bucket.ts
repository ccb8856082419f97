export interface TokenBucketOptions {
  /** Tokens added per second. */
  readonly rate: number;
  /** Most tokens held at once; 1 spreads use evenly. Default 1. */
  readonly capacity?: number;
  /** Clock in seconds that never goes back. */
  readonly now: () => number;
}

/** Allows `rate` uses per second, bursts of `capacity`. Starts full. */
export class TokenBucket {
  readonly rate: number;
  readonly capacity: number;
  readonly #now: () => number;
  #tokens: number;
  #at: number;

  constructor({ rate, capacity = 1, now }: TokenBucketOptions) {
    this.rate = rate;
    this.capacity = capacity;
    this.#now = now;
    this.#tokens = capacity;
    this.#at = now();
  }

  /** Takes the tokens if they are there; otherwise takes none and returns false. */
  take(tokens = 1): boolean {
    const held = this.#refill();
    if (held < tokens) return false;
    this.#tokens = held - tokens;
    return true;
  }

  /** Seconds until `take` will succeed: 0 when it would now, Infinity when it never will. */
  secondsUntil(tokens = 1): number {
    const missing = tokens - this.#refill();
    if (missing <= 0) return 0;
    return tokens > this.capacity || this.rate <= 0 ? Number.POSITIVE_INFINITY : missing / this.rate;
  }

  #refill(): number {
    const now = this.#now();
    const gained = Math.max(now - this.#at, 0) * this.rate;
    this.#at = now;
    // Floating point may leave a hair less than a whole token after exactly the promised wait.
    const held = Math.min(this.capacity, this.#tokens + gained);
    const whole = Math.round(held);
    this.#tokens = Math.abs(held - whole) < 1e-9 ? whole : held;
    return this.#tokens;
  }
}
