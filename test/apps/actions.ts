import { spawnSync } from "node:child_process";
import { appendFileSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { isMainThread, threadId } from "node:worker_threads";
import { getTaskLogger, Tq } from "tq";

/** Tasks that do to a pool all that tasks can do to one. */
export const app = new Tq("actions", { taskDefaultQueue: process.env.ACTIONS_QUEUE ?? "celery" });

app.signals.connect("workerProcessInit", () => {
  if (process.env.ACTIONS_INIT_SECONDS) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, Number(process.env.ACTIONS_INIT_SECONDS) * 1000);
  }
});

/** Where it runs: `pid/thread`. */
const here = (): string => `${process.pid}/${isMainThread ? 0 : threadId}`;
const mark = (file: string, text: string): void => appendFileSync(file, `${text}\n`);

app.task("actions.ok", (x: unknown) => x);
app.task("actions.where", here);
app.task("actions.fail", () => {
  throw new RangeError("told to fail");
});
app.task("actions.retry", { bind: true }, (self) => {
  throw self.retry({ countdown: 3600 });
});
app.task("actions.exit", (code: number) => {
  process.exit(code);
});
app.task("actions.kill", () => {
  process.kill(process.pid, "SIGKILL");
  for (;;);
});
app.task("actions.hang", (file: string | null = null) => {
  if (file !== null) mark(file, "hangs");
  for (;;);
});
app.task("actions.wait", async (seconds: number, file: string | null = null, name = "") => {
  if (file !== null) mark(file, `begin ${name}`);
  await sleep(seconds * 1000);
  if (file !== null) mark(file, `end ${name}`);
  return here();
});
app.task("actions.waitLate", { acksLate: true }, async (seconds: number, file: string, name: string) => {
  mark(file, `begin ${name}`);
  await sleep(seconds * 1000);
  mark(file, `end ${name}`);
});
/** Heeds its signal, and says what that had to say. */
app.task("actions.heed", { bind: true }, async (self, seconds: number, file: string | null = null) => {
  try {
    await self.sleep(seconds);
    return "slept";
  } catch (error) {
    if (file !== null) mark(file, (error as Error).name);
    throw error;
  }
});
/** Never yields, but asks. */
app.task("actions.ask", { bind: true }, (self) => {
  for (;;) self.signal.throwIfAborted();
});
app.task("actions.busy", (ms: number) => {
  const end = performance.now() + ms;
  while (performance.now() < end);
  return here();
});

const leaked: Buffer[] = [];
app.task("actions.leak", (megabytes: number) => {
  leaked.push(Buffer.alloc(megabytes * 2 ** 20, 1));
  return here();
});

app.task("actions.print", () => {
  process.stdout.write("printed nicely\n");
  process.stderr.write("to stderr\n");
  process.stdout.write("without an end");
});
app.task("actions.shell", () => {
  spawnSync("sh", ["-c", "echo from a program"], { stdio: ["ignore", "inherit", "inherit"] });
  writeSync(1, "past the streams\n");
});
const log = getTaskLogger("actions");
app.task("actions.log", { bind: true }, (self) => {
  log.info("by %s", "getTaskLogger");
  self.log.warn("by self.log");
});
