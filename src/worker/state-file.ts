import { constants } from "node:fs";
import { open, rename, unlink } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { RevokeRecord } from "../control/revoke-notes.ts";
import { ImproperlyConfigured } from "../errors.ts";
import type { Logger } from "../log.ts";
import type { Service } from "../util/service.ts";
import type { Revokes } from "./revokes.ts";

/** Milliseconds between two writings, so that a thousand revokes in a row are written a few times. */
const gatherMs = 100;
/** A writing may take so much of the time at most: the pause after it is this many times as long. */
const restFactor = 10;

export interface StateFileParts {
  /** Names are expanded already. */
  readonly path: string;
  readonly revokes: Revokes;
  readonly logger: Logger;
}

/** The document in the file. Times are seconds since 1970. */
interface State {
  readonly version: 1;
  readonly revoked: RevokeRecord["ids"];
  readonly revoked_stamps: RevokeRecord["stamps"];
}

/**
 * `--statedb`: keeps what was revoked over restarts (inventory G73). Written on every change, a
 * moment gathered, and at the stop, each time as a whole file that takes the place of the one
 * before; a crash in between leaves the older or the newer, never half of one. Its mode is 0600,
 * and a link at its name is replaced, not followed.
 */
export class StateFile implements Service {
  readonly name = "state file";
  readonly #parts: StateFileParts;
  #stopListening: (() => void) | undefined;
  #timer: NodeJS.Timeout | undefined;
  #writing: Promise<void> | undefined;
  #changed = false;
  /** The file there is not ours to replace. */
  #started = false;

  constructor(parts: StateFileParts) {
    this.#parts = parts;
  }

  /** Reads the file. Rejects with `ImproperlyConfigured` for one that is no state file, which is left as it is. */
  async start(): Promise<void> {
    const { path, revokes } = this.#parts;
    revokes.merge(await readState(path));
    this.#started = true;
    this.#stopListening = revokes.onAdded(() => this.#soon());
    // Now is when a path that cannot be written should be told.
    await this.#write();
  }

  async stop(): Promise<void> {
    if (!this.#started) return;
    this.#started = false;
    this.#stopListening?.();
    clearTimeout(this.#timer);
    await this.#writing;
    await this.#write().catch((error: unknown) => this.#complain(error));
  }

  #soon(): void {
    this.#changed = true;
    if (this.#timer === undefined && this.#writing === undefined) this.#arm(0);
  }

  #arm(pauseMs: number): void {
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      if (this.#changed) this.#writing = this.#writeChange();
    }, pauseMs);
  }

  async #writeChange(): Promise<void> {
    this.#changed = false;
    const began = performance.now();
    await this.#write().catch((error: unknown) => this.#complain(error));
    this.#writing = undefined;
    if (!this.#started) return;
    // What comes during the pause is gathered; when nothing came, the timer just runs out.
    this.#arm(Math.max(gatherMs, restFactor * (performance.now() - began)));
  }

  async #write(): Promise<void> {
    const { ids, stamps } = this.#parts.revokes.record();
    const state: State = { version: 1, revoked: ids, revoked_stamps: stamps };
    await replaceFile(this.#parts.path, `${JSON.stringify(state)}\n`);
  }

  #complain(error: unknown): void {
    this.#parts.logger.error(
      "the state file %s could not be written: %s. Revokes are remembered by this process alone until it can be.",
      this.#parts.path,
      error instanceof Error ? error.message : String(error),
    );
  }
}

/** What a state file remembers; nothing when there is none. Throws `ImproperlyConfigured` for anything else. */
async function readState(path: string): Promise<RevokeRecord> {
  let text: string;
  try {
    const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      text = await file.readFile("utf8");
    } finally {
      await file.close();
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return { ids: [], stamps: [] };
    throw unusable(path, code === "ELOOP" ? "it is a symbolic link" : message);
  }
  let state: unknown;
  try {
    state = JSON.parse(text);
  } catch {
    throw unusable(path, "it is not JSON, as a state file of Celery or a damaged one");
  }
  const { version, revoked, revoked_stamps: stamps } = (state ?? {}) as Partial<Record<keyof State, unknown>>;
  if (version !== 1 || !isRows(revoked, 2) || !isRows(stamps, 3)) {
    throw unusable(path, "it is of another program, or of a newer version of tq");
  }
  return { ids: revoked as RevokeRecord["ids"], stamps: stamps as RevokeRecord["stamps"] };
}

const isRows = (value: unknown, length: number): boolean =>
  Array.isArray(value) &&
  value.every((row) => Array.isArray(row) && row.length === length && typeof row[0] === "string");

function unusable(path: string, why: string): ImproperlyConfigured {
  return new ImproperlyConfigured(
    `workerStateDb (--statedb): ${path} cannot be used: ${why}. It was left as it is: move it away, or give another path`,
  );
}

/** Writes a file beside it and lets it take its place, once it is on the disk. */
async function replaceFile(path: string, text: string): Promise<void> {
  const beside = join(dirname(path), `.${basename(path)}.${process.pid}.tmp`);
  await unlink(beside).catch(() => undefined);
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY | constants.O_NOFOLLOW;
  const file = await open(beside, flags, 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    await rename(beside, path);
  } catch (error) {
    await unlink(beside).catch(() => undefined);
    throw error;
  }
}
