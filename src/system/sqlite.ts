import { closeSync, constants, lstatSync, mkdirSync, openSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { OperationalError } from "../errors.ts";
import { Bell } from "./sqlite-bell.ts";
import type { Database, Row, SqlValue, Statement } from "./sqlite-database.ts";
import { type Pace, Transactions } from "./sqlite-transactions.ts";

export type { Pace, Row, SqlValue, Statement };

export interface SqliteOptions {
  /** Seconds between two looks whether other processes have written, in case the bell is not heard; 0.5. */
  readonly safetyPoll?: number;
}

/** A file that several processes work on, as one of its users in this process sees it. */
export interface Sqlite {
  readonly path: string;
  /** The statement for this text; prepared once per connection. */
  sql(text: string): Statement;
  /** Runs reading statements, in a later turn when the file is locked for a moment. */
  read<Value>(work: () => Value): Promise<Value>;
  /**
   * Runs `work` inside a transaction and resolves when that is committed. Calls of one tick share
   * a transaction; `work` must do nothing but statements, because it may run again. Rejects, with
   * nothing of `work` done, when `work` throws, and with `OperationalError` when the file stays
   * locked for 30 seconds or cannot be written. Whatever the pace, it is done in the order it was
   * asked for; `now` unless told.
   */
  write<Value>(work: () => Value, pace?: Pace): Promise<Value>;
  /** Inside `write`: wakes the listeners of this bell in every process once the transaction is committed. */
  ring(bell: string): void;
  /** Calls `listener` when the bell was rung by any process, and now and then for safety. Returns how to stop. */
  listen(bell: string, listener: () => void): () => void;
  /** Brings one part of the schema up to date: runs the steps it has not seen. For new parts that is all. */
  migrate(part: string, steps: readonly string[]): Promise<void>;
  /** Gives up this use; the last one closes the file. Idempotent. Waits for what was to be written. */
  close(): Promise<void>;
}

/**
 * Open files by real path. POSIX gives locks to processes, not to connections: a second
 * connection through another copy of SQLite, or anybody closing the file, would drop the locks of
 * the first. So there is one connection per process and file, whoever asks for it.
 */
const files = new Map<string, SharedFile>();

/**
 * Opens the file, making it if needed (mode 0600, a missing folder 0700). Never follows a
 * symbolic link at its name. Several calls for one file share one connection. Must be on a local
 * disk. Rejects with `OperationalError` when it cannot be opened or is no database.
 */
export async function openSqlite(path: string, options: SqliteOptions = {}): Promise<Sqlite> {
  const file = await claimFile(path, options);
  let open = true;
  return {
    path: file.path,
    sql: (text) => file.sql(text),
    read: (work) => file.transactions.read(work),
    write: (work, pace) => file.transactions.write(work, pace),
    ring: (bell) => file.ring(bell),
    listen: (bell, listener) => file.bellOf(bell).listen(listener),
    migrate: (part, steps) => file.migrate(part, steps),
    close: async () => {
      if (!open) return;
      open = false;
      await file.release();
    },
  };
}

async function claimFile(path: string, options: SqliteOptions): Promise<SharedFile> {
  const real = prepareFile(path);
  const file = files.get(real) ?? new SharedFile(real, options, () => files.delete(real));
  files.set(real, file);
  await file.claim();
  return file;
}

/** The real path of a file that exists afterwards. Never opens one that existed: closing it would drop its locks. */
function prepareFile(path: string): string {
  const absolute = resolve(path);
  const folder = dirname(absolute);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const real = join(realpathSync(folder), basename(absolute));
    const stat = lstatSync(real, { throwIfNoEntry: false });
    if (stat && !stat.isFile()) {
      throw new OperationalError(
        `${absolute} is ${stat.isSymbolicLink() ? "a symbolic link" : "not a file"}: name the database file itself`,
      );
    }
    if (!stat) {
      const { O_CREAT, O_EXCL, O_NOFOLLOW, O_RDWR } = constants;
      closeSync(openSync(real, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600));
    }
    return real;
  } catch (error) {
    if (error instanceof OperationalError) throw error;
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return prepareFile(path);
    throw new OperationalError(`cannot open the database ${absolute}: ${(error as Error).message}`, { cause: error });
  }
}

/** The one connection of this process to a file, for all who use it. */
class SharedFile {
  readonly path: string;
  readonly #options: SqliteOptions;
  readonly #onClosed: () => void;
  readonly #statements = new Map<string, Statement>();
  readonly #bells = new Map<string, Bell>();
  #rung: string[] = [];
  #users = 0;
  #opening: Promise<void> | undefined;
  #database: Database | undefined;
  #transactions: Transactions | undefined;

  constructor(path: string, options: SqliteOptions, onClosed: () => void) {
    this.path = path;
    this.#options = options;
    this.#onClosed = onClosed;
  }

  get transactions(): Transactions {
    if (!this.#transactions) throw new OperationalError(`${this.path} is closed`);
    return this.#transactions;
  }

  async claim(): Promise<void> {
    this.#users += 1;
    this.#opening ??= this.#open();
    try {
      await this.#opening;
    } catch (error) {
      this.#opening = undefined;
      this.#users -= 1;
      this.#database?.close();
      this.#database = undefined;
      if (this.#users === 0) this.#onClosed();
      throw new OperationalError(`cannot open the database ${this.path}: ${(error as Error).message}`, {
        cause: error,
      });
    }
  }

  async release(): Promise<void> {
    await this.#transactions?.idle();
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#onClosed();
    for (const bell of this.#bells.values()) bell.close();
    this.#statements.clear();
    const database = this.#database;
    this.#database = undefined;
    this.#transactions = undefined;
    database?.close();
  }

  sql(text: string): Statement {
    let statement = this.#statements.get(text);
    if (!statement) {
      if (!this.#database) throw new OperationalError(`${this.path} is closed`);
      statement = this.#database.prepare(text);
      this.#statements.set(text, statement);
    }
    return statement;
  }

  ring(bell: string): void {
    if (!this.#rung.includes(bell)) this.#rung.push(bell);
  }

  bellOf(name: string): Bell {
    let bell = this.#bells.get(name);
    if (!bell) {
      const pollMs = (this.#options.safetyPoll ?? 0.5) * 1000;
      bell = new Bell(`${this.path}-${name}.bell`, pollMs, () => this.#dataVersion());
      this.#bells.set(name, bell);
    }
    return bell;
  }

  async migrate(part: string, steps: readonly string[]): Promise<void> {
    const versionOf = (): number =>
      Number(
        this.sql("SELECT coalesce(max(version), 0) AS version FROM schema_part WHERE part = ?").get(part)?.version,
      );
    await this.transactions.write(() => {
      this.#database?.exec(
        "CREATE TABLE IF NOT EXISTS schema_part (part TEXT PRIMARY KEY, version INTEGER NOT NULL) STRICT",
      );
      const version = versionOf();
      if (version > steps.length) {
        throw new OperationalError(
          `${this.path} was written by a newer version of tq (${part} ${version}, known are ${steps.length}): upgrade, or use another file`,
        );
      }
      for (const step of steps.slice(version)) this.#database?.exec(step);
      if (version < steps.length) {
        this.sql("INSERT OR REPLACE INTO schema_part (part, version) VALUES (?, ?)").run(part, steps.length);
      }
    });
  }

  async #open(): Promise<void> {
    const database = await openDatabase(this.path);
    this.#database = database;
    this.#transactions = new Transactions(database, () => this.#ringRung());
    // Switching to WAL needs the file for itself, for a moment.
    await this.#transactions.read(() => database.exec("PRAGMA journal_mode = WAL"));
    database.exec(
      "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 4000; PRAGMA cache_size = -8000; PRAGMA temp_store = MEMORY",
    );
    database.exec("PRAGMA mmap_size = 0; PRAGMA journal_size_limit = 67108864; PRAGMA foreign_keys = OFF");
  }

  #ringRung(): void {
    for (const bell of this.#rung.splice(0)) this.bellOf(bell).ring();
  }

  /** A number that changes when another process has committed. */
  #dataVersion(): number {
    if (!this.#database) return 0;
    try {
      return Number(this.sql("PRAGMA data_version").get()?.data_version);
    } catch {
      return -1; // Locked this very moment: look again the next time.
    }
  }
}

/**
 * SQLite before 3.51.3, and the withdrawn 3.52.0, can corrupt a file that several processes
 * write and checkpoint (sqlite.org/wal.html#walresetbug).
 */
function isSound(version: string | undefined): boolean {
  const [major = 0, minor = 0, patch = 0] = (version ?? "").split(".").map(Number);
  if (major !== 3) return major > 3;
  return minor === 51 ? patch >= 3 : minor > 52 || (minor === 52 && patch > 0);
}

/** A connection by the SQLite in Node where that is sound, else by the package that brings its own. */
async function openDatabase(path: string): Promise<Database> {
  const [nodeMajor = 0] = process.versions.node.split(".").map(Number);
  // Before Node 24 the one inside prints a warning that it is an experiment.
  if (nodeMajor >= 24 && isSound(process.versions.sqlite)) {
    const builtIn = process.getBuiltinModule("node:sqlite" as never) as {
      readonly DatabaseSync: new (path: string, options: object) => Database;
    };
    return new builtIn.DatabaseSync(path, { timeout: 0 });
  }
  const { DatabaseSync } = await import("@photostructure/sqlite");
  return new DatabaseSync(path, { timeout: 0 }) as unknown as Database;
}
