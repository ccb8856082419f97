import { expect, test } from "vitest";
import { statusReport } from "../../src/worker/status-report.ts";

const answer = { rss: 60 * 1024 ** 2, heap: 9 * 1024 ** 2, waitsFor: { Timeout: 2, PipeWrap: 1 } };
const now = new Date("2026-01-01T00:00:10Z");
const child = (pid: number) => ({ pid, name: `ForkPoolWorker-${pid}` });

test("a report tells of everybody, what each runs and for how long, and who is blocked where", () => {
  const text = statusReport(
    {
      hostname: "w@h",
      pid: 1,
      phase: "warm",
      upMs: 61_234,
      counts: { reserved: 3, scheduled: 0, processed: 12 },
      main: answer,
      members: [
        { runner: child(2), role: "works", report: answer, stack: null },
        { runner: child(3), role: "works", report: null, stack: ["at spin (/t.ts:3:9)", "at run (/t.ts:9:1)"] },
        { runner: child(4), role: "starting", report: null, stack: null },
        { runner: child(5), role: "spare", report: answer, stack: null },
        { runner: child(6), role: "starting", report: null, stack: ["at /app.ts:1:1"] },
      ],
      running: [
        { name: "t.wait", id: "a", runner: child(2), since: new Date("2026-01-01T00:00:08.5Z") },
        { name: "t.spin", id: "b", runner: child(3), since: new Date("2026-01-01T00:00:00Z") },
      ],
    },
    now,
  );
  expect(text.split("\n")).toEqual([
    "Report of w@h: warm, up 61.2 s, 2 active, 3 reserved, 0 scheduled, 12 begun since the start",
    "MainProcess (pid 1): 60 MiB resident, 9 MiB heap, waits for 2 Timeout, 1 PipeWrap",
    "ForkPoolWorker-2 (pid 2): 60 MiB resident, 9 MiB heap, waits for 2 Timeout, 1 PipeWrap",
    "    t.wait[a] for 1.5 s",
    "ForkPoolWorker-3 (pid 3): does not answer: blocked in synchronous code",
    "    t.spin[b] for 10.0 s",
    "        at spin (/t.ts:3:9)",
    "        at run (/t.ts:9:1)",
    "ForkPoolWorker-4 (pid 4): starting; does not answer",
    "ForkPoolWorker-5 (pid 5): spare; 60 MiB resident, 9 MiB heap, waits for 2 Timeout, 1 PipeWrap",
    "ForkPoolWorker-6 (pid 6): starting; does not answer: blocked in synchronous code",
    "        at /app.ts:1:1",
  ]);
});
