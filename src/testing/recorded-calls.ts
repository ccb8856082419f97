import type { Tq } from "../app/app.ts";

/** A call that was sent. */
export interface RecordedCall {
  readonly task: string;
  readonly id: string;
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly queue: string;
  /** ISO 8601; null for a call that need not wait. */
  readonly eta: string | null;
}

/** What an app sends from now on: `using calls = recordCalls(app)`. */
export function recordCalls(app: Tq): RecordedCalls {
  return new RecordedCalls(app);
}

export class RecordedCalls implements Disposable, Iterable<RecordedCall> {
  readonly #calls: RecordedCall[] = [];
  readonly #stop: () => void;

  constructor(app: Tq) {
    this.#stop = app.signals.connect("afterTaskPublish", ({ headers, args, kwargs, exchange, routingKey }) => {
      const queue = exchange === "" ? routingKey : exchange;
      this.#calls.push({ task: headers.task, id: headers.id, args, kwargs, queue, eta: headers.eta });
    });
  }

  /** In the order in which they were sent; only those of one task, if named. */
  all(task?: string): readonly RecordedCall[] {
    return task === undefined ? [...this.#calls] : this.#calls.filter((call) => call.task === task);
  }

  clear(): void {
    this.#calls.length = 0;
  }

  [Symbol.iterator](): Iterator<RecordedCall> {
    return this.all()[Symbol.iterator]();
  }

  [Symbol.dispose](): void {
    this.#stop();
  }
}
