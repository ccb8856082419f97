import type { Logger } from "../log.ts";
import type { Pool } from "../pool/pool.ts";
import type { Service } from "../util/service.ts";

/** What an autoscaled pool's width is decided by. */
export interface AutoscaleFacts {
  /** Requests received and not ended. */
  readonly load: number;
  /** Children there are now. */
  readonly width: number;
  /** Tasks each child runs at once. */
  readonly slots: number;
  readonly min: number;
  readonly max: number;
  /** Seconds since it has grown; infinity when it never has. */
  readonly sinceGrown: number;
  /** Seconds the pool keeps its size after it has grown before it may shrink. */
  readonly keepalive: number;
}

/** The number of children wanted; what lies beyond the bounds is cut to them. */
export type AutoscaleRule = (facts: AutoscaleFacts) => number;

/** As many children as there is work for; fewer only when there has been less for a while (inventory G75). */
export const byLoad: AutoscaleRule = ({ load, width, slots, min, max, sinceGrown, keepalive }) => {
  const needed = Math.ceil(load / slots);
  if (needed > width) return Math.min(needed, max);
  return sinceGrown > keepalive ? Math.max(needed, min) : width;
};

export interface AutoscalerParts {
  readonly pool: Pool;
  /** Tasks each child runs at once. */
  readonly slots: number;
  readonly max: number;
  readonly min: number;
  /** Seconds the pool keeps its size after it has grown before it may shrink. */
  readonly keepalive: number;
  /** The rule; `byLoad` by default. */
  readonly decide?: AutoscaleRule;
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
  #grownAt = Number.NEGATIVE_INFINITY;
  #complaint = "";
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
    const { width } = this.#parts.pool;
    const wanted = Math.min(this.#max, Math.max(this.#min, this.#wanted()));
    if (wanted > width) this.#grow(wanted - width);
    else if (wanted < width) this.#shrink(width - wanted);
  }

  /** A rule of the user's that fails leaves the pool as it is, and is complained of once. */
  #wanted(): number {
    const { pool, slots, load, keepalive, decide = byLoad, logger } = this.#parts;
    const { width } = pool;
    const sinceGrown = (performance.now() - this.#grownAt) / 1000;
    try {
      const wanted = decide({ load: load(), width, slots, min: this.#min, max: this.#max, sinceGrown, keepalive });
      if (Number.isInteger(wanted)) return wanted;
      throw new TypeError(`workerAutoscaler must return a whole number of children, returned: ${String(wanted)}`);
    } catch (error) {
      const complaint = String(error);
      if (complaint !== this.#complaint) logger.error({ err: error }, "the pool keeps its size");
      this.#complaint = complaint;
      return width;
    }
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
