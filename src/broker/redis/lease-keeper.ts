import { Worker } from "node:worker_threads";
import { program } from "../../system/installation.ts";
import type { BrokerLog } from "../options.ts";
import { beatMs } from "./lease.ts";
import type { AddressOptions } from "./options.ts";

/** What the thread is told at birth. */
export interface LeaseThreadBirth {
  readonly url: string;
  readonly address: AddressOptions;
  readonly consumersKey: string;
  readonly consumerId: string;
  /** Counts the signs of life of the event loop. */
  readonly beats: Int32Array<SharedArrayBuffer>;
  /** Milliseconds between two of them. */
  readonly beatMs: number;
  /** Seconds without a sign of life after which the lease is let go all the same. */
  readonly longest: number;
}

/**
 * Keeps the lease of a process whose event loop is blocked: tasks that run in the worker's own
 * process may not yield for longer than a lease lasts, and their messages must not run elsewhere
 * meanwhile. A thread counts the signs of life of the event loop, and while there are none it
 * renews the lease over a connection of its own. It ends with the process, and the lease with it.
 */
export class LeaseKeeper {
  readonly #beats = new Int32Array(new SharedArrayBuffer(4));
  readonly #thread: Worker;
  #beat: NodeJS.Timeout | undefined;

  constructor(birth: Omit<LeaseThreadBirth, "beats" | "beatMs">, log: BrokerLog | undefined) {
    // Small: it loads the client for Redis when it is needed.
    this.#thread = new Worker(program("broker/redis/lease-thread"), {
      workerData: { ...birth, beats: this.#beats, beatMs } satisfies LeaseThreadBirth,
      name: "tq-lease",
      resourceLimits: { maxOldGenerationSizeMb: 64, maxYoungGenerationSizeMb: 4 },
    });
    this.#thread.on("error", (error) =>
      log?.warn({ err: error }, "messages of tasks that never yield may be delivered twice: their lease is not kept"),
    );
    this.#thread.unref();
    this.#tellOfLife();
  }

  /** The lease has another name now. */
  rename(consumerId: string): void {
    this.#thread.postMessage(consumerId);
  }

  stop(): void {
    clearTimeout(this.#beat);
    void this.#thread.terminate();
  }

  #tellOfLife(): void {
    Atomics.add(this.#beats, 0, 1);
    this.#beat = setTimeout(() => this.#tellOfLife(), beatMs);
    this.#beat.unref();
  }
}
