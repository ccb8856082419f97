import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { until } from "./until.ts";

/** How a process ended: its exit code, or the signal that ended it. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A child process in a process group of its own, with what it printed. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  readonly process: ChildProcess;
  /** Everything printed so far, standard output and error in the order of their arrival. */
  readonly output: string;
  /** Lines printed so far. */
  readonly lines: readonly string[];
  /** Resolves when the process has ended. */
  readonly exited: Promise<Exit>;
  readonly running: boolean;
  /** Resolves with the first line that contains `text` or matches it; rejects when the process ends before. */
  printed(text: string | RegExp, options?: { readonly timeout?: number }): Promise<string>;
  /** Sends a signal to this process alone. */
  signal(signal: NodeJS.Signals): void;
  /** Sends a signal to this process and every descendant that stayed in its group. */
  signalGroup(signal: NodeJS.Signals): void;
  /** SIGTERM, then SIGKILL to the group after `timeout` seconds (10); resolves with how it ended. */
  stop(options?: { readonly timeout?: number }): Promise<Exit>;
  /** SIGKILL to the whole group, and waits until it is gone. */
  kill(): Promise<Exit>;
}

/** Starts a program in its own process group, so that it and its descendants can be killed together. */
export function startChild(command: string, args: readonly string[], options: SpawnOptions = {}): Child {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options, detached: true });
  const lines: string[] = [];
  for (const stream of [child.stdout, child.stderr]) {
    if (stream) createInterface({ input: stream }).on("line", (line) => lines.push(line));
  }
  let ended: Exit | undefined;
  const exited = new Promise<Exit>((resolve) => {
    const finish = (exit: Exit): void => {
      ended ??= exit;
      resolve(ended);
    };
    child.once("error", (error) => {
      lines.push(String(error));
      finish({ code: 127, signal: null });
    });
    child.once("close", (code, signal) => finish({ code, signal }));
    // A grandchild may hold the pipes open after the child is gone; it does not get to hide the end.
    child.once("exit", (code, signal) => setTimeout(finish, 500, { code, signal }).unref());
  });

  const signalGroup = (signal: NodeJS.Signals): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
  };
  const kill = async (): Promise<Exit> => {
    signalGroup("SIGKILL");
    return exited;
  };
  return {
    pid: child.pid ?? 0,
    process: child,
    lines,
    exited,
    get output() {
      return lines.join("\n");
    },
    get running() {
      return ended === undefined && child.exitCode === null && child.signalCode === null;
    },
    async printed(text, { timeout = 20 } = {}) {
      const matches = (line: string): boolean => (typeof text === "string" ? line.includes(text) : text.test(line));
      const outcome = await until(() => lines.find(matches) ?? ended, {
        timeout,
        message: `${text} in ${command}`,
      }).catch((error: Error) => {
        throw new Error(`${error.message}; it printed:\n${lines.slice(-60).join("\n")}`);
      });
      if (typeof outcome === "string") return outcome;
      throw new Error(
        `${command} ended (code ${outcome.code}, signal ${outcome.signal}) before it printed ${text}:\n${lines.join("\n")}`,
      );
    },
    signal: (signal) => void child.kill(signal),
    signalGroup,
    async stop({ timeout = 10 } = {}) {
      child.kill("SIGTERM");
      const timer = setTimeout(() => signalGroup("SIGKILL"), timeout * 1000);
      const exit = await exited;
      clearTimeout(timer);
      // Whoever is left of the group has lost its parent.
      signalGroup("SIGKILL");
      return exit;
    },
    kill,
    async [Symbol.asyncDispose]() {
      await kill();
    },
  };
}

/** The number a shell reports for an end by this signal: 128 + its number. */
export function signalExitCode(signal: NodeJS.Signals): number {
  return 128 + constants.signals[signal];
}

/** The process ids of the direct children of a process; empty where the system does not say. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Whether a process exists and is not a zombie. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return true;
  }
}
