import { closeSync, openSync, readSync } from "node:fs";

/** One finished run of a task. */
export interface Run {
  readonly id: number;
  readonly host: string;
  readonly pid: number;
  /** Milliseconds since 1970. */
  readonly at: number;
}

/** Reads what the tasks write down, as it grows. */
export class Ledger implements Disposable {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(1 << 20);
  #offset = 0;
  #rest = "";
  /** How often each task has run. */
  readonly times = new Map<number, number>();
  readonly #watches = new Set<(run: Run) => void>();

  constructor(path: string) {
    this.#fd = openSync(path, "a+", 0o600);
  }

  /** Calls back for every run read from now on, until the function it returns is called. */
  watch(watcher: (run: Run) => void): () => void {
    this.#watches.add(watcher);
    return () => this.#watches.delete(watcher);
  }

  read(): void {
    for (;;) {
      const size = readSync(this.#fd, this.#chunk, 0, this.#chunk.length, this.#offset);
      if (size === 0) return;
      this.#offset += size;
      const lines = (this.#rest + this.#chunk.toString("latin1", 0, size)).split("\n");
      this.#rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
    }
  }

  #take(line: string): void {
    const [id, host, pid, at] = line.split(" ");
    const run: Run = { id: Number(id), host: host ?? "", pid: Number(pid), at: Number(at) };
    this.times.set(run.id, (this.times.get(run.id) ?? 0) + 1);
    for (const watcher of this.#watches) watcher(run);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}
