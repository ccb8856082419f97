import { randomBytes } from "node:crypto";
import { type FoundProcess, killAll, processesWith } from "./processes.ts";
import { until } from "./until.ts";

/** What keeps a process alive and belongs to somebody. The rest (file reads, DNS) ends by itself. */
const watched = new Set([
  "TCPSocketWrap",
  "TCPServerWrap",
  "TLSWrap",
  "PipeWrap",
  "PipeServerWrap",
  "UDPWrap",
  "ProcessWrap",
  "FSEventWrap",
  "StatWatcher",
  "Timeout",
  "Worker",
]);

/** Knows what was there when it was made, and so what is left over later. */
export interface LeakWatch {
  /** What is left now, each named: "1 TCPSocketWrap", "process 17 (sleep 60)". */
  leftovers(): string[];
  /** Waits up to `timeout` seconds (3) for everything to end, kills the processes that did not, and names what was left. */
  settle(timeout?: number): Promise<string[]>;
}

/**
 * Watches the sockets, servers, watchers and ref'd timers of this process, and every process that
 * is started from now on by it or by its children: they inherit a variable that is set here.
 */
export function watchLeaks(): LeakWatch {
  const mark = randomBytes(8).toString("hex");
  process.env.TQ_TEST_FILE = mark;
  const baseline = countResources();
  const find = (): FoundProcess[] => processesWith({ variable: `TQ_TEST_FILE=${mark}`, parent: process.pid });
  const before = new Set(find().map(({ pid }) => pid));
  const processes = (): FoundProcess[] => find().filter(({ pid }) => !before.has(pid));
  const leftovers = (): string[] => {
    const grown = [...countResources()]
      .map(([name, count]) => ({ name, more: count - (baseline.get(name) ?? 0) }))
      .filter(({ more }) => more > 0)
      .map(({ name, more }) => `${more} ${name}`);
    return [...processes().map(({ pid, command }) => `process ${pid} (${command})`), ...grown];
  };
  return {
    leftovers,
    async settle(timeout = 3) {
      // Closing takes a moment: sockets end on the next turns of the loop, processes when they are reaped.
      await until(() => leftovers().length === 0, { timeout }).catch(() => undefined);
      const left = leftovers();
      killAll(processes());
      return left;
    },
  };
}

function countResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) {
    if (watched.has(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}
