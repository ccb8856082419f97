import type { Tq } from "../app/app.ts";
import type { Beat as BeatProcess } from "./beat.ts";
import type { BeatOptions } from "./options.ts";

/**
 * The scheduler in a program of one's own: sends what is due until it is told to stop. Exactly one may
 * run. What it is made of is loaded by `run`, as with `Worker`.
 */
export class Beat {
  readonly #app: Tq;
  readonly #options: BeatOptions;
  #process: BeatProcess | undefined;
  #told = false;

  constructor(app: Tq, options: BeatOptions = {}) {
    this.#app = app;
    this.#options = options;
  }

  /** Runs until TERM or INT, or `shutdown`. Resolves to the exit code. */
  async run(): Promise<number> {
    const { Beat: Process } = await import("./beat.ts");
    this.#process = new Process(this.#app, this.#options);
    if (this.#told) this.#process.shutdown();
    return this.#process.run();
  }

  shutdown(): void {
    this.#told = true;
    this.#process?.shutdown();
  }
}
