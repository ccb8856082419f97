import type { Logger } from "../log.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { coldMessage, onSignal, type ShutdownPhase, type ShutdownPolicy, type StopSignal } from "./shutdown.ts";

/** A step down, as it is told to whoever listens. */
export interface Descent {
  /** What was asked for by signal; null when it was not a signal that asked. */
  readonly sig: StopSignal | null;
  readonly how: "Warm" | "Soft" | "Cold";
  readonly exitCode: number;
}

export interface LadderOptions {
  /** TERM means what QUIT means. */
  readonly remapTerm: boolean;
  /** Seconds of the soft shutdown before a cold one; 0 is none. */
  readonly softTimeout: number;
  /** A soft shutdown waits out its seconds also when nothing runs. */
  readonly softOnIdle: boolean;
  /** Seconds a warm shutdown may take before it turns cold; null is no bound. */
  readonly grace: number | null;
  readonly logger: Logger;
  /** Whether a task runs. */
  readonly busy: () => boolean;
  /** Told of each step, once. */
  readonly onStep: (descent: Descent) => void;
  /** Text for the terminal. */
  readonly say: (message: string) => void;
  /** Ends the process here and now. */
  readonly exit: (exitCode: number) => void;
}

const how = { warm: "Warm", soft: "Soft", cold: "Cold" } as const;

/**
 * Takes a worker down, by signals, by command or by the clock, and only ever down: running, warm,
 * soft, cold, gone. Holds the timers that turn a soft shutdown, or a warm one whose grace is over,
 * into a cold one.
 */
export class Ladder implements Disposable {
  readonly #options: LadderOptions;
  readonly #stopping = new AbortController();
  readonly #cold = new AbortController();
  #phase: ShutdownPhase = "running";
  #exitCode = 0;
  #graceTimer: NodeJS.Timeout | undefined;
  #softTimer: NodeJS.Timeout | undefined;

  constructor(options: LadderOptions) {
    this.#options = options;
  }

  get phase(): ShutdownPhase {
    return this.#phase;
  }

  /** Code the process is to exit with. */
  get exitCode(): number {
    return this.#exitCode;
  }

  /** Aborts with the first step down. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Aborts when nothing is waited for any more. */
  get cold(): AbortSignal {
    return this.#cold.signal;
  }

  /** A signal came. */
  signal(sig: StopSignal): void {
    const step = onSignal(this.#phase, sig, this.#exitCode, this.#policy());
    if (step.message !== null) this.#options.say(step.message);
    if (step.phase === "now") {
      this.#phase = "now";
      this.#options.exit(step.exitCode);
      return;
    }
    this.#exitCode = step.exitCode;
    if (step.phase !== this.#phase) this.#enter(step.phase, sig);
  }

  /** Goes down without a signal. What is further down already stays there; the worse exit code counts. */
  shutdown(to: "warm" | "cold", exitCode: number): void {
    this.#exitCode = Math.max(this.#exitCode, exitCode);
    if (rank(to) > rank(this.#phase)) this.#enter(to, null);
  }

  /** Resolves at once, but in a soft shutdown that waits also for nothing only when it is over. */
  held(): Promise<void> {
    if (this.#phase !== "soft" || !this.#options.softOnIdle) return Promise.resolve();
    return new Promise((resolve) => {
      this.#cold.signal.addEventListener("abort", () => resolve(), { once: true });
    });
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#graceTimer);
    clearTimeout(this.#softTimer);
  }

  #policy(): ShutdownPolicy {
    const { remapTerm, softTimeout, softOnIdle, busy } = this.#options;
    return { remapTerm, soft: softTimeout > 0 && (softOnIdle || busy()) };
  }

  #enter(phase: ShutdownPhase, sig: StopSignal | null): void {
    if (phase !== "warm" && phase !== "soft" && phase !== "cold") return;
    this.#phase = phase;
    this.#startClocks(phase);
    this.#stopping.abort();
    this.#options.onStep({ sig, how: how[phase], exitCode: this.#exitCode });
    if (phase === "cold") this.#cold.abort();
  }

  #startClocks(phase: "warm" | "soft" | "cold"): void {
    const { grace, softTimeout, logger } = this.#options;
    if (phase === "cold") this[Symbol.dispose]();
    if (phase === "warm" && grace !== null) {
      this.#graceTimer = setTimeout(() => {
        logger.warn("The grace period of %s seconds is over: tasks that still run are given back or ended", grace);
        this.#turnCold();
      }, atMost(grace));
    }
    if (phase === "soft") {
      logger.warn("Initiating Soft Shutdown, terminating in %s seconds", softTimeout);
      this.#softTimer = setTimeout(() => this.#turnCold(), atMost(softTimeout));
    }
  }

  #turnCold(): void {
    this.#options.say(coldMessage);
    this.shutdown("cold", this.#exitCode);
  }
}

const order: readonly ShutdownPhase[] = ["running", "warm", "soft", "cold", "now"];
const rank = (phase: ShutdownPhase): number => order.indexOf(phase);
const atMost = (seconds: number): number => Math.min(seconds * 1000, longestTimerMs);
