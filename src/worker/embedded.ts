import { hostname as hostOfThisMachine } from "node:os";
import type { Tq } from "../app/app.ts";
import { nodename } from "../protocol/nodename.ts";
import type { WorkerOptions } from "./options.ts";
import type { Worker as WorkerNode } from "./worker.ts";

/**
 * A worker node in a program of one's own: `await new Worker(app, { concurrency: 4 }).run()`.
 *
 * What a worker is made of is loaded by `run`: a program that only queues work, and every child of a
 * worker, imports `tq` without it.
 */
export class Worker {
  readonly hostname: string;
  readonly #app: Tq;
  readonly #options: WorkerOptions;
  #node: WorkerNode | undefined;
  /** Told before there was a node to tell. */
  #ending: { readonly how: "warm" | "cold"; readonly exitCode: number } | undefined;

  constructor(app: Tq, options: WorkerOptions = {}) {
    this.#app = app;
    this.#options = options;
    this.hostname = nodename(options.hostname, hostOfThisMachine());
  }

  /**
   * Starts, works until told to stop (TERM, INT, QUIT, or `shutdown`), stops. Resolves to the code the
   * process should exit with; rejects when it cannot start, with what stands in its way.
   */
  async run(): Promise<number> {
    const { Worker: Node } = await import("./worker.ts");
    const node = new Node(this.#app, this.#options);
    this.#node = node;
    if (this.#ending) node.shutdown(this.#ending.how, this.#ending.exitCode);
    return node.run();
  }

  /** Tells it to stop: `warm` lets tasks finish, `cold` gives them back. */
  shutdown(how: "warm" | "cold" = "warm", exitCode = 0): void {
    if (this.#node) this.#node.shutdown(how, exitCode);
    else this.#ending = { how, exitCode };
  }

  /** Whether the process is to start again as it was started (HUP), once `run` has resolved. */
  get wantsRestart(): boolean {
    return this.#node?.wantsRestart ?? false;
  }
}
