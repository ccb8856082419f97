import { readFileSync, renameSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { getTaskLogger, Ignore, Reject, sharedTask, Task, type TaskContext } from "tq";
import { app } from "./app.ts";

const logger = getTaskLogger("proj.tasks");

// ── next steps ───────────────────────────────────────────────────────────────

export const add = app.task("proj.tasks.add", (x: number, y: number) => x + y);
export const mul = app.task("proj.tasks.mul", (x: number, y: number) => x * y);
export const xsum = app.task("proj.tasks.xsum", (numbers: readonly number[]) => numbers.reduce((sum, n) => sum + n, 0));

/** Keyword arguments: a last parameter that is an object. */
export const debugged = app.task(
  "proj.tasks.debugged",
  (x: number, y: number, { debug = false }: { readonly debug?: boolean } = {}) => `${x + y} ${debug}`,
);

export const uploadDocument = app.task("proj.tasks.uploadDocument", (file: string) => `${file} uploaded`);
export const applyFilter = app.task("proj.tasks.applyFilter", (file: string, filter: string) => `${file}, ${filter}`);

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

/** For libraries, which know no app: calls go to the current one. */
export const resize = sharedTask("lib.resize", (width: number, factor: number) => width * factor);

/** Arguments nobody checks before they get here. */
export const loose = app.task("proj.tasks.loose", { typing: false }, (x: number, y?: number) => `${x} ${y}`);

/** STARTED, with the process that runs it, is stored before it runs. */
export const tracked = app.task("proj.tasks.tracked", { trackStarted: true, bind: true }, async (self) => {
  while (!(await self.isAborted())) await self.sleep(0.02);
  return "stopped";
});

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

/** Later each time: 1, 2, 4 … seconds, a random part of it, and here never more than 50 ms. */
export const backingOff = app.task(
  "proj.tasks.backingOff",
  { bind: true, autoretryFor: [Busy], retryBackoff: true, retryBackoffMax: 0.05, retryJitter: true, maxRetries: null },
  (self): string => {
    if (self.request.retries < 4) throw new Busy("not yet");
    return `after ${self.request.retries} retries`;
  },
);

/** An error that says more than a text keeps it in `args`: what its constructor takes. */
export class HttpError extends Error {
  override readonly name = "HttpError";
  readonly args: readonly unknown[];
  readonly status: number;
  constructor(status: number, text: string) {
    super(`${status} ${text}`);
    this.args = [status, text];
    this.status = status;
  }
}
app.errors.set("HttpError", HttpError);
export const request = app.task("proj.tasks.request", (): never => {
  throw new HttpError(404, "not found");
});

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

/** A connection opened once in each process. */
class DatabaseTask extends Task {
  #db: Map<string, number> | undefined;
  get db(): Map<string, number> {
    this.#db ??= new Map([["rows", 3]]); // connect here
    return this.#db;
  }
}
export const processRows = app.task(
  "proj.tasks.processRows",
  { base: DatabaseTask, bind: true },
  (self) => self.task.db.get("rows") ?? 0,
);

/** A class that is a task by itself. */
class Greet extends Task {
  override readonly name = "proj.tasks.greet";
  run(_self: TaskContext, who: string): string {
    return `hello ${who}`;
  }
}
export const greet = app.registerTask(Greet);

/** Handlers of a class: all its tasks have them. */
class Noting extends Task {
  override afterReturn(self: TaskContext, state: string): void {
    logger.info("%s[%s] ended: %s", self.name, self.request.id, state);
  }
}
export const noted = app.task("proj.tasks.noted", { base: Noting }, (key: string): never => {
  throw new RangeError(`no ${key}`);
});

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

/** Given back once: the second time the message says that it was delivered before. */
export const requeued = app.task("proj.tasks.requeued", { acksLate: true, bind: true }, (self): string => {
  if (!self.request.deliveryInfo?.redelivered) throw new Reject("not now", { requeue: true });
  return "the second time";
});

/** Waiting for another task inside of one is refused, unless one insists. */
export const waits = app.task("proj.tasks.waits", async () => {
  const inner = await add.delay(1, 2);
  const refused = await inner.get().catch((error: Error) => error.message.slice(0, 41));
  return [refused, await inner.get({ disableSyncSubtasks: false })];
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

// ── the guide's full example: comments of a blog, and a filter against spam ──

export interface Comment {
  readonly id: number;
  readonly text: string;
  isSpam: boolean;
}

/** Stands for the database: ids travel in messages, not rows, which would be old by the time they arrive. */
export const comments = {
  file: "comments.json",
  all: (): Comment[] => JSON.parse(readFileSync(comments.file, "utf8")) as Comment[],
  save: (all: readonly Comment[]): void => {
    writeFileSync(`${comments.file}.new`, JSON.stringify(all));
    renameSync(`${comments.file}.new`, comments.file); // nobody reads half of it
  },
};

export const spamFilter = app.task(
  "blog.tasks.spamFilter",
  { bind: true, maxRetries: 100 },
  (self, { commentId, remoteAddr }: { readonly commentId: number; readonly remoteAddr: string }): boolean => {
    logger.info("checking comment %s of %s", commentId, remoteAddr);
    const all = comments.all();
    const comment = all.find(({ id }) => id === commentId);
    // Not written yet: the transaction that sent this call is still open.
    if (comment === undefined) throw self.retry({ countdown: 0.1, cause: new Error(`no comment ${commentId}`) });
    comment.isSpam = /casino/i.test(comment.text);
    comments.save(all);
    return comment.isSpam;
  },
);
