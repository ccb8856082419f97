import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { chain, chord, group, ImproperlyConfigured, type Tq } from "../../src/index.ts";
import { root } from "../helpers/build.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { stage, work } from "../helpers/stage.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

/** An app with a task whose results go to a store of its own. */
function twoStores(options: Parameters<typeof stage>[0] = {}, url = `cache+memory://own-${randomUUID()}`) {
  const app = stage(options);
  const plain = app.task("app.plain", (x: number) => x + 1);
  const own = app.task("app.own", { backend: url, bind: true }, async (self, x: number, end = "return") => {
    await self.updateState("PROGRESS", x);
    if (end === "throw") throw new RangeError("own error");
    return x * 10;
  });
  /** What the app's store knows of a call, and what the task's. */
  const states = async (id: string) => {
    const stores = await Promise.all([app.backend(), app.backend(url)]);
    return await Promise.all(stores.map(async (store) => (await store.load(id))?.status));
  };
  return { app, plain, own, states };
}

describe("a task with a store of its own", () => {
  test("has its results there and nowhere else, and whoever called it reads them there", async () => {
    const { app, plain, own, states } = twoStores();
    work(app);
    const seen: string[] = [];
    const result = await own.delay(4);
    expect(await result.get({ timeout: 5, onMessage: ({ status }) => seen.push(status) })).toBe(40);
    expect(seen).toContain("PROGRESS");
    expect(await states(result.id)).toEqual([undefined, "SUCCESS"]);
    expect(await own.asyncResult(result.id).get()).toBe(40);
    expect(await app.asyncResult(result.id).state()).toBe("PENDING");
    const failed = await own.applyAsync([1, "throw"]);
    await expect(failed.get({ timeout: 5 })).rejects.toThrow("own error");
    expect(await states(failed.id)).toEqual([undefined, "FAILURE"]);
    const byName = await app.sendTask("app.own", [5]);
    expect(await byName.get({ timeout: 5 })).toBe(50);
    const usual = await plain.delay(1);
    expect(await usual.get({ timeout: 5 })).toBe(2);
    expect(await states(usual.id)).toEqual(["SUCCESS", undefined]);
    await result.forget();
    expect(await states(result.id)).toEqual([undefined, undefined]);
  });

  test("is part of chains, groups and chords like any other", async () => {
    const { app, plain, own, states } = twoStores();
    const sum = app.task("app.sum", { backend: own.task.options.backend }, (all: number[]) =>
      all.reduce((x, y) => x + y, 0),
    );
    work(app);
    const line = await chain(plain.s(1), own.s(), plain.s()).applyAsync();
    expect(await line.get({ timeout: 5 })).toBe(21);
    expect(await line.parent?.get({ timeout: 5 })).toBe(20);
    expect(
      await chain(plain.s(1), own.s())
        .applyAsync()
        .then((last) => last.get({ timeout: 5 })),
    ).toBe(20);
    const mixed = await group(own.s(1), plain.s(1), own.s(2)).applyAsync();
    expect(await mixed.get({ timeout: 5 })).toEqual([10, 2, 20]);
    const values = [];
    for await (const [, value] of mixed) values.push(value);
    expect(values.sort()).toEqual([10, 2, 20]);
    expect(await app.resultSet([await own.delay(1), await plain.delay(1)]).get({ timeout: 5 })).toEqual([10, 2]);
    const whole = await chord(group(own.s(1), plain.s(1)), sum.s()).applyAsync();
    expect(await whole.get({ timeout: 5 })).toBe(12);
    expect(await states(whole.id)).toEqual([undefined, "SUCCESS"]);
    expect(await app.workflows.show(whole.id)).toMatchObject({ open: [], untold: [] });
  });

  test("that fails before it ran, or with what it would have followed, has that in its own store", async () => {
    const { app, plain, own, states } = twoStores();
    const fails = app.task("app.fails", (): number => {
      throw new Error("the step before");
    });
    work(app);
    const expired = await own.applyAsync([1], { expires: -1 });
    await expect(expired.get({ timeout: 5 })).rejects.toThrow("expired");
    expect(await states(expired.id)).toEqual([undefined, "REVOKED"]);
    const misfit = await app.sendTask("app.own", []);
    await expect(misfit.get({ timeout: 5 })).rejects.toThrow("missing");
    expect(await states(misfit.id)).toEqual([undefined, "FAILURE"]);
    const line = await chain(fails.si(), own.s()).applyAsync();
    await expect(line.get({ timeout: 5 })).rejects.toThrow("the step before");
    await until(async () => (await states(line.id))[1] === "FAILURE");
    const whole = await chord(group(fails.si(), plain.s(1)), app.signature("app.own")).applyAsync();
    await expect(whole.get({ timeout: 5 })).rejects.toThrow("the step before");
    expect(await states(whole.id)).toEqual([undefined, "FAILURE"]);
  });

  test("keeps eager results there too where they are kept, and is cleaned up with the app's", async () => {
    await using folder = await temporaryFolder();
    const url = `sqlite://${folder.file("own.db")}`;
    const { app, own, states } = twoStores({ taskAlwaysEager: true, taskStoreEagerResult: true }, url);
    const result = await own.delay(2);
    expect(await result.get()).toBe(20);
    expect(await states(result.id)).toEqual([undefined, "SUCCESS"]);
    const cleaned: string[] = [];
    for (const store of [await app.backend(), await app.backend(url)]) {
      store.cleanup = async () => cleaned.push(store.kind);
    }
    await (app.handle("celery.backend_cleanup") as unknown as () => Promise<void>)();
    expect(cleaned).toEqual(["memory", "sqlite"]);
  });

  test("names it by a URL, or is refused", () => {
    const app = stage();
    const task = (backend: unknown) => app.task(`app.${randomUUID()}`, { backend } as never, () => 1).task.options;
    expect(() => task("nonsense://x")).toThrow(ImproperlyConfigured);
    expect(() => task(5)).toThrow(/backend must be a URL such as redis/);
    expect(app.task("app.plain", () => 1).task.options.backend).toBeNull();
  });
});

/** Late acknowledgement on one server: there an end is one atomic step, which cannot take in another store. */
async function expectBothLate(app: Tq, own: ReturnType<typeof twoStores>["own"]): Promise<void> {
  const late = app.task("app.late", { acksLate: true, backend: own.task.options.backend }, (x: number) => x + 1);
  work(app);
  const line = await chain(late.s(1), late.s(), own.s()).applyAsync();
  expect(await line.get({ timeout: 10 })).toBe(30);
  expect(await line.parent?.get({ timeout: 10 })).toBe(3);
  const broker = await app.broker();
  await until(async () => (await broker.size("celery")) === 0);
}

describe("a worker with children", () => {
  test("stores such results there, of whatever becomes of the task", async () => {
    await using folder = await temporaryFolder();
    const env = { OWN_STORE_FOLDER: folder.path };
    Object.assign(process.env, env);
    const { app, own, late, dies } = await import("../apps/own-store.ts");
    const worker = startWorker({ app: join(root, "test", "apps", "own-store.ts"), env, args: ["-c", "1"] });
    try {
      await worker.ready();
      const line = await chain(own.s(1), late.s(), late.s()).applyAsync();
      expect(await line.get({ timeout: 20 })).toBe(12);
      await expect((await dies.delay()).get({ timeout: 20 })).rejects.toThrow("exited prematurely");
      expect(await app.asyncResult(line.id).state()).toBe("PENDING");
      await worker.term();
    } finally {
      await worker.kill9Group();
      await app.close();
    }
  }, 60_000);
});

describeWith("redis", "on Redis", () => {
  test("it may be another server than that of messages and of all other results", async () => {
    await using one = await freshRedis();
    await using other = await freshRedis();
    const { app, own } = twoStores({ broker: one.url, backend: one.url }, other.url);
    await expectBothLate(app, own);
    const result = await own.delay(7);
    expect(await result.get({ timeout: 10 })).toBe(70);
  });

  describeWith(["amqp", "vhost"], "and RabbitMQ", () => {
    test("it may be the reply queue of the client", async () => {
      await using vhost = await freshVhost();
      await using redis = await freshRedis();
      const { app, plain, own } = twoStores({ broker: vhost.url, backend: redis.url }, "rpc://");
      work(app);
      expect(await (await own.delay(7)).get({ timeout: 10 })).toBe(70);
      expect(await (await plain.delay(7)).get({ timeout: 10 })).toBe(8);
      const mixed = await group(own.s(1), plain.s(1)).applyAsync();
      expect(await mixed.get({ timeout: 10 })).toEqual([10, 2]);
    });
  });
});
