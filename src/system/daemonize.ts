import { spawn } from "node:child_process";
import { closeSync, constants, fstatSync, openSync, writeSync } from "node:fs";
import { dirname } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { TqError } from "../errors.ts";

/** How a process is to go on in the background. */
export interface DetachOptions {
  /** Node, or what stands in for it; default: the program that runs this process. */
  readonly executable?: string;
  /** Script and its arguments; default: those of this process. They are given on as they are. */
  readonly args?: readonly string[];
  /** Where it works; default: where this process works now. */
  readonly cwd?: string;
  readonly env?: NodeJS.ProcessEnv;
  /** File that takes its standard output and error: what Node itself says when it dies. Default: nowhere. */
  readonly output?: string;
}

/** What a process in the background has told of itself. */
export type Report =
  /** It is set up: app loaded, pidfile held, log open. */
  | { readonly kind: "running"; readonly pid: number }
  /** It does its work. */
  | { readonly kind: "ready"; readonly pid: number }
  /** It cannot start, and says why, in a text fit for a terminal. */
  | { readonly kind: "failed"; readonly message: string; readonly exitCode: number }
  /** It ended without a word. */
  | { readonly kind: "ended"; readonly code: number | null; readonly signal: NodeJS.Signals | null };

/** A process in the background, as long as it is watched. */
export interface Detached {
  readonly pid: number;
  /** Its reports in order, the last of them `ready`, `failed` or `ended`. */
  readonly reports: AsyncIterable<Report>;
  /** Lets it go its way: this process may end then. */
  release(): void;
}

/** The descriptor on which a process in the background tells how it is doing stands in this variable. */
const variable = "TQ_DETACHED";
const reportFd = 3;
/** Its value in a process that was started again: it works where it is to work, and nobody waits for it. */
const restarted = "restarted";

/** What a process that is started again in this one's place finds, so that it neither goes to its folder nor to the background twice. */
export const restartEnvironment: Readonly<Record<string, string>> = { [variable]: restarted };

/**
 * Starts a process that outlives this one and its terminal: a session of its own, standard input from
 * nowhere, umask and user as they are here. Celery's `detached()` forks twice; Node cannot fork, so the program is
 * started anew, and told by a variable that it is the one in the background (`asDetached`).
 */
export function detach(options: DetachOptions = {}): Detached {
  const output = options.output === undefined ? "ignore" : openOutput(options.output);
  try {
    const child = spawn(
      options.executable ?? process.execPath,
      [...process.execArgv, ...(options.args ?? process.argv.slice(1))],
      {
        cwd: options.cwd ?? process.cwd(),
        env: { ...(options.env ?? process.env), [variable]: String(reportFd) },
        stdio: ["ignore", output, output, "pipe"],
        detached: true,
      },
    );
    const channel = child.stdio[reportFd] as Readable;
    channel.on("error", () => undefined);
    const ended = new Promise<Report>((resolve) => {
      child.once("error", (error) => resolve({ kind: "failed", message: cannotStart(error, options), exitCode: 1 }));
      child.once("exit", (code, signal) => resolve({ kind: "ended", code, signal }));
    });
    return {
      pid: child.pid ?? -1,
      reports: reportsOf(channel, ended),
      release() {
        channel.destroy();
        child.unref();
      },
    };
  } finally {
    if (typeof output === "number") closeSync(output);
  }
}

const cannotStart = (error: Error, options: DetachOptions): string =>
  `Can't exec ${options.executable ?? process.execPath}: ${error.message}`;

async function* reportsOf(channel: Readable, ended: Promise<Report>): AsyncIterable<Report> {
  for await (const line of createInterface({ input: channel })) {
    const report = JSON.parse(line) as Report;
    yield report;
    if (report.kind !== "running") return;
  }
  // The pipe closes with the process: what it did not say, its end says.
  yield await ended;
}

/** Never through a link: the folder may belong to the user the process is about to be. */
function openOutput(path: string): number {
  const { O_APPEND, O_CREAT, O_WRONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
  let fd: number;
  try {
    fd = openSync(path, O_APPEND | O_CREAT | O_WRONLY | O_NOFOLLOW | O_NONBLOCK, 0o644);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    const reason =
      code === "ENOENT" ? `there is no folder ${dirname(path)}` : code === "ELOOP" ? "it is a symbolic link" : message;
    throw new TqError(`Cannot write the log file ${path}: ${reason}.`, { code: "TQ_LOGFILE", cause: error });
  }
  if (fstatSync(fd).isDirectory()) throw new TqError(`The log file ${path} is a folder.`, { code: "TQ_LOGFILE" });
  return fd;
}

/** The end of a process in the background at which it tells its starter how it is doing. */
export interface DetachedEnd {
  running(): void;
  ready(): void;
  failed(message: string, exitCode: number): void;
}

/**
 * What a process that was started by `detach` finds; undefined in any other. Takes the variable out of the
 * environment, so that what this process starts does not take itself for it. Call it once.
 */
export function asDetached(env: NodeJS.ProcessEnv = process.env): DetachedEnd | undefined {
  const value = env[variable];
  const fd = Number(value);
  delete env[variable];
  if (value === restarted) return { running: () => undefined, ready: () => undefined, failed: () => undefined };
  if (fd !== reportFd) return undefined;
  let open = true;
  const tell = (report: Report, isLast: boolean): void => {
    if (!open) return;
    try {
      writeSync(fd, `${JSON.stringify(report)}\n`);
    } catch {
      // Nobody listens any more.
    }
    if (!isLast) return;
    open = false;
    closeSync(fd);
  };
  return {
    running: () => tell({ kind: "running", pid: process.pid }, false),
    ready: () => tell({ kind: "ready", pid: process.pid }, true),
    failed: (message, exitCode) => tell({ kind: "failed", message, exitCode }, true),
  };
}
