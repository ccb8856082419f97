import { type ChildProcess, spawn } from "node:child_process";
import { closeSync } from "node:fs";
import { createInterface } from "node:readline";
import type { Duplex, Readable } from "node:stream";
import { supervisionEnvironment } from "../system/supervision.ts";
import { logLength, logTail } from "./log-tail.ts";
import { type Node, withoutDetach } from "./node.ts";
import { nodeVariable } from "./node-state.ts";
import { openLog } from "./prepare.ts";

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What a start came to: it says that it is ready, or it ends before that. */
export type Readiness =
  | { readonly kind: "ready" }
  | { readonly kind: "ended"; readonly exit: Exit; readonly reason: string | null; readonly log: readonly string[] };

export interface LaunchOptions {
  /** The node ends when this process does. */
  readonly bound: boolean;
  /** The process whose pidfile it takes over. */
  readonly replaces?: number | null;
  /** `log`: nothing is kept but what goes to its log file; `pipe`: it is read here. */
  readonly output: "log" | "pipe";
  readonly env: NodeJS.ProcessEnv;
}

/** A node's process, started by this one. */
export interface Launched {
  readonly pid: number;
  /** Whether it is still there. */
  readonly running: boolean;
  readonly readiness: Promise<Readiness>;
  readonly exited: Promise<Exit>;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  signal(signal: NodeJS.Signals): void;
  /** SIGKILL to it and to all it has started. */
  killGroup(): void;
  /** Lets it go on without this process, which does not wait for it any more. */
  release(): void;
}

/** Lines of its log that are shown of a node that did not come up. */
const shownLines = 10;

/**
 * Starts a node in a session of its own, with a socket over which it tells that it is ready. What
 * it prints to its standard error, and what Node itself has to say when it crashes, goes to its
 * log file. Throws what the system says when the log file cannot be opened.
 */
export function launch(node: Node, options: LaunchOptions): Launched {
  const since = logLength(node.logfile);
  const log = options.output === "log" && isKnown(node.logfile) ? openLog(node.logfile, node) : undefined;
  let child: ChildProcess;
  try {
    child = spawn(node.program, node.isOurs ? withoutDetach(node.args) : [...node.args], {
      cwd: node.workdir,
      detached: true,
      stdio:
        options.output === "pipe" ? ["ignore", "pipe", "pipe", "pipe"] : ["ignore", "ignore", log ?? "ignore", "pipe"],
      env: {
        ...options.env,
        [nodeVariable]: node.nodename,
        ...supervisionEnvironment({ fd: 3, bound: options.bound, replaces: options.replaces ?? null }),
      },
    });
  } finally {
    if (log !== undefined) closeSync(log);
  }
  const channel = child.stdio[3] as Duplex;
  channel.on("error", () => undefined);

  let failure: string | null = null;
  const exited = new Promise<Exit>((resolve) => {
    child.once("error", (error) => {
      failure = error.message;
      resolve({ code: 127, signal: null });
    });
    child.once("exit", (code, signal) => resolve({ code, signal }));
  });
  const readiness = new Promise<Readiness>((resolve) => {
    const lines = createInterface({ input: channel });
    lines.on("line", (line) => {
      if (line === "READY=1") resolve({ kind: "ready" });
      if (line.startsWith("STATUS=")) failure = line.slice("STATUS=".length).replaceAll("\\n", "\n");
    });
    const drained = new Promise<void>((done) => {
      lines.once("close", done);
    });
    void exited.then(async (exit) => {
      // Its last words may still be on the way; a process it left behind may hold the socket.
      await Promise.race([drained, new Promise((done) => setTimeout(done, 200))]);
      const path = node.logfile?.replaceAll("%P", String(child.pid)) ?? null;
      resolve({ kind: "ended", exit, reason: failure, log: logTail(path, { since, lines: shownLines }) });
    });
  });

  const { pid } = child;
  return {
    pid: pid ?? -1,
    get running() {
      return pid !== undefined && child.exitCode === null && child.signalCode === null;
    },
    readiness,
    exited,
    stdout: child.stdout,
    stderr: child.stderr,
    signal: (signal) => void child.kill(signal),
    killGroup() {
      if (pid !== undefined) killGroup(pid);
    },
    release() {
      channel.destroy();
      child.unref();
    },
  };
}

/** SIGKILL to a process that leads a group, and to all that are in it. */
export function killGroup(pid: number): boolean {
  try {
    process.kill(-pid, "SIGKILL");
    return true;
  } catch {
    return false;
  }
}

/** Whether the name of a log is known before the process is there. */
const isKnown = (path: string | null): path is string => path !== null && !path.includes("%P");
