import { randomBytes } from "node:crypto";
import { afterAll } from "vitest";
import { killAll, processesWith } from "./processes.ts";
import { until } from "./until.ts";

/**
 * Set up for every test file: when its last test and last hook are done, nothing it started may be
 * left. Fails the file for processes it started, however deep, and for sockets, servers, watchers
 * and timers beyond those that were there before its first import.
 */

/** Marks whatever this file starts: the variable is inherited by children and their children. */
const mark = `TQ_TEST_FILE=${randomBytes(8).toString("hex")}`;
process.env.TQ_TEST_FILE = mark.slice("TQ_TEST_FILE=".length);

/** What keeps a process alive and belongs to somebody. The rest (file reads, DNS) ends by itself. */
const watched = [
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
];

function resources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of process.getActiveResourcesInfo()) {
    if (watched.includes(name)) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return counts;
}

const baseline = resources();

function leaked(): string[] {
  return [...resources()]
    .filter(([name, count]) => count > (baseline.get(name) ?? 0))
    .map(([name, count]) => `${count - (baseline.get(name) ?? 0)} ${name}`);
}

afterAll(async () => {
  // Closing takes a moment: sockets end on the next turns of the loop, processes when they are reaped.
  await until(() => leaked().length === 0 && processesWith(mark).length === 0, { timeout: 3 }).catch(() => undefined);
  const processes = processesWith(mark);
  killAll(processes);
  const problems = [...processes.map((one) => `process ${one.pid} (${one.command})`), ...leaked()];
  if (problems.length > 0) throw new Error(`left behind by this test file: ${problems.join(", ")}`);
});
