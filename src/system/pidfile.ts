import {
  closeSync,
  constants,
  fstatSync,
  openSync,
  readFileSync,
  readlinkSync,
  readSync,
  renameSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { TqError } from "../errors.ts";

/** A pidfile that is ours until released. */
export interface Pidfile {
  readonly path: string;
  /** Removes the file if it still is the one made here. May be called twice, and while exiting. */
  release(): void;
}

/** What a pidfile that is already there says. */
export type PidfileState =
  | { readonly kind: "absent"; readonly pid: null }
  /** Its process is gone, or its id was given to another. */
  | { readonly kind: "stale"; readonly pid: number | null }
  | {
      readonly kind: "held";
      readonly pid: number | null;
      /** Its process began after the file was written: the id was given to another, or the clock was set since. */
      readonly younger: boolean;
    };

/**
 * Writes the id of this process into a file that is there as long as the process is.
 *
 * A file left behind by a process that is gone is replaced; several processes that find it at
 * once take turns, and one of them gets it. Rejects with a `TqError` of code
 * `TQ_PIDFILE_HELD` when another process has it, and of code `TQ_PIDFILE_INVALID` for a file
 * that is no pidfile or is a symbolic link: such a file is never touched.
 *
 * `replaces` is the process this one takes over from: its file is replaced in one step, so that
 * there is one at any time, although it still runs.
 */
export async function acquirePidfile(
  path: string,
  { replaces = null }: { readonly replaces?: number | null } = {},
): Promise<Pidfile> {
  const made = create(path);
  if (made) return made;
  const mayTakeOver = (): boolean => replaces !== null && readPidfile(path).pid === replaces;
  if (!mayTakeOver() && readPidfile(path).kind === "held") throw held(path);

  // Only whoever holds the lock may replace the file or remove a stale one, after looking at it once more.
  const { lock } = await import("proper-lockfile");
  const unlock = await lock(path, {
    realpath: false,
    stale: 5_000,
    retries: { retries: 20, minTimeout: 20, maxTimeout: 500 },
  });
  try {
    if (mayTakeOver()) return takeOver(path);
    const state = readPidfile(path);
    if (state.kind === "held") throw held(path);
    if (state.kind === "stale") unlinkSync(path);
    const replaced = create(path);
    if (!replaced) throw held(path);
    return replaced;
  } finally {
    await unlock();
  }
}

/** What a pidfile says about its process. Throws `TQ_PIDFILE_INVALID` for anything but a pidfile. */
export function readPidfile(path: string): PidfileState {
  const file = open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  if (file === undefined) return { kind: "absent", pid: null };
  let text: string;
  let writtenAtMs: number;
  try {
    const status = fstatSync(file);
    if (!status.isFile()) throw invalid(path, "is not a regular file");
    writtenAtMs = status.mtimeMs;
    const buffer = Buffer.alloc(64);
    text = buffer.toString("latin1", 0, readSync(file, buffer)).trim();
  } finally {
    closeSync(file);
  }
  // Made, and about to be written into; or its writer died between the two.
  if (text === "") {
    const fresh = Date.now() - writtenAtMs < 2_000;
    return fresh ? { kind: "held", pid: null, younger: false } : { kind: "stale", pid: null };
  }
  if (!/^[1-9]\d{0,9}$/.test(text)) throw invalid(path, "does not hold a process id");
  const pid = Number(text);
  if (!isAlive(pid)) return { kind: "stale", pid };
  const younger = isYounger(pid, writtenAtMs);
  return younger && isAnother(pid) ? { kind: "stale", pid } : { kind: "held", pid, younger };
}

/** Writes the new file beside the old one and puts it into its place. */
function takeOver(path: string): Pidfile {
  const beside = `${path}.${process.pid}`;
  // Left by a process of our id that did not get to the second step.
  try {
    unlinkSync(beside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw unmade(path, error);
  }
  const made = create(beside, path);
  if (!made) throw held(path);
  try {
    renameSync(beside, path);
  } catch (error) {
    unlinkSync(beside);
    throw unmade(path, error);
  }
  return made;
}

/** Makes the file, to be known as `path` later on. Undefined when there is a file already. */
function create(file: string, path = file): Pidfile | undefined {
  const flags = constants.O_CREAT | constants.O_EXCL | constants.O_WRONLY;
  let descriptor: number;
  try {
    descriptor = openSync(file, flags | constants.O_NOFOLLOW, 0o644);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "EEXIST") return undefined;
    throw unmade(path, error);
  }
  let inode: number;
  try {
    writeSync(descriptor, `${process.pid}\n`);
    inode = fstatSync(descriptor).ino;
  } catch (error) {
    // A full disk: an empty file would be in the way of the next start.
    unlinkSync(file);
    throw unmade(path, error);
  } finally {
    closeSync(descriptor);
  }
  return {
    path,
    release() {
      const present = open(path, constants.O_RDONLY | constants.O_NONBLOCK);
      if (present === undefined) return;
      try {
        const own = fstatSync(present).ino === inode && readFileSync(present, "latin1").trim() === String(process.pid);
        if (own) unlinkSync(path);
      } finally {
        closeSync(present);
      }
    },
  };
}

/** Undefined when there is no such file. Never follows a link: the name may be in a folder others can write to. */
function open(path: string, flags: number): number | undefined {
  try {
    return openSync(path, flags | constants.O_NOFOLLOW);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT") return undefined;
    if (code === "ELOOP") throw invalid(path, "is a symbolic link");
    throw new TqError(`Cannot read the pidfile ${path}: ${(error as Error).message}.`, {
      cause: error,
      code: "TQ_PIDFILE_INVALID",
    });
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function isYounger(pid: number, writtenAtMs: number): boolean {
  const startedAtMs = startOf(pid);
  return startedAtMs !== undefined && startedAtMs > writtenAtMs + 1_000;
}

/**
 * Whether a process younger than the file cannot have written it: this one (in a container every
 * start may get the same id), or one that runs another program. The wall clock may have been set
 * since, so that being younger alone proves nothing.
 */
function isAnother(pid: number): boolean {
  if (pid === process.pid) return true;
  const program = programOf(pid);
  return program !== undefined && program !== programOf(process.pid);
}

/** When a process started, in milliseconds since the epoch; undefined where there is no /proc. */
function startOf(pid: number): number | undefined {
  try {
    // The name in parentheses may hold anything, spaces and parentheses included.
    const fields = readFileSync(`/proc/${pid}/stat`, "latin1")
      .replace(/^.*\) /s, "")
      .split(" ");
    const ticks = Number(fields[19]);
    const uptime = Number(readFileSync("/proc/uptime", "latin1").split(" ")[0]);
    const started = Date.now() - (uptime - ticks / 100) * 1_000;
    return Number.isFinite(started) ? started : undefined;
  } catch {
    return undefined;
  }
}

/** The program a process runs; undefined when it is not ours to know. Its title hides nothing of this. */
function programOf(pid: number): string | undefined {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return undefined;
  }
}

function held(path: string): TqError {
  const { pid } = readPidfile(path);
  return new TqError(
    `Pidfile (${path}) already exists.\nSeems we're already running? (pid: ${pid ?? "not written yet"})`,
    { code: "TQ_PIDFILE_HELD" },
  );
}

function unmade(path: string, error: unknown): TqError {
  const { code, message } = error as NodeJS.ErrnoException;
  const reason = code === "ENOENT" ? `there is no folder ${dirname(path)}` : message;
  return new TqError(`Cannot create the pidfile ${path}: ${reason}.`, { cause: error, code: "TQ_PIDFILE_INVALID" });
}

function invalid(path: string, what: string): TqError {
  return new TqError(`The pidfile ${path} ${what}. It is left as it is; remove it or name another file.`, {
    code: "TQ_PIDFILE_INVALID",
  });
}
