import { readdirSync, readFileSync } from "node:fs";

/** A process found by its environment. */
export interface FoundProcess {
  readonly pid: number;
  readonly command: string;
}

/**
 * Every live process but this one that has `NAME=value` in the environment it was started with, and
 * so every descendant of whoever set it. Empty on systems without /proc.
 */
export function processesWith(variable: string): FoundProcess[] {
  const found: FoundProcess[] = [];
  for (const pid of pids()) {
    if (pid === process.pid) continue;
    try {
      if (!readFileSync(`/proc/${pid}/environ`, "latin1").split("\0").includes(variable)) continue;
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
