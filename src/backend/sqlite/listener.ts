import type { TaskMeta } from "../../protocol/task-meta.ts";
import type { Sqlite } from "../../system/sqlite.ts";
import type { Waiters } from "../waiters.ts";
import type { Queries } from "./queries.ts";

/** The bell rung when a result was stored. */
export const bell = "results";

/** Changes looked at in one go. */
const handful = 1000;

/**
 * Tells the waiters of one backend what was stored, by whatever process. Listens only while
 * somebody waits.
 */
export class Listener {
  readonly #db: Sqlite;
  readonly #queries: Queries;
  readonly #waiters: Waiters;
  readonly #load: (taskId: string) => Promise<TaskMeta | undefined>;
  #stopListening: (() => void) | undefined;
  #users = 0;
  #joining: Promise<void> | undefined;
  #seen = 0;
  #reading = false;
  #readAgain = false;

  constructor(db: Sqlite, queries: Queries, waiters: Waiters, load: (taskId: string) => Promise<TaskMeta | undefined>) {
    this.#db = db;
    this.#queries = queries;
    this.#waiters = waiters;
    this.#load = load;
  }

  /** From when this resolves, nothing stored is missed until `leave`. */
  async join(): Promise<void> {
    this.#users += 1;
    this.#joining ??= this.#start();
    try {
      await this.#joining;
    } catch (error) {
      this.leave();
      throw error;
    }
  }

  leave(): void {
    this.#users -= 1;
    if (this.#users === 0) this.close();
  }

  close(): void {
    this.#stopListening?.();
    this.#stopListening = undefined;
    this.#joining = undefined;
  }

  async #start(): Promise<void> {
    this.#seen = await this.#db.read(() => this.#queries.lastChange());
    this.#stopListening ??= this.#db.listen(bell, () => void this.#read());
  }

  async #read(): Promise<void> {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    try {
      do {
        this.#readAgain = false;
        await this.#readChanges();
      } while (this.#readAgain);
    } catch (error) {
      this.#waiters.fail(error as Error);
    } finally {
      this.#reading = false;
    }
  }

  async #readChanges(): Promise<void> {
    for (;;) {
      const changes = await this.#db.read(() => this.#queries.changesAfter(this.#seen, handful));
      for (const { seq, taskId } of changes) {
        this.#seen = seq;
        if (!this.#waiters.wants(taskId)) continue;
        const meta = await this.#load(taskId);
        if (meta) this.#waiters.deliver(meta);
      }
      if (changes.length < handful) return;
    }
  }
}
