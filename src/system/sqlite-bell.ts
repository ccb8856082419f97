import { closeSync, constants, type FSWatcher, fstatSync, ftruncateSync, openSync, watch, writeSync } from "node:fs";

/**
 * Milliseconds between two strokes that other processes hear: what is rung in between is heard
 * after them as one. Whoever publishes or stores one thing after the other is heard each time.
 */
const strokeEveryMs = 0.5;
/** Milliseconds after which what was rung too soon after a stroke is heard. */
const strokeSoonMs = 2;
/** Bytes after which the file of a bell begins anew. */
const largest = 4096;

/**
 * A file that is written to when there is news in the database, and watched by whoever waits
 * for it: wakes a sleeping process within a millisecond and costs nothing while nobody rings.
 * Where the system does not tell of changes, or can watch no more files, a look at the
 * database's own counter every `pollMs` milliseconds takes its place.
 */
export class Bell {
  readonly #path: string;
  readonly #pollMs: number;
  readonly #version: () => number;
  readonly #listeners = new Set<() => void>();
  #file: number | undefined;
  #size = 0;
  #watcher: FSWatcher | undefined;
  #timer: NodeJS.Timeout | undefined;
  #seen = 0;
  #lastStroke = Number.NEGATIVE_INFINITY;
  #nextStroke: NodeJS.Timeout | undefined;

  constructor(path: string, pollMs: number, version: () => number) {
    this.#path = path;
    this.#pollMs = pollMs;
    this.#version = version;
  }

  /** Wakes the listeners here and in other processes. Never throws: the poll would wake them too. */
  ring(): void {
    this.#wake();
    if (this.#nextStroke) return;
    if (performance.now() - this.#lastStroke >= strokeEveryMs) this.#strike();
    else this.#nextStroke = setTimeout(() => this.#strike(), strokeSoonMs);
  }

  #strike(): void {
    clearTimeout(this.#nextStroke);
    this.#nextStroke = undefined;
    this.#lastStroke = performance.now();
    try {
      this.#file ??= this.#open();
      if (this.#size >= largest) {
        ftruncateSync(this.#file, 0);
        this.#size = 0;
      }
      this.#size += writeSync(this.#file, "!");
    } catch {
      this.#closeFile();
    }
  }

  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    if (this.#listeners.size === 1) this.#start();
    return () => {
      this.#listeners.delete(listener);
      if (this.#listeners.size === 0) this.#stop();
    };
  }

  close(): void {
    this.#listeners.clear();
    this.#stop();
    if (this.#nextStroke) this.#strike();
    this.#closeFile();
  }

  #start(): void {
    this.#seen = this.#version();
    this.#poll();
    try {
      this.#file ??= this.#open();
      this.#watcher = watch(this.#path, () => this.#wake());
      this.#watcher.on("error", () => this.#unwatch());
    } catch {
      this.#unwatch();
    }
  }

  #stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#unwatch();
  }

  #poll(): void {
    const timer = setTimeout(() => {
      const version = this.#version();
      if (version !== this.#seen) this.#wake();
      // Whoever was woken may have stopped listening, or begun anew.
      if (this.#timer !== timer) return;
      this.#seen = version;
      this.#poll();
    }, this.#pollMs);
    this.#timer = timer;
  }

  #wake(): void {
    for (const listener of this.#listeners) listener();
  }

  #open(): number {
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
    const file = openSync(this.#path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW, 0o600);
    this.#size = fstatSync(file).size;
    return file;
  }

  #unwatch(): void {
    this.#watcher?.close();
    this.#watcher = undefined;
  }

  #closeFile(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }
}
