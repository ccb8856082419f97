import { randomBytes } from "node:crypto";
import { open, readFile, rename, rm } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { TqError } from "../errors.ts";
import type { Logger } from "../log.ts";
import { acquirePidfile, type Pidfile } from "../system/pidfile.ts";
import type { EntryHistory } from "./entry.ts";
import type { Histories, ScheduleStore } from "./store.ts";

export interface FileStoreOptions {
  readonly path: string;
  /** A schedule made for other clocks is forgotten. */
  readonly timezone: string;
  readonly enableUtc: boolean;
  readonly logger: Logger;
}

interface FileContent {
  readonly version: number;
  readonly timezone: string;
  readonly enableUtc: boolean;
  readonly entries: Readonly<Record<string, { readonly lastRunAt: string; readonly totalRunCount: number }>>;
}

const fileVersion = 1;

/**
 * Keeps the schedule in one JSON file, `celerybeat-schedule`. It is written anew beside the old one and takes its
 * place in one step, so that a crash leaves one or the other. The file `<path>.lock` holds the process id of the
 * beat that has it; proper-lockfile decides who takes over one that was left behind.
 */
export class FileStore implements ScheduleStore {
  readonly place: string;
  readonly #options: FileStoreOptions;
  readonly #path: string;
  #lock: Pidfile | undefined;

  constructor(options: FileStoreOptions) {
    this.#options = options;
    this.place = options.path;
    this.#path = resolve(options.path);
  }

  async open(): Promise<Histories> {
    this.#lock ??= await takeLock(this.#path);
    const content = await this.#read();
    const { timezone, enableUtc, logger } = this.#options;
    if (content === undefined) return new Map();
    if (content.timezone !== timezone) {
      logger.warn("Reset: Timezone changed from '%s' to '%s'", content.timezone, timezone);
      return new Map();
    }
    if (content.enableUtc !== enableUtc) {
      const words = [content.enableUtc, enableUtc].map((on) => (on ? "enabled" : "disabled"));
      logger.warn("Reset: UTC changed from %s to %s", words[0], words[1]);
      return new Map();
    }
    return new Map(Object.entries(content.entries).flatMap(([name, entry]) => readHistory(name, entry)));
  }

  async save(histories: Histories): Promise<void> {
    const { timezone, enableUtc } = this.#options;
    const entries = Object.fromEntries(
      [...histories].map(([name, { lastRunAt, totalRunCount }]) => [
        name,
        { lastRunAt: lastRunAt.toISOString(), totalRunCount },
      ]),
    );
    const content: FileContent = { version: fileVersion, timezone, enableUtc, entries };
    await replaceFile(this.#path, `${JSON.stringify(content, null, 2)}\n`);
  }

  async close(): Promise<void> {
    this.#lock?.release();
    this.#lock = undefined;
  }

  /** What cannot be read is put aside, not thrown away; beat goes on without it. */
  async #read(): Promise<FileContent | undefined> {
    let text: string;
    try {
      text = await readFile(this.#path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw cannot("read", this.#path, error);
    }
    try {
      const content = JSON.parse(text) as FileContent;
      if (content.version !== fileVersion || typeof content.entries !== "object" || content.entries === null)
        throw new Error("it is not a schedule of this version");
      return content;
    } catch (error) {
      const aside = `${this.#path}.corrupt`;
      this.#options.logger.error(
        "Removing corrupted schedule file '%s': %s (it is kept as %s)",
        this.place,
        (error as Error).message,
        aside,
      );
      await rename(this.#path, aside);
      return undefined;
    }
  }
}

async function takeLock(path: string): Promise<Pidfile> {
  const lock = `${path}.lock`;
  try {
    return await acquirePidfile(lock);
  } catch (error) {
    if (!(error instanceof TqError) || error.code !== "TQ_PIDFILE_HELD") throw error;
    throw new TqError(`The schedule ${path} belongs to another beat that is running.\n${error.message}`, {
      code: error.code,
      cause: error,
    });
  }
}

function readHistory(name: string, given: unknown): readonly (readonly [string, EntryHistory])[] {
  const { lastRunAt, totalRunCount } = given as { readonly lastRunAt?: unknown; readonly totalRunCount?: unknown };
  const date = new Date(String(lastRunAt));
  if (Number.isNaN(date.getTime())) return [];
  return [[name, { lastRunAt: date, totalRunCount: Number(totalRunCount) || 0 }]];
}

async function replaceFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${randomBytes(4).toString("hex")}.tmp`;
  try {
    const file = await open(temporary, "wx", 0o644);
    try {
      await file.writeFile(text);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw cannot("write", path, error);
  }
}

function cannot(what: string, path: string, cause: unknown): TqError {
  const { code, message } = cause as NodeJS.ErrnoException;
  const reason = code === "ENOENT" ? `there is no folder ${dirname(path)}` : message;
  return new TqError(`Cannot ${what} the schedule ${path}: ${reason}.`, { code: "TQ_SCHEDULE", cause });
}
