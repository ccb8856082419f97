import { parentPort, workerData } from "node:worker_threads";
import type { Sqlite } from "../../system/sqlite.ts";
import { type LeaseThreadBirth, watchLease } from "../lease-watch.ts";

/** What the thread is told at birth, and its second part again whenever it changes. */
export interface SqliteLease {
  readonly path: string;
  /** Ids of the rows of this process's consumers. */
  readonly consumers: readonly number[];
}

const birth = workerData as LeaseThreadBirth & SqliteLease;
let { consumers } = birth;
parentPort?.on("message", (changed: readonly number[]) => {
  consumers = changed;
});

let file: Sqlite | undefined;
await watchLease(birth, {
  async renew() {
    const [{ openSqlite }, { Queries }] = await Promise.all([import("../../system/sqlite.ts"), import("./queries.ts")]);
    // A second connection of one process to its file: by the same copy of SQLite, which knows of the first one's locks.
    file ??= await openSqlite(birth.path);
    const queries = new Queries(file);
    await file.write(() => {
      for (const id of consumers) queries.renew(id, Date.now());
    });
  },
  async drop() {
    const open = file;
    file = undefined;
    await open?.close().catch(() => undefined);
  },
});
