import { inspect } from "node:util";
import { describe, expect, test } from "vitest";
import { Ignore, MaxRetriesExceededError, OperationalError, Retry, type TaskContext } from "../../src/index.ts";
import { type Logger, silentLogger } from "../../src/log.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

class Busy extends Error {}

describe("the options of a task", () => {
  test("are Celery's when nothing is said", () => {
    expect(stage().task("app.plain", () => 1).task.options).toEqual({
      bind: false,
      queue: null,
      exchange: null,
      exchangeType: null,
      routingKey: null,
      deliveryMode: null,
      priority: null,
      serializer: "json",
      compression: null,
      backend: null,
      ignoreResult: false,
      storeErrorsEvenIfIgnored: false,
      storeEagerResult: false,
      trackStarted: false,
      rateLimit: null,
      timeLimit: null,
      softTimeLimit: null,
      expires: null,
      maxRetries: 3,
      defaultRetryDelay: 180,
      autoretryFor: [],
      dontAutoretryFor: [],
      retryKwargs: {},
      retryBackoff: false,
      retryBackoffMax: 600,
      retryJitter: true,
      throws: [],
      sendEvents: true,
      trail: true,
      shadowName: null,
      resultReprMaxsize: 1024,
      typing: true,
      params: null,
      acksLate: false,
      acksOnFailure: true,
      acksOnTimeout: true,
      rejectOnWorkerLost: false,
    });
  });

  test("come from the settings where there are some, and are the task's own where it says so", () => {
    const app = stage({
      taskSerializer: "yaml",
      taskCompression: "zlib",
      taskIgnoreResult: true,
      taskStoreErrorsEvenIfIgnored: true,
      taskStoreEagerResult: true,
      taskTrackStarted: true,
      taskDefaultRateLimit: "10/m",
      taskTimeLimit: 30,
      taskSoftTimeLimit: 20,
      taskAcksLate: true,
      taskAcksOnFailure: false,
      taskAcksOnTimeout: false,
      taskRejectOnWorkerLost: true,
      strictTyping: false,
    });
    const theirs = app.task("app.theirs", (x: number) => x).task.options;
    expect(theirs).toMatchObject({
      serializer: "yaml",
      compression: "zlib",
      ignoreResult: true,
      storeErrorsEvenIfIgnored: true,
      storeEagerResult: true,
      trackStarted: true,
      rateLimit: "10/m",
      timeLimit: 30,
      softTimeLimit: 20,
      acksLate: true,
      acksOnFailure: false,
      acksOnTimeout: false,
      rejectOnWorkerLost: true,
      typing: false,
    });
    const own = {
      serializer: "json",
      ignoreResult: false,
      storeErrorsEvenIfIgnored: false,
      storeEagerResult: false,
      trackStarted: false,
      rateLimit: 5,
      timeLimit: 3,
      softTimeLimit: 2,
      acksLate: false,
      acksOnFailure: true,
      acksOnTimeout: true,
      rejectOnWorkerLost: false,
      typing: true,
    } as const;
    expect(app.task("app.own", own, (x: number) => x).task.options).toMatchObject(own);
    const both = app.task("app.both", { acksOnFailureOrTimeout: true }, () => 1).task.options;
    expect([both.acksOnFailure, both.acksOnTimeout]).toEqual([true, true]);
  });

  test("with strictTyping off, arguments that do not fit fail where the task runs", async () => {
    const app = stage({ strictTyping: false });
    const add = app.task("app.add", { typing: true }, (x: number, y: number) => x + y);
    const loose = app.task("app.loose", (x: number, y: number) => `${x} ${y}`);
    await expect(async () => await add.applyAsync([1] as never)).rejects.toThrow("missing");
    work(app);
    expect(await (await loose.applyAsync([1] as never)).get({ timeout: 5 })).toBe("1 undefined");
  });

  test("expected errors are logged as information, without a stack, others as errors", async () => {
    const app = stage();
    const lines: unknown[][] = [];
    const note =
      (level: string) =>
      (first: unknown, ...rest: unknown[]): void => {
        const fields = typeof first === "string" ? {} : (first as Record<string, unknown>);
        const text = String(typeof first === "string" ? first : rest[0]);
        if (text.includes("raised")) lines.push([level, text.includes("raised expected"), "err" in fields]);
      };
    const logger: Logger = { ...silentLogger, info: note("info"), error: note("error"), isLevelEnabled: () => true };
    app.signals.connect("setupLogging", ({ use }) => use({ ...logger, child: () => logger }));
    const expected = app.task("app.expected", { throws: [Busy] }, () => {
      throw new Busy("no");
    });
    const unexpected = app.task("app.unexpected", { throws: [Busy] }, () => {
      throw new RangeError("no");
    });
    work(app);
    const one = await expected.delay();
    await one.get({ timeout: 5, propagate: false });
    expect(await one.state()).toBe("FAILURE");
    await (await unexpected.delay()).get({ timeout: 5, propagate: false });
    await expect
      .poll(() => lines)
      .toEqual([
        ["info", true, false],
        ["error", false, true],
      ]);
  });
});

describe("a task's handle", () => {
  test("prints as what it is, finds results, and knows the errors to catch", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    expect([inspect(add), String(add)]).toEqual(["<@task: app.add of app>", "<@task: app.add of app>"]);
    work(app);
    const { id } = await add.delay(1, 2);
    expect(await add.asyncResult(id).get({ timeout: 5 })).toBe(3);
    expect([add.OperationalError, add.MaxRetriesExceededError]).toEqual([OperationalError, MaxRetriesExceededError]);
  });
});

describe("the request", () => {
  test("has every attribute Celery's has", async () => {
    const app = stage();
    const show = app.task("app.show", { bind: true }, (self, ..._args: unknown[]) => ({ ...self.request }));
    const worker = work(app, { loglevel: "ERROR" });
    const result = await show.applyAsync([1], {
      taskId: "my-id",
      headers: { tenant: "acme" },
      expires: 600,
      timeLimit: 30,
      softTimeLimit: 20,
      shadow: "shown",
      priority: 3,
      argsrepr: "(<secret>,)",
      kwargsrepr: "{<secret>}",
      correlationId: "c1",
      replyTo: "r1",
      rootId: "root",
      parentId: "parent",
      groupId: "g1",
      groupIndex: 2,
      stamps: { batch: 7 },
      link: show.s(),
      linkError: show.si(2),
    });
    const { properties, eta, expires, ...seen } = (await result.get({ timeout: 5 })) as Record<string, unknown>;
    expect([eta, typeof expires]).toEqual([null, "string"]);
    expect(properties).toMatchObject({ correlation_id: "c1", reply_to: "r1", priority: 3, delivery_mode: 2 });
    expect(seen).toEqual({
      id: "my-id",
      task: "app.show",
      args: [1],
      kwargs: {},
      retries: 0,
      isEager: false,
      calledDirectly: false,
      hostname: worker.hostname,
      origin: expect.stringMatching(/^gen\d+@/),
      deliveryInfo: { exchange: "", routingKey: "celery", priority: 3, redelivered: false },
      replyTo: "r1",
      correlationId: "c1",
      timelimit: [30, 20],
      callbacks: [expect.objectContaining({ task: "app.show", immutable: false })],
      errbacks: [expect.objectContaining({ task: "app.show", immutable: true })],
      chain: null,
      chord: null,
      rootId: "root",
      parentId: "parent",
      group: "g1",
      groupIndex: 2,
      shadow: "shown",
      ignoreResult: false,
      replacedTaskNesting: 0,
      stamps: { batch: [7] },
      stampedHeaders: ["batch"],
      headers: { tenant: "acme" },
      children: [],
      lang: "js",
      argsrepr: "(<secret>,)",
      kwargsrepr: "{<secret>}",
      utc: true,
      logfile: null,
      loglevel: "ERROR",
    });
  });

  test("of a task that is simply called says so, and its methods know it", async () => {
    const app = stage();
    const direct = app.task("app.direct", { bind: true }, (self) => self.request.calledDirectly);
    const again = app.task("app.again", { bind: true }, (self, cause?: Error): never => {
      throw self.retry(cause ? { cause } : {});
    });
    expect(direct()).toBe(true);
    expect(() => again()).toThrow(Retry);
    expect(() => again()).toThrow("Task can be retried");
    expect(() => again(new Busy("busy"))).toThrow(Busy);
  });
});

describe("a retry", () => {
  test("goes back where it came from, with what the call said, unless it says otherwise itself", async () => {
    const app = stage();
    const seen: unknown[] = [];
    const task = app.task("app.again", { bind: true, ignoreResult: true }, (self, word: string) => {
      const { retries, deliveryInfo, timelimit, headers, shadow, expires } = self.request;
      seen.push([word, retries, deliveryInfo?.routingKey, deliveryInfo?.priority, timelimit, headers, shadow]);
      if (retries === 0) throw self.retry({ countdown: 0 });
      if (retries === 1) {
        seen.push(typeof expires);
        throw self.retry({
          countdown: 0,
          args: ["changed"],
          queue: "theirs",
          priority: 6,
          timeLimit: 9,
          softTimeLimit: 8,
          headers: { more: 1 },
          shadow: "other",
        });
      }
    });
    work(app, { queues: ["ours", "theirs"] });
    await task.applyAsync(["first"], {
      queue: "ours",
      priority: 3,
      timeLimit: 30,
      headers: { tenant: "acme" },
      shadow: "shown",
      expires: 600,
    });
    await until(() => seen.length === 4);
    expect(seen).toEqual([
      ["first", 0, "ours", 3, [30, null], { tenant: "acme" }, "shown"],
      ["first", 1, "ours", 3, [30, null], { tenant: "acme" }, "shown"],
      "string",
      ["changed", 2, "theirs", 6, [9, 8], { tenant: "acme", more: 1 }, "other"],
    ]);
  });

  test("that sets maxRetries sets it for the automatic ones after it as well", async () => {
    const app = stage();
    const tries: Record<string, number> = {};
    const options = { bind: true, autoretryFor: [Busy], retryKwargs: { maxRetries: 1, countdown: 0 } } as const;
    const raised = app.task("app.raised", options, (self): void => {
      tries.raised = self.request.retries;
      if (self.request.retries === 0) throw self.retry({ countdown: 0, maxRetries: 3 });
      throw new Busy("still");
    });
    const plain = app.task("app.plain", options, (self): void => {
      tries.plain = self.request.retries;
      throw new Busy("still");
    });
    work(app);
    await expect((await raised.delay()).get({ timeout: 5 })).rejects.toThrow("still");
    await expect((await plain.delay()).get({ timeout: 5 })).rejects.toThrow("still");
    expect(tries).toEqual({ raised: 3, plain: 1 });
  });

  test("with throw: false is sent while the task goes on", async () => {
    const app = stage();
    const seen: unknown[] = [];
    const task = app.task("app.both", { bind: true, ignoreResult: true, maxRetries: 1 }, async (self: TaskContext) => {
      const { retries } = self.request;
      const sent = await self.retry({ countdown: 0, throw: false }).catch((error: unknown) => error);
      seen.push([retries, (sent as Error).name, "went on"]);
    });
    work(app);
    await task.delay();
    await until(() => seen.length === 2);
    expect(seen.sort()).toEqual([
      [0, "Retry", "went on"],
      [1, "MaxRetriesExceededError", "went on"],
    ]);
  });

  test("after the last one fails in Celery's words, and hides arguments that are to be hidden", async () => {
    const app = stage();
    const task = app.task("app.hopeless", { bind: true, maxRetries: 0 }, (self, _secret: string): void => {
      throw self.retry();
    });
    work(app);
    const result = await task.applyAsync(["p4ssw0rd"], { argsrepr: "(<secret>,)" });
    const error = await result.get({ timeout: 5 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MaxRetriesExceededError);
    expect((error as Error).message).toContain(`Can't retry app.hopeless[${result.id}] args:(<secret>,) kwargs:{}`);
    expect((error as Error).message).not.toContain("p4ssw0rd");
  });
});

describe("signatureFromRequest", () => {
  test("is the call of this run once more, with changes, which comes to the same result", async () => {
    const app = stage();
    const seen: unknown[] = [];
    const done = app.task("app.done", (value: unknown) => void seen.push(value));
    const moves = app.task("app.moves", { bind: true }, async (self, word: string) => {
      const { id, retries, headers, shadow, deliveryInfo, rootId, timelimit } = self.request;
      seen.push([id, retries, headers, shadow, deliveryInfo?.routingKey, deliveryInfo?.priority, rootId, timelimit]);
      if (word !== "first") return word;
      const again = self.signatureFromRequest({ args: ["second"], queue: "slow", headers: { moved: true } });
      await app.signature(again).applyAsync();
      throw new Ignore();
    });
    work(app, { queues: ["fast", "slow", "celery"] });
    const result = await moves.applyAsync(["first"], {
      taskId: "mine",
      queue: "fast",
      priority: 3,
      timeLimit: 30,
      shadow: "shown",
      headers: { tenant: "acme" },
      link: done.s(),
    });
    expect(await result.get({ timeout: 5 })).toBe("second");
    await until(() => seen.length === 3);
    expect(seen).toEqual([
      ["mine", 0, { tenant: "acme" }, "shown", "fast", 3, "mine", [30, null]],
      ["mine", 0, { tenant: "acme", moved: true }, "shown", "slow", 3, "mine", [30, null]],
      "second",
    ]);
  });

  test("of a task that is simply called has its arguments, and goes where its calls go", () => {
    const app = stage();
    const direct = app.task("app.direct", { bind: true }, (self, _x: number) => self.signatureFromRequest());
    expect(direct(7)).toMatchObject({ task: "app.direct", args: [7], kwargs: {}, options: {} });
  });
});

describe("a running task", () => {
  test("sees that it was aborted, and stores states, its own and those of others", async () => {
    const app = stage();
    const count = app.task("app.count", { bind: true }, async (self) => {
      await self.updateState("MINE", 1);
      await self.updateState("THEIRS", { by: self.request.id }, { taskId: "another" });
      while (!(await self.isAborted())) await self.sleep(0.005);
      return "stopped when asked";
    });
    work(app);
    const result = await count.delay();
    await until(async () => (await result.state()) === "MINE");
    expect(await app.asyncResult("another").state().then(String)).not.toBe("MINE");
    await until(async () => (await app.asyncResult("another").state()) === "THEIRS");
    expect(await app.asyncResult("another").result()).toEqual({ by: result.id });
    expect(await result.isAborted()).toBe(false);
    await result.abort();
    expect(await result.get({ timeout: 5 })).toBe("stopped when asked");
    expect(await result.isAborted()).toBe(false);
  });
});
