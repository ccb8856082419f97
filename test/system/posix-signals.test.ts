import { expect, test } from "vitest";
import { onSignal } from "../../src/system/posix-signals.ts";
import { workerTitle } from "../../src/system/process-title.ts";
import { until } from "../helpers/until.ts";

test("each arrival is told with its count, until disposed of", async () => {
  const seen: string[] = [];
  const before = process.listenerCount("SIGUSR2");
  const registration = onSignal(["SIGUSR2", "SIGWINCH"], (signal, times) => seen.push(`${signal} ${times}`));
  process.kill(process.pid, "SIGUSR2");
  await until(() => seen.length === 1);
  process.kill(process.pid, "SIGUSR2");
  await until(() => seen.length === 2);
  process.kill(process.pid, "SIGWINCH");
  await until(() => seen.length === 3);
  expect(seen).toEqual(["SIGUSR2 1", "SIGUSR2 2", "SIGWINCH 1"]);
  registration[Symbol.dispose]();
  expect(process.listenerCount("SIGUSR2")).toBe(before);
});

test("a title names node, process and activity, and never a password", () => {
  expect(workerTitle("tq@host", "ForkPoolWorker-1")).toBe("[tq: tq@host:ForkPoolWorker-1]");
  expect(
    workerTitle("tq@host", "MainProcess", { activity: "active", argv: ["-b", "redis://user:secret@host/0", "worker"] }),
  ).toBe("[tq: tq@host:MainProcess] -active- (-b redis://user:**@host/0 worker)");
});
