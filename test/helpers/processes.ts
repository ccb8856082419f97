import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { childrenOf } from "./child.ts";

/** A process that was found. */
export interface FoundProcess {
  readonly pid: number;
  readonly command: string;
}

/** By what a process is known to be ours; one sign is enough. */
export interface Signs {
  /** `NAME=value` in the environment it was started with, which descendants inherit. Redis writes over its own. */
  readonly variable: string;
  /** It works in this folder or below. */
  readonly folder?: string | undefined;
  /** It is a child of this process. */
  readonly parent?: number;
}

/** Every live process but this one that bears one of the signs. Empty on systems without /proc. */
export function processesWith({ variable, folder, parent }: Signs): FoundProcess[] {
  const children = new Set(parent === undefined ? [] : childrenOf(parent));
  const found: FoundProcess[] = [];
  for (const pid of pids()) {
    if (pid === process.pid) continue;
    try {
      const inherited = readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(variable);
      const inside = folder !== undefined && `${readlinkSync(`/proc/${pid}/cwd`)}/`.startsWith(`${folder}/`);
      if (!inherited && !inside && !children.has(pid)) continue;
      // A zombie has no command line: it has ended and only waits for its parent to notice.
      const command = readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim();
      if (command !== "") found.push({ pid, command: command.slice(0, 160) });
    } catch {
      // Gone meanwhile, or somebody else's.
    }
  }
  return found;
}

function pids(): number[] {
  try {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name))
      .map(Number);
  } catch {
    return [];
  }
}

/** SIGKILL to each; those that are gone already are no matter. */
export function killAll(processes: readonly FoundProcess[]): void {
  for (const { pid } of processes) {
    try {
      process.kill(pid, "SIGKILL");
    } catch {
      // Gone meanwhile.
    }
  }
}
