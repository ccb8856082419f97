import { setTimeout as sleep } from "node:timers/promises";
import { getTaskLogger, Ignore, Reject, Task, type TaskContext } from "tq";
import { app } from "./app.ts";

const logger = getTaskLogger("proj.tasks");

// ── next steps ───────────────────────────────────────────────────────────────

export const add = app.task("proj.tasks.add", (x: number, y: number) => x + y);
export const mul = app.task("proj.tasks.mul", (x: number, y: number) => x * y);
export const xsum = app.task("proj.tasks.xsum", (numbers: readonly number[]) => numbers.reduce((sum, n) => sum + n, 0));

/** TypeScript refuses `add.delay(2, "2")`; a Python client's call of it would end like this one. */
export const concat = app.task("proj.tasks.concat", (x: unknown, y: unknown) => {
  if (typeof x !== typeof y) throw new TypeError(`unsupported operand types: ${typeof x} and ${typeof y}`);
  return `${String(x)}${String(y)}`;
});

// ── tasks ────────────────────────────────────────────────────────────────────

/** A bound task: its first argument is the running task. */
export const dumpContext = app.task("proj.tasks.dumpContext", { bind: true }, (self, x: number, y: number) => {
  logger.info("Executing task id %s", self.request.id);
  const { args, kwargs, retries, calledDirectly, isEager } = self.request;
  return { args, kwargs, retries, calledDirectly, isEager, sum: x + y };
});

/** The name is whatever you say. */
export const sum = app.task("sum-of-two-numbers", (x: number, y: number) => x + y);

class Busy extends Error {
  override readonly name = "Busy";
}
app.errors.set("Busy", Busy);

/** Retried by hand. */
export const tweet = app.task("proj.tasks.tweet", { bind: true, maxRetries: 5 }, (self, text: string) => {
  if (self.request.retries < 2) throw self.retry({ countdown: 0.1, cause: new Busy("fail whale") });
  return `${text} (try ${self.request.retries + 1})`;
});

/** Retried by itself, later each time, no more than three times. */
export const refresh = app.task(
  "proj.tasks.refresh",
  { autoretryFor: [Busy], retryBackoff: false, retryKwargs: { maxRetries: 3, countdown: 0.05 } },
  (): string => {
    throw new Busy("still busy");
  },
);

/** Custom states. */
export const upload = app.task("proj.tasks.upload", { bind: true }, async (self, files: readonly string[]) => {
  for (const [index] of files.entries()) {
    if (!self.request.calledDirectly) await self.updateState("PROGRESS", { current: index, total: files.length });
    await sleep(50); // the work
  }
  return files.length;
});

/** One object of this class in each process that runs the task. */
export class NaiveAuthenticateServer extends Task {
  readonly users = new Map([["george", "password"]]);
}

export const authenticate = app.task(
  "proj.tasks.authenticate",
  { base: NaiveAuthenticateServer, bind: true },
  (self, username: string, password: string) => self.task.users.get(username) === password,
);

/** Handlers. */
export const handled = app.task(
  "proj.tasks.handled",
  {
    onFailure: (self: TaskContext, error: unknown) => logger.error("%s failed: %s", self.request.id, String(error)),
    throws: [RangeError],
  },
  (): never => {
    throw new RangeError("expected");
  },
);

/** Semipredicates: a task that has dealt with its own state … */
export const ignored = app.task("proj.tasks.ignored", { bind: true }, async (self): Promise<void> => {
  await self.updateState("CUSTOM", { by: "hand" });
  throw new Ignore();
});

/** … and one that gives its message to the dead-letter store. */
export const rejected = app.task("proj.tasks.rejected", { acksLate: true }, (): never => {
  throw new Reject("no reason", { requeue: false });
});

/** Better than a task that waits for others: a chain, started with the first. */
export const fetchPage = app.task("proj.tasks.fetchPage", (url: string) => `<html>${url}</html>`);
export const parsePage = app.task("proj.tasks.parsePage", (page: string) => page.replace(/<[^>]+>/g, ""));
export const storePageInfo = app.task(
  "proj.tasks.storePageInfo",
  { ignoreResult: false },
  (info: string, url: string) => ({
    info,
    url,
  }),
);

// ── calling ──────────────────────────────────────────────────────────────────

/** Celery's `hello` of the guide: two states on the way, then the result. */
export const hello = app.task("proj.tasks.hello", { bind: true }, async (self, a: number, b: number) => {
  await sleep(20);
  await self.updateState("PROGRESS", { progress: 50 });
  await sleep(20);
  await self.updateState("PROGRESS", { progress: 90 });
  await sleep(20);
  return `hello world: ${a + b}`;
});

/** An errback of the newer style: called where the task failed, with request, error and traceback. */
export const errorHandler = app.task(
  "proj.tasks.errorHandler",
  { bind: false, ignoreResult: true },
  (request: { readonly id: string }, error: Error, _traceback: string) => {
    logger.error("Task %s raised exception: %s", request.id, error.message);
  },
);
