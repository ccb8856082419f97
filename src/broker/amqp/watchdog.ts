/** Milliseconds between two looks at whether messages wait that do not come. */
const lookMs = 800;
/** Looks in a row that must find the same before the flow is given up. */
const looksUntilBroken = 3;

/** What the watchdog is shown of a flow. */
export interface Watched {
  /** Messages that arrived so far. */
  readonly arrivals: number;
  /** Whether there is room for a message and the flow is on. */
  readonly hungry: boolean;
  /** Queues to look into. */
  readonly queues: readonly string[];
  /** Messages ready in a queue. A rejection says nothing of the flow. */
  ready(queue: string): Promise<number>;
}

/**
 * Watches actual consumption: a consumer with room is given a ready message at once, so finding
 * some again and again, with room and nothing arriving, means that the flow is broken, whatever
 * the connection says of itself. Calls `onBroken` then, once, and stops.
 */
export class Watchdog {
  readonly #flow: Watched;
  readonly #onBroken: () => void;
  #timer: NodeJS.Timeout | null = null;
  #stopped = false;

  constructor(flow: Watched, onBroken: () => void) {
    this.#flow = flow;
    this.#onBroken = onBroken;
    this.#schedule(0);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer ?? undefined);
  }

  #schedule(suspicions: number): void {
    if (this.#stopped) return;
    const { arrivals } = this.#flow;
    this.#timer = setTimeout(() => {
      this.#isStarving(arrivals).then(
        (starving) => {
          if (starving && suspicions + 1 >= looksUntilBroken) this.#broken();
          else this.#schedule(starving ? suspicions + 1 : 0);
        },
        () => this.#schedule(0),
      );
    }, lookMs).unref();
  }

  #broken(): void {
    if (this.#stopped) return;
    this.stop();
    this.#onBroken();
  }

  async #isStarving(arrivalsBefore: number): Promise<boolean> {
    const isIdle = (): boolean => !this.#stopped && this.#flow.hungry && this.#flow.arrivals === arrivalsBefore;
    for (const queue of this.#flow.queues) {
      if (!isIdle()) return false;
      if ((await this.#flow.ready(queue)) > 0 && isIdle()) return true;
    }
    return false;
  }
}
