import { setTimeout as sleep } from "node:timers/promises";
import { type Logger, silentLogger } from "../log.ts";
import { rateOf } from "../util/rate.ts";
import { TokenBucket } from "../util/token-bucket.ts";
import type { State } from "./state.ts";

export interface PolaroidOptions {
  readonly state: State;
  /** Seconds between two pictures; default 1. */
  readonly freq?: number;
  /** Most pictures, as `10/m`; default no bound. */
  readonly maxrate?: string | number | null;
  /** Seconds between two calls of `onCleanup`; default an hour. */
  readonly cleanupFreq?: number;
  readonly logger?: Logger;
}

/**
 * Takes pictures of a cluster's state at intervals: extend it, and do in `onShutter` what is to be
 * done with them. For `tq events --camera` and programs of one's own (inventory K22).
 */
export class Polaroid {
  /** Set it to forget finished tasks after each picture. */
  clearAfter = false;
  readonly state: State;
  readonly freq: number;
  readonly #cleanupFreq: number;
  readonly #logger: Logger;
  readonly #bucket: TokenBucket | null;
  readonly #stopping = new AbortController();
  #running: Promise<unknown> | undefined;

  constructor({ state, freq = 1, maxrate = null, cleanupFreq = 3_600, logger = silentLogger }: PolaroidOptions) {
    this.state = state;
    this.freq = freq;
    this.#cleanupFreq = cleanupFreq;
    this.#logger = logger;
    const rate = rateOf(maxrate);
    this.#bucket = rate === null ? null : new TokenBucket({ rate, now: () => performance.now() / 1000 });
  }

  /** One picture. What it reads before its first `await` is of one moment; the next one waits for it. */
  onShutter(_state: State): void | Promise<void> {}

  onCleanup(): void | Promise<void> {}

  /** Begins: every `freq` seconds a picture, until `cancel`. */
  install(): void {
    this.#running ??= Promise.all([
      this.#every(this.freq, () => this.capture()),
      this.#every(this.#cleanupFreq, () => this.onCleanup()),
    ]);
  }

  /** Takes a picture now, if the rate allows it. */
  async capture(): Promise<void> {
    if (this.#bucket !== null && !this.#bucket.take()) return;
    const taken = this.state.freezeWhile(() => this.onShutter(this.state), { clearAfter: this.clearAfter });
    await taken;
  }

  /** Ends, with one last picture of what has come since. */
  async cancel(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    await this.#running;
    await this.#guarded(() => this.capture());
  }

  async #every(seconds: number, work: () => void | Promise<void>): Promise<void> {
    const { signal } = this.#stopping;
    while (!signal.aborted) {
      await sleep(seconds * 1000, undefined, { signal }).catch(() => undefined);
      if (!signal.aborted) await this.#guarded(work);
    }
  }

  /** A picture that fails is no reason not to take the next one. */
  async #guarded(work: () => void | Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#logger.error({ err: error as Error }, "the camera failed");
    }
  }
}
