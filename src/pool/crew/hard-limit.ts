import { longestTimerMs } from "../../util/longest-timer.ts";

export interface HardLimitEvents {
  /** How long before the limit `onSoon` is called, when the limit is longer than that. */
  readonly warningMs: number;
  /** The task may have to be killed: time to make ready for it. */
  readonly onSoon: () => void;
  readonly onLimit: () => void;
}

/** The clock of one running task. A limit of more than 24 days counts as that many. */
export class HardLimit {
  #timer: NodeJS.Timeout;

  constructor(seconds: number, { warningMs, onSoon, onLimit }: HardLimitEvents) {
    const totalMs = Math.min(seconds * 1000, longestTimerMs);
    const quietMs = totalMs - warningMs;
    if (quietMs <= 0) this.#timer = setTimeout(onLimit, totalMs);
    else {
      this.#timer = setTimeout(() => {
        onSoon();
        this.#timer = setTimeout(onLimit, warningMs);
      }, quietMs);
    }
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}
