import type { Logger } from "../log.ts";

/** What a service may know of the worker it is part of, and ask of it. */
export interface ServiceHost {
  /** Node name. */
  readonly hostname: string;
  /** The worker's log. */
  readonly logger: Logger;
  /** What the worker has in hand now, and has begun since it started. */
  counts(): {
    readonly active: number;
    readonly reserved: number;
    readonly scheduled: number;
    readonly processed: number;
  };
  /** The pool as `inspect stats` shows it. */
  pool(): Readonly<Record<string, unknown>>;
  /** Tells the worker to stop. */
  shutdown(how?: "warm" | "cold", exitCode?: number): void;
}

/**
 * A part of a worker of the user's own: Celery's bootstep. Started with the worker, stopped with
 * it, in reverse order of the start. `after` and `before` name other services, the worker's own —
 * `connection`, `events`, `pool`, `consumer` and others — or the user's; without them it is started
 * last and stopped first. One that throws when it starts stops the worker with its error.
 */
export interface WorkerService {
  readonly name: string;
  readonly after?: string | readonly string[];
  readonly before?: string | readonly string[];
  start?(host: ServiceHost): void | Promise<void>;
  /** `signal` aborts when the worker is to end without waiting any longer. */
  stop?(signal: AbortSignal): void | Promise<void>;
}

/** The services of an app, for every worker of it. Children do not run them. */
export class WorkerServices {
  readonly #services: WorkerService[] = [];

  /** Before the worker starts. Returns the function that takes it out again. */
  add(service: WorkerService): () => void {
    this.#services.push(service);
    return () => {
      const at = this.#services.indexOf(service);
      if (at >= 0) this.#services.splice(at, 1);
    };
  }

  [Symbol.iterator](): Iterator<WorkerService> {
    return this.#services.values();
  }
}
