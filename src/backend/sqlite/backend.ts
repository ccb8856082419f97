import { setTimeout as sleep } from "node:timers/promises";
import type { SharedWrite } from "../../broker/broker.ts";
import { parseBackendUrl, type SqliteUrl } from "../../config/url.ts";
import { BackendConnectionError, OperationalError } from "../../errors.ts";
import { createGroupMeta, type ResultTuple, readGroupMeta, type TaskMeta } from "../../protocol/task-meta.ts";
import { decodeJson, encodeJson } from "../../serialization/json.ts";
import { openSqlite, type Sqlite } from "../../system/sqlite.ts";
import { type ChordPart, fireAgainAfter, type ResultBackend } from "../backend.ts";
import type { BackendOptions } from "../options.ts";
import { decodeRecord, type ResultRecord } from "../record.ts";
import { Waiters, type WatchOptions } from "../waiters.ts";
import { bell, Listener } from "./listener.ts";
import { Queries, type StoredPart } from "./queries.ts";
import { backendSchema } from "./schema.ts";

/** After so many results stored, the oldest are looked at for those that have expired. */
const storesPerSweep = 200;
/** Results looked at in one transaction when expired ones are removed. */
const sweepSize = 500;

/**
 * The result store in a file, `sqlite://./.tq/tq.db`: the default, in the same file as the
 * broker. Opens the file when it is first needed.
 */
export function createSqliteBackend(url: string, options: BackendOptions): ResultBackend {
  return new SqliteBackend((parseBackendUrl(url) as SqliteUrl).path, options);
}

interface Open {
  readonly db: Sqlite;
  readonly queries: Queries;
  readonly listener: Listener;
}

class SqliteBackend implements ResultBackend {
  readonly kind = "sqlite";
  readonly features = { persistent: true, chords: true };
  readonly replyTo = "";
  readonly displayUrl: string;
  readonly #path: string;
  readonly #options: BackendOptions;
  readonly #waiters = new Waiters();
  #opening: Promise<Open> | undefined;
  #closing: Promise<void> | undefined;
  #stores = 0;

  constructor(path: string, options: BackendOptions) {
    this.#path = path;
    this.#options = options;
    this.displayUrl = `sqlite://${path}`;
  }

  async prepare(): Promise<void> {
    await this.#use(async () => undefined);
  }

  store(record: ResultRecord): Promise<void> {
    this.#stores += 1;
    const sweep = this.#stores % storesPerSweep === 0;
    return this.#use(({ db, queries }) =>
      db.write(() => {
        const now = Date.now();
        if (queries.store(record, this.#expiry(), now)) db.ring(bell);
        if (sweep) queries.expireAfter(0, sweepSize, now);
      }, "along"),
    );
  }

  sharedWrite(record: ResultRecord): Promise<SharedWrite> {
    return this.#use(async ({ db, queries }) => ({
      store: "sqlite",
      path: db.path,
      write: () => {
        if (queries.store(record, this.#expiry(), Date.now())) db.ring(bell);
      },
    }));
  }

  load(taskId: string): Promise<TaskMeta | undefined> {
    return this.#use(({ db, queries }) => this.#load(db, queries, taskId));
  }

  forget(taskId: string): Promise<void> {
    return this.#use(({ db, queries }) => db.write(() => queries.forget(taskId)));
  }

  async *watch(taskIds: Iterable<string>, options: WatchOptions): AsyncGenerator<TaskMeta, void, undefined> {
    options.signal?.throwIfAborted();
    const ids = [...taskIds];
    const { db, queries, listener } = await this.#use(async (open) => open);
    await listener.join();
    try {
      yield* this.#waiters.watch(ids, options, async (pending) => {
        const metas: TaskMeta[] = [];
        for (const taskId of pending) {
          const meta = await this.#load(db, queries, taskId);
          if (meta) metas.push(meta);
        }
        return metas;
      });
    } finally {
      listener.leave();
    }
  }

  saveGroup(groupId: string, result: ResultTuple): Promise<void> {
    const body = encodeJson(createGroupMeta(result));
    return this.#use(({ db, queries }) => db.write(() => queries.saveGroup(groupId, body, this.#expiry())));
  }

  async loadGroup(groupId: string): Promise<ResultTuple | undefined> {
    const body = await this.#use(({ db, queries }) => db.read(() => queries.loadGroup(groupId, Date.now())));
    return body === undefined ? undefined : readGroupMeta(decodeJson(body), groupId);
  }

  forgetGroup(groupId: string): Promise<void> {
    return this.#use(({ db, queries }) => db.write(() => queries.forgetGroup(groupId)));
  }

  saveWorkflow(id: string, text: string): Promise<void> {
    return this.#use(({ db, queries }) => db.write(() => queries.saveGroup(`tq:canvas:${id}`, text, this.#expiry())));
  }

  loadWorkflow(id: string): Promise<string | undefined> {
    return this.#use(({ db, queries }) => db.read(() => queries.loadGroup(`tq:canvas:${id}`, Date.now())));
  }

  openChord(groupId: string, size: number, options: { readonly grow?: string } = {}): Promise<void> {
    return this.#use(({ db, queries }) =>
      db.write(() => queries.openChord(groupId, size, options.grow ?? null, this.#expiry())),
    );
  }

  async addChordPart(groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined> {
    const { taskId, index, state, result } = part;
    const stored: StoredPart = { taskId, place: index, state, body: encodeJson(result) };
    const firedBy = (queries: Queries): boolean => queries.completedBy(groupId) === taskId;
    const counted = await this.#use(({ db, queries }) =>
      db.write((): readonly StoredPart[] | "again" | undefined => {
        if (queries.addPart(groupId, stored, Date.now())) return queries.parts(groupId);
        return firedBy(queries) ? "again" : undefined;
      }),
    );
    const all = counted === "again" ? await this.#askAgain(groupId, firedBy) : counted;
    return all?.map(({ taskId: id, place, state, body }) => ({
      taskId: id,
      index: place,
      state,
      result: decodeJson(body),
    }));
  }

  async #askAgain(groupId: string, fired: (queries: Queries) => boolean): Promise<readonly StoredPart[] | undefined> {
    await sleep(fireAgainAfter * 1000);
    return await this.#use(({ db, queries }) => db.read(() => (fired(queries) ? queries.parts(groupId) : undefined)));
  }

  closeChord(groupId: string): Promise<void> {
    return this.#use(({ db, queries }) => db.write(() => queries.closeChord(groupId)));
  }

  cleanup(): Promise<number> {
    return this.#use(async ({ db, queries }) => {
      await db.write(() => queries.expireGroups(Date.now()));
      let removed = 0;
      let seen: number | undefined = 0;
      while (seen !== undefined) {
        const after: number = seen;
        const step = await db.write(() => queries.expireAfter(after, sweepSize, Date.now()));
        removed += step.removed;
        seen = step.last;
      }
      return removed;
    });
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#waiters.fail(new BackendConnectionError(`${this.displayUrl} was closed while results were awaited`));
    const open = await this.#opening?.catch(() => undefined);
    open?.listener.close();
    await open?.db.close();
  }

  async #load(db: Sqlite, queries: Queries, taskId: string): Promise<TaskMeta | undefined> {
    const stored = await db.read(() => queries.load(taskId, Date.now()));
    return stored && decodeRecord(stored, this.#options.accept, taskId);
  }

  async #use<Value>(work: (open: Open) => Promise<Value>): Promise<Value> {
    if (this.#closing !== undefined) throw new BackendConnectionError(`${this.displayUrl} is closed`);
    this.#opening ??= this.#open();
    try {
      return await work(await this.#opening);
    } catch (error) {
      if (!(error instanceof OperationalError) || error instanceof BackendConnectionError) throw error;
      throw new BackendConnectionError(error.message, { cause: error });
    }
  }

  async #open(): Promise<Open> {
    try {
      const db = await openSqlite(this.#path);
      await db.migrate("backend", backendSchema).catch(async (error) => {
        await db.close();
        throw error;
      });
      const queries = new Queries(db);
      const listener = new Listener(db, queries, this.#waiters, (taskId) => this.#load(db, queries, taskId));
      return { db, queries, listener };
    } catch (error) {
      this.#opening = undefined;
      throw error;
    }
  }

  #expiry(): number | null {
    return this.#options.expires === null ? null : Date.now() + this.#options.expires * 1000;
  }
}
