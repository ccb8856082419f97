import { appendFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";

/** Tasks that behave in every way a worker has to bear. Broker and backend come from the environment. */
export const app = new Tq("acts", { taskDefaultQueue: process.env.ACTS_QUEUE ?? "celery" });

/** Leaves a line where a test can see that, and how often, it ran. */
const mark = (file: string, text: string): void => appendFileSync(file, `${text}\n`);

export const add = app.task("acts.add", (x: number, y: number) => x + y);

export const slow = app.task("acts.slow", async (file: string, name: string, seconds: number) => {
  mark(file, `begin ${name}`);
  await sleep(seconds * 1000);
  mark(file, `end ${name}`);
  return name;
});

export const slowLate = app.task(
  "acts.slowLate",
  { acksLate: true },
  async (file: string, name: string, seconds: number) => {
    mark(file, `begin ${name}`);
    await sleep(seconds * 1000);
    mark(file, `end ${name}`);
    return name;
  },
);

export const print = app.task("acts.print", () => {
  console.log("printed by console.log");
  process.stderr.write("written to stderr\n");
  process.stdout.write("a line without its end");
  process.emitWarning("warned of by Node");
});

/** Exits on its first run; with a file that says so, works on the second. */
function dieOnce(file: string, how: string): string {
  mark(file, "run");
  if (how === "exit") process.exit(3);
  process.kill(process.pid, how as NodeJS.Signals);
  for (;;) sleepSync();
}
const sleepSync = (): void => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);

export const die = app.task("acts.die", dieOnce);
export const dieLate = app.task("acts.dieLate", { acksLate: true }, dieOnce);
export const dieRequeued = app.task(
  "acts.dieRequeued",
  { acksLate: true, rejectOnWorkerLost: true, bind: true },
  (self, file: string) => {
    mark(file, self.request.deliveryInfo?.redelivered ? "again" : "first");
    if (!self.request.deliveryInfo?.redelivered) process.kill(process.pid, "SIGKILL");
    return "survived";
  },
);

export const alwaysDies = app.task(
  "acts.alwaysDies",
  { acksLate: true, rejectOnWorkerLost: true },
  async (file: string) => {
    mark(file, "run");
    await sleep(300);
    process.kill(process.pid, "SIGKILL");
    await sleep(10_000);
  },
);

/** The next version of the app has a task more, and one of its tasks takes an argument more. */
const isNext = process.env.ACTS_VERSION === "2";
if (isNext) app.task("acts.newcomer", (x: number) => x * 2);
export const grown = isNext
  ? app.task("acts.grown", (x: number, y: number) => x + y)
  : app.task("acts.grown", (x: number) => x);

export const failDead = app.task("acts.failDead", { acksLate: true, acksOnFailure: false }, () => {
  throw new Error("to the dead letters");
});

export const hang = app.task("acts.hang", { timeLimit: 0.5 }, () => {
  for (;;) sleepSync();
});

export const soft = app.task("acts.soft", { bind: true, softTimeLimit: 0.3 }, async (self) => {
  await sleep(5_000, undefined, { signal: self.signal }).catch(() => undefined);
  throw self.signal.reason;
});

export const pid = app.task("acts.pid", () => process.pid);
