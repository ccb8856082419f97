import { OperationalError } from "../errors.ts";
import type { Database, Statement } from "./sqlite-database.ts";

interface Job {
  readonly work: () => unknown;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * How much hurry there is. `now`: in this tick's transaction. `soon`: within two milliseconds, so
 * that a busy process writes much at once; whatever is written meanwhile takes it along. `along`: with
 * what is to be written soon, and now when there is no such thing.
 */
export type Pace = "now" | "soon" | "along";

/** Milliseconds after which what is to be written soon is written. */
const soonMs = 2;
/** Milliseconds one transaction may take before what is left goes into the next, so that the loop stays live. */
const budgetMs = 5;
/** Milliseconds a locked file is tried for. */
const patienceMs = 30_000;
/** Milliseconds, at most, between two tries: chance decides who comes first. */
const jitterMs = 8;

/**
 * The transactions of one connection, one after another. What is asked for in one tick is done
 * in one transaction, because a transaction costs ten times what a statement does. Never blocks
 * the thread to wait for another process: SQLite's own waiting would, for up to a second.
 */
export class Transactions {
  readonly #database: Database;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #onCommit: () => void;
  #jobs: Job[] = [];
  #running = false;
  /** Runs while all that is to be written has time. */
  #soon: NodeJS.Timeout | undefined;
  #lockedSince: number | undefined;
  #onIdle: (() => void)[] = [];

  constructor(database: Database, onCommit: () => void) {
    this.#database = database;
    this.#begin = database.prepare("BEGIN IMMEDIATE");
    this.#commit = database.prepare("COMMIT");
    this.#onCommit = onCommit;
  }

  write<Value>(work: () => Value, pace: Pace = "now"): Promise<Value> {
    return new Promise<Value>((resolve, reject) => {
      this.#jobs.push({ work, resolve: resolve as (value: unknown) => void, reject });
      if (this.#running) return;
      if (pace === "soon") this.#soon ??= setTimeout(() => this.#hurry(), soonMs);
      else if (pace === "now" || this.#soon === undefined) this.#hurry();
    });
  }

  async read<Value>(work: () => Value): Promise<Value> {
    const began = performance.now();
    for (;;) {
      try {
        return work();
      } catch (error) {
        if (!isLocked(error) || performance.now() - began > patienceMs) throw asOperational(error);
      }
      await new Promise((resolve) => setTimeout(resolve, Math.random() * jitterMs));
    }
  }

  /** Resolves when nothing is left to be written. */
  idle(): Promise<void> {
    if (this.#soon) this.#hurry();
    if (!this.#running) return Promise.resolve();
    return new Promise((resolve) => this.#onIdle.push(resolve));
  }

  /** In this tick, then, with all that has time. */
  #hurry(): void {
    clearTimeout(this.#soon);
    this.#soon = undefined;
    this.#running = true;
    setImmediate(() => this.#run());
  }

  #run(): void {
    const outcome = this.#transact(this.#jobs, budgetMs);
    if (outcome === "locked") {
      this.#lockedSince ??= performance.now();
      if (performance.now() - this.#lockedSince < patienceMs) {
        setTimeout(() => this.#run(), Math.random() * jitterMs);
        return;
      }
      const error = new OperationalError(`the database has been locked for ${patienceMs / 1000} s by another process`);
      for (const job of this.#jobs.splice(0)) job.reject(error);
    }
    this.#lockedSince = undefined;
    if (this.#jobs.length > 0) {
      setImmediate(() => this.#run());
      return;
    }
    this.#running = false;
    for (const resolve of this.#onIdle.splice(0)) resolve();
  }

  /** Does the first of the jobs, as many as fit into the time, and takes them out; none when the file is locked. */
  #transact(jobs: Job[], budget: number): "done" | "locked" {
    const values: unknown[] = [];
    const began = performance.now();
    try {
      this.#begin.run();
    } catch (error) {
      if (isLocked(error)) return "locked";
      for (const job of jobs.splice(0)) job.reject(asOperational(error));
      return "done";
    }
    try {
      for (const job of jobs) {
        values.push(job.work());
        if (performance.now() - began > budget) break;
      }
      this.#commit.run();
    } catch (error) {
      this.#rollBack();
      if (isLocked(error)) return "locked";
      this.#oneByOne(jobs, Math.min(values.length + 1, jobs.length), error);
      return "done";
    }
    this.#onCommit();
    for (const [index, job] of jobs.splice(0, values.length).entries()) job.resolve(values[index]);
    return "done";
  }

  /** One of the first `count` jobs cannot be done: each gets a transaction of its own, so that it fails alone. */
  #oneByOne(jobs: Job[], count: number, error: unknown): void {
    if (count === 1) {
      jobs.shift()?.reject(asOperational(error));
      return;
    }
    const suspects = jobs.splice(0, count);
    while (suspects.length > 0) {
      const [suspect] = suspects as [Job];
      const alone = [suspect];
      if (this.#transact(alone, 0) === "locked") {
        jobs.unshift(...suspects);
        return;
      }
      suspects.shift();
    }
  }

  #rollBack(): void {
    try {
      this.#database.exec("ROLLBACK");
    } catch {
      // SQLite has rolled back by itself, as it does when the disk is full.
    }
  }
}

const SQLITE_BUSY = 5;

/** Whether another process holds the lock this one needs; it is worth trying again. */
function isLocked(error: unknown): boolean {
  const code = (error as { readonly errcode?: unknown } | null)?.errcode;
  return typeof code === "number" && (code & 0xff) === SQLITE_BUSY;
}

/** What SQLite throws becomes one of our errors; all else stays what it is. */
function asOperational(error: unknown): unknown {
  if ((error as { readonly code?: unknown } | null)?.code !== "ERR_SQLITE_ERROR") return error;
  return new OperationalError(`the database refused: ${(error as Error).message}`, { cause: error });
}
