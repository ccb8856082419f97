import { randomUUID } from "node:crypto";
import { setMaxListeners } from "node:events";
import { afterEach, describe, expect, test } from "vitest";
import {
  group,
  ImproperlyConfigured,
  InvalidTaskError,
  RemoteError,
  TimeoutError,
  Tq,
  Worker,
} from "../../src/index.ts";
import { eagerApp } from "../../src/testing.ts";
import { until } from "../helpers/until.ts";

const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** An app and a worker of it, in this process, on a store of their own. */
function stage(options: ConstructorParameters<typeof Tq>[1] = {}): Tq {
  const store = randomUUID();
  const app = new Tq("app", { broker: `memory://${store}`, backend: `cache+memory://${store}`, ...options });
  closers.push(() => app.close());
  return app;
}

function work(app: Tq, options: ConstructorParameters<typeof Worker>[1] = {}): Worker {
  const worker = new Worker(app, { pool: "solo", quiet: true, loglevel: "CRITICAL", ...options });
  const ended = worker.run();
  closers.push(async () => {
    worker.shutdown();
    await ended;
  });
  return worker;
}

describe("a task", () => {
  test("called directly runs here, without a message", () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    expect(add(2, 2)).toBe(4);
  });

  test("gets a name from the app and its function when it has none", () => {
    const app = stage();
    expect(app.task(function resize() {}).taskName).toBe("app.resize");
    expect(() => app.task(() => 1)).toThrow(ImproperlyConfigured);
  });

  test("whose name is taken is the task that was there first", () => {
    const app = stage();
    const first = app.task("app.twice", () => 1);
    expect(app.task("app.twice", () => 2).task).toBe(first.task);
  });

  test("runs in a worker, and its result comes back", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    work(app);
    expect(await (await add.delay(2, 3)).get({ timeout: 5 })).toBe(5);
  });

  test("takes keyword arguments by name", async () => {
    const app = stage();
    const join = app.task("app.join", (a: string, b: string, c = "c") => a + b + c);
    work(app);
    expect(await (await join.applyAsync(["x"], { kwargs: { b: "y" } })).get({ timeout: 5 })).toBe("xyc");
    expect(await (await join.applyAsync([], { kwargs: { c: "3", b: "2", a: "1" } })).get({ timeout: 5 })).toBe("123");
  });

  test("refuses arguments that do not fit before anything is sent", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    await expect(async () => await add.applyAsync([1] as never)).rejects.toThrow(InvalidTaskError);
    await expect(async () => await add.applyAsync([1], { kwargs: { z: 1 } })).rejects.toThrow(
      "unexpected keyword argument 'z'",
    );
  });

  test("sees its request", async () => {
    const app = stage();
    const seen = app.task("app.seen", { bind: true }, (self, ..._rest: unknown[]) => ({
      id: self.request.id,
      retries: self.request.retries,
      queue: self.request.deliveryInfo?.routingKey,
      root: self.request.rootId,
      headers: self.request.headers,
      args: self.request.args,
    }));
    work(app);
    const result = await seen.applyAsync([1, "two"], { headers: { tenant: "acme" } });
    expect(await result.get({ timeout: 5 })).toEqual({
      id: result.id,
      retries: 0,
      queue: "celery",
      root: result.id,
      headers: { tenant: "acme" },
      args: [1, "two"],
    });
  });

  test("called from a task is its child, in the same tree", async () => {
    const app = stage();
    const inner = app.task("app.inner", { bind: true }, (self) => [self.request.rootId, self.request.parentId]);
    const outer = app.task("app.outer", async () => (await inner.delay()).id);
    work(app);
    const result = await outer.delay();
    const child = app.asyncResult<[string, string]>(await result.get({ timeout: 5 }));
    expect(await child.get({ timeout: 5 })).toEqual([result.id, result.id]);
    expect((await result.children()).map(({ id }) => id)).toEqual([child.id]);
  });

  test("retries with backoff until it works, and says so meanwhile", async () => {
    const app = stage();
    class Busy extends Error {}
    const flaky = app.task(
      "app.flaky",
      { bind: true, autoretryFor: [Busy], retryKwargs: { countdown: 0.01 }, maxRetries: 5 },
      (self) => {
        if (self.request.retries < 3) throw new Busy("not yet");
        return self.request.retries;
      },
    );
    work(app);
    const states: string[] = [];
    const result = await flaky.delay();
    expect(await result.get({ timeout: 5, onMessage: ({ status }) => states.push(status) })).toBe(3);
    expect(states).toContain("RETRY");
    expect(states.at(-1)).toBe("SUCCESS");
  });

  test("that runs out of retries fails with what made it retry", async () => {
    const app = stage();
    const hopeless = app.task("app.hopeless", { bind: true, maxRetries: 2 }, (self): string => {
      throw self.retry({ countdown: 0.01, cause: new TypeError("never") });
    });
    work(app);
    const error = await (await hopeless.delay()).get({ timeout: 5 }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ name: "TypeError", message: "never" });
  });

  test("stores states of its own", async () => {
    const app = stage();
    const steps = app.task("app.steps", { bind: true }, async (self) => {
      for (const current of [1, 2, 3]) await self.updateState("PROGRESS", { current });
    });
    work(app);
    const seen: unknown[] = [];
    await (await steps.delay()).get({ timeout: 5, onMessage: (meta) => seen.push([meta.status, meta.result]) });
    expect(seen).toContainEqual(["PROGRESS", { current: 3 }]);
  });

  test("with trackStarted is STARTED while it runs", async () => {
    const app = stage({ taskTrackStarted: true });
    let finish: () => void = () => undefined;
    const wait = app.task("app.wait", () => new Promise<void>((resolve) => (finish = resolve)));
    work(app);
    const result = await wait.delay();
    await until(async () => (await result.state()) === "STARTED");
    expect(await result.result()).toMatchObject({ pid: process.pid });
    finish();
    await result.get({ timeout: 5 });
  });

  test("whose result is ignored leaves none, and get() does not wait for it", async () => {
    const app = stage();
    const quiet = app.task("app.quiet", { ignoreResult: true }, () => "kept to itself");
    const loud = app.task("app.loud", () => "heard");
    work(app);
    expect(await (await quiet.delay()).get()).toBeNull();
    const ignored = await loud.applyAsync([], { ignoreResult: true });
    await (await loud.delay()).get({ timeout: 5 });
    expect(await app.asyncResult(ignored.id).state()).toBe("PENDING");
  });

  test("past its expiry is revoked, not run", async () => {
    const app = stage();
    let runs = 0;
    const late = app.task("app.late", () => {
      runs += 1;
    });
    const result = await late.applyAsync([], { expires: new Date(Date.now() - 1000) });
    work(app);
    const error = await result.get({ timeout: 5, propagate: false });
    expect(await result.state()).toBe("REVOKED");
    expect(String(error)).toContain("expired");
    expect(runs).toBe(0);
  });

  test("with a countdown waits for its time", async () => {
    const app = stage();
    const now = app.task("app.now", () => Date.now());
    work(app);
    const begun = Date.now();
    const ran = await (await now.applyAsync([], { countdown: 0.3 })).get({ timeout: 5 });
    expect(ran - begun).toBeGreaterThanOrEqual(299);
  });

  test("that returns what cannot be written fails and says what", async () => {
    const app = stage();
    const strange = app.task("app.strange", () => ({ deep: [new Set([1])] }));
    work(app);
    const error = await (await strange.delay()).get({ timeout: 5, propagate: false });
    expect((error as unknown as Error).name).toBe("EncodeError");
  });

  test("with options nobody knows is refused by name", () => {
    const app = stage();
    const task = app.task("app.typo", { maxRetrys: 3 } as never, () => 1);
    expect(() => task.task.options).toThrow(/unknown option `maxRetrys`/);
  });
});

describe("a result", () => {
  test("gives up waiting after its timeout", async () => {
    const app = stage();
    const never = app.task("app.never", () => 1);
    await expect((await never.delay()).get({ timeout: 0.05 })).rejects.toThrow(TimeoutError);
  });

  test("stops waiting when its signal aborts", async () => {
    const app = stage();
    const never = app.task("app.never", () => 1);
    const abort = new AbortController();
    const waiting = (await never.delay()).get({ signal: abort.signal });
    abort.abort(new Error("changed my mind"));
    await expect(waiting).rejects.toThrow("changed my mind");
  });

  test("of a failed task throws its error, or returns it when told to", async () => {
    const app = stage();
    class CardDeclined extends Error {
      override readonly name = "CardDeclined";
    }
    const charge = app.task("app.charge", (): string => {
      throw new CardDeclined("no funds");
    });
    work(app);
    const result = await charge.delay();
    const error = (await result.get({ timeout: 5 }).catch((thrown: unknown) => thrown)) as RemoteError;
    expect(error).toBeInstanceOf(RemoteError);
    expect(error).toMatchObject({ name: "CardDeclined", message: "no funds" });
    expect(error.remoteTraceback).toContain("app.test.ts");
    expect(await result.get({ propagate: false })).toMatchObject({ name: "CardDeclined" });
    expect([await result.state(), await result.failed(), await result.successful(), await result.ready()]).toEqual([
      "FAILURE",
      true,
      false,
      true,
    ]);
    expect(await result.traceback()).toContain("CardDeclined: no funds");
  });

  test("of an unknown id is PENDING, and a forgotten one too", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    work(app);
    expect(await app.asyncResult("this-id-does-not-exist").state()).toBe("PENDING");
    const result = await add.delay(1, 1);
    await result.get({ timeout: 5 });
    await result.forget();
    expect(await app.asyncResult(result.id).state()).toBe("PENDING");
  });

  test("is not waited for inside a task", async () => {
    const app = stage();
    const inner = app.task("app.inner", () => 1);
    const outer = app.task("app.outer", async () => await (await inner.delay()).get());
    work(app);
    const error = await (await outer.delay()).get({ timeout: 5, propagate: false });
    expect(String(error)).toContain("Never call result.get() within a task!");
  });

  test("without a backend says how to get one", async () => {
    const app = new Tq("app", { broker: `memory://${randomUUID()}` });
    closers.push(() => app.close());
    const add = app.task("app.add", (x: number, y: number) => x + y);
    await expect((await add.delay(1, 2)).get({ timeout: 1 })).rejects.toThrow(/No result backend is configured/);
  });
});

describe("routing", () => {
  test("sends tasks where taskRoutes says, in order", async () => {
    const app = stage({
      taskRoutes: [
        ["app.video.*", { queue: "video" }],
        [/^app\.(img|pic)\./, "images"],
        (name: string) => (name.endsWith(".slow") ? "slow" : null),
      ] as never,
    });
    for (const name of ["app.video.cut", "app.img.crop", "app.any.slow", "app.other"]) await app.sendTask(name);
    const broker = await app.broker();
    const sizes = await Promise.all(["video", "images", "slow", "celery"].map((queue) => broker.size(queue)));
    expect(sizes).toEqual([1, 1, 1, 1]);
  });

  test("is overridden by the call", async () => {
    const app = stage({ taskRoutes: { "app.*": { queue: "routed" } } });
    await app.sendTask("app.add", [1, 2], { queue: "hipri" });
    expect(await (await app.broker()).size("hipri")).toBe(1);
  });

  test("a worker consumes the queues it is told to", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    work(app, { queues: ["only"] });
    const elsewhere = await add.delay(1, 1);
    expect(await (await add.applyAsync([1, 2], { queue: "only" })).get({ timeout: 5 })).toBe(3);
    expect(await elsewhere.state()).toBe("PENDING");
  });
});

describe("many calls", () => {
  test("leave together and come back one by one", async () => {
    const app = stage();
    const square = app.task("app.square", (n: number) => n * n);
    work(app);
    const results = await square.delayMany(Array.from({ length: 50 }, (_, n) => [n] as [number]));
    expect(await Promise.all(results.map((result) => result.get({ timeout: 5 })))).toEqual(
      Array.from({ length: 50 }, (_, n) => n * n),
    );
  });
});

describe("eager calls", () => {
  test("run here and now, and throw what the task throws", async () => {
    const app = eagerApp("app", { taskEagerPropagates: true });
    const add = app.task("app.add", (x: number, y: number) => x + y);
    const boom = app.task("app.boom", () => {
      throw new Error("boom");
    });
    expect(await (await add.delay(1, 2)).get()).toBe(3);
    await expect(boom.delay()).rejects.toThrow("boom");
    await app.close();
  });

  test("retry here and now as well", async () => {
    const app = eagerApp();
    const flaky = app.task("app.flaky", { bind: true }, (self) => {
      if (self.request.retries < 2) throw self.retry({ countdown: 60 });
      return self.request.retries;
    });
    expect(await (await flaky.delay()).get()).toBe(2);
    await app.close();
  });
});

describe("signals", () => {
  test("tell what happens to a task, in order, and one that throws disturbs nobody", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    const told: string[] = [];
    app.signals.connect("beforeTaskPublish", ({ headers }) => {
      headers.tenant = "acme";
      told.push("before publish");
    });
    app.signals.connect("afterTaskPublish", () => void told.push("after publish"));
    app.signals.connect("taskPrerun", ({ request }) => void told.push(`prerun ${String(request.headers.tenant)}`));
    app.signals.connect("taskSuccess", ({ result }) => void told.push(`success ${String(result)}`));
    app.signals.connect("taskPostrun", ({ state }) => void told.push(`postrun ${state}`));
    const result = await add.delay(1, 2);
    work(app);
    await result.get({ timeout: 5 });
    await until(() => told.length === 5);
    expect(told).toEqual(["before publish", "after publish", "prerun acme", "success 3", "postrun SUCCESS"]);
  });
});

describe("a single look-up", () => {
  test("of a result, or of a group, ends with its signal when the store does not answer", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    const result = await add.delay(1, 2);
    const many = app.resultSet([result, await add.delay(3, 4)]);
    const kept = await group(add.s(1, 2), add.s(3, 4)).applyAsync();
    const store = await app.backend();
    const never = (): Promise<never> => new Promise(() => undefined);
    Object.assign(store, { load: never, forget: never, saveGroup: never, loadGroup: never, forgetGroup: never });
    const stop = new AbortController();
    const { signal } = stop;
    setMaxListeners(100, signal);
    const names = [
      ...([
        "state",
        "result",
        "info",
        "traceback",
        "ready",
        "successful",
        "failed",
        "exists",
        "dateDone",
        "name",
      ] as const),
      ...(["args", "kwargs", "worker", "retries", "queue", "children", "meta", "maybeThrow", "isAborted"] as const),
      ...(["forget", "graph"] as const),
    ];
    const asked: Promise<unknown>[] = [
      ...names.map((name) => result[name]({ signal })),
      ...(["ready", "waiting", "successful", "failed", "completedCount", "maybeThrow", "forget"] as const).map((name) =>
        many[name]({ signal }),
      ),
      kept.save({ signal }),
      kept.delete({ signal }),
      app.restoreGroup("any", { signal }),
    ];
    const ends = Promise.allSettled(asked);
    const reason = new Error("no more time");
    stop.abort(reason);
    for (const end of await ends) expect(end).toMatchObject({ status: "rejected", reason });
    await expect(result.state({ signal })).rejects.toBe(reason);
  });
});
