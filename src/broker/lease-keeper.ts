import { Worker } from "node:worker_threads";
import type { LeaseThreadBirth } from "./lease-watch.ts";
import type { BrokerLog } from "./options.ts";

export interface LeaseKeeperOptions<Birth extends object> {
  /** File the thread runs. */
  readonly program: string;
  /** What it is told at birth. Rejected by Node where it holds what cannot be handed to a thread, such as a function. */
  readonly birth: Birth;
  /** Seconds a lease is good for. */
  readonly lease: number;
  /** Seconds without a sign of life after which the lease is let go all the same. */
  readonly longest: number;
  readonly log: BrokerLog | undefined;
}

/** Milliseconds between two signs of life of the event loop where a lease is good for six seconds. */
const longestBeatMs = 500;
/** Beats in a lease: three without a sign of life are a quarter of it. */
const beatsInLease = 12;

/**
 * Keeps the lease of a process whose event loop is blocked: tasks that run in the worker's own
 * process may not yield for longer than a lease lasts, and their messages must not run elsewhere
 * meanwhile. A thread counts the signs of life of the event loop, and while there are none it
 * renews the lease over a connection of its own. It ends with the process, and the lease with it.
 */
export class LeaseKeeper {
  readonly #beats = new Int32Array(new SharedArrayBuffer(4));
  readonly #beatMs: number;
  readonly #thread: Worker;
  #beat: NodeJS.Timeout | undefined;

  private constructor({ program, birth, lease, longest, log }: LeaseKeeperOptions<object>) {
    this.#beatMs = Math.min(longestBeatMs, (lease * 1000) / beatsInLease);
    // Small: it loads what speaks to the broker when it is needed.
    this.#thread = new Worker(program, {
      workerData: { ...birth, beats: this.#beats, beatMs: this.#beatMs, longest } satisfies LeaseThreadBirth,
      name: "tq-lease",
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 },
    });
    this.#thread.on("error", (error) => warn(log, error));
    this.#thread.unref();
    this.#tellOfLife();
  }

  /** Undefined, with a warning, where there can be no thread. */
  static start<Birth extends object>(options: LeaseKeeperOptions<Birth>): LeaseKeeper | undefined {
    try {
      return new LeaseKeeper(options);
    } catch (error) {
      warn(options.log, error);
      return undefined;
    }
  }

  /** What the lease is of has changed. */
  tell(change: unknown): void {
    this.#thread.postMessage(change);
  }

  stop(): void {
    clearTimeout(this.#beat);
    void this.#thread.terminate();
  }

  #tellOfLife(): void {
    Atomics.add(this.#beats, 0, 1);
    this.#beat = setTimeout(() => this.#tellOfLife(), this.#beatMs);
    this.#beat.unref();
  }
}

const warn = (log: BrokerLog | undefined, error: unknown): void =>
  log?.warn({ err: error }, "messages of tasks that never yield may be delivered twice: their lease is not kept");
