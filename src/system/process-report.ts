import { memoryUsage } from "node:process";

/** What a process or thread is doing, as far as it sees itself. */
export interface ProcessReport {
  /** Bytes of resident memory of the process. */
  readonly rss: number;
  /** Bytes of its JavaScript heap in use. */
  readonly heap: number;
  /** What keeps its event loop alive, by kind and number: timers, sockets, requests to the file system. */
  readonly waitsFor: Readonly<Record<string, number>>;
}

/**
 * Reports of the process or thread that calls it. Whoever can answer has nothing on its stack but
 * the question: what it waits for says more.
 */
export function reportProcess(): ProcessReport {
  const { rss, heapUsed: heap } = memoryUsage();
  const waitsFor: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) waitsFor[kind] = (waitsFor[kind] ?? 0) + 1;
  return { rss, heap, waitsFor };
}

/** On one line: `61 MiB resident, 12 MiB heap, waits for 2 Timeout, 1 TCPSocketWrap`. */
export function describeProcess({ rss, heap, waitsFor }: ProcessReport): string {
  const kinds = Object.entries(waitsFor).map(([kind, number]) => `${number} ${kind}`);
  return `${mebibytes(rss)} resident, ${mebibytes(heap)} heap, waits for ${kinds.join(", ") || "nothing"}`;
}

const mebibytes = (bytes: number): string => `${Math.round(bytes / 1024 ** 2)} MiB`;
