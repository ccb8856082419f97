import type { Logger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import type { Service } from "../util/service.ts";

export interface AutoscalerParts {
  readonly pool: Pool;
  /** Tasks each child runs at once. */
  readonly slots: number;
  readonly max: number;
  readonly min: number;
  /** Seconds the pool keeps its size after it has grown before it may shrink. */
  readonly keepalive: number;
  /** Requests received and not ended. */
  readonly load: () => number;
  /** The pool has grown: what waits may begin. */
  readonly onGrown: () => void;
  /** `max` has changed, and with it how much is fetched. */
  readonly onMax: () => void;
  readonly logger: Logger;
}

/** How often it looks at the load by itself; it is also told of every request. */
const lookMs = 1_000;

/**
 * Grows the pool with what is to be done and shrinks it when there has been less for a while,
 * between two bounds (inventory G75 to G77).
 */
export class Autoscaler implements Service {
  readonly name = "autoscaler";
  readonly #parts: AutoscalerParts;
  #max: number;
  #min: number;
  #grownAt = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(parts: AutoscalerParts) {
    this.#parts = parts;
    this.#max = parts.max;
    this.#min = parts.min;
  }

  get max(): number {
    return this.#max;
  }

  get min(): number {
    return this.#min;
  }

  async start(): Promise<void> {
    this.#timer = setInterval(() => this.look(), lookMs);
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** Compares what there is to do with who is there to do it. */
  look(): void {
    if (this.#timer === undefined) return;
    const { pool, slots, load, keepalive } = this.#parts;
    const wanted = Math.ceil(load() / slots);
    const up = Math.min(wanted, this.#max);
    if (up > pool.width) return this.#grow(up - pool.width);
    const down = Math.max(wanted, this.#min);
    if (down < pool.width && performance.now() - this.#grownAt > keepalive * 1000) this.#shrink(pool.width - down);
  }

  /** New bounds, kept at once; returns those in force. */
  update(max: number | null, min: number | null): { readonly max: number; readonly min: number } {
    const { pool, onMax } = this.#parts;
    if (max !== null) {
      this.#max = max;
      if (max < pool.width) this.#shrink(pool.width - max);
      onMax();
    }
    if (min !== null) {
      this.#min = min;
      if (min > pool.width) this.#grow(min - pool.width);
    }
    return { max: this.#max, min: this.#min };
  }

  /** As `inspect stats` shows it. */
  info(): { readonly max: number; readonly min: number; readonly current: number; readonly qty: number } {
    const { pool, load } = this.#parts;
    return { max: this.#max, min: this.#min, current: pool.width, qty: load() };
  }

  #grow(count: number): void {
    const { pool, logger, onGrown } = this.#parts;
    logger.info("Scaling up %d processes.", count);
    this.#grownAt = performance.now();
    void pool.resize(pool.width + count).then(onGrown);
  }

  #shrink(count: number): void {
    const { pool, logger } = this.#parts;
    logger.info("Scaling down %d processes.", count);
    void pool.resize(pool.width - count);
  }
}
