import { mkdir, writeFile } from "node:fs/promises";
import { describe, expect, expectTypeOf, test } from "vitest";
import {
  type AsyncResult,
  BrokerConnectionError,
  chain,
  currentApp,
  group,
  ImproperlyConfigured,
  sharedTask,
  Tq,
} from "../../src/index.ts";
import { stage, work } from "../helpers/stage.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

describe("a shared task", () => {
  test("is in every app, those made before and those made after it, and calls go to the current one's", async () => {
    const before = stage();
    const add = sharedTask("shared.add", { maxRetries: 9 }, (x: number, y: number) => x + y);
    const after = stage();
    expect(before.tasks.has("shared.add")).toBe(true);
    expect(after.tasks.get("shared.add")?.options.maxRetries).toBe(9);
    expect(currentApp()).toBe(after);
    expect(add.task).toBe(after.tasks.get("shared.add"));
    expect(add(1, 2)).toBe(3);
    work(after);
    const result = await add.delay(2, 3);
    expectTypeOf(result).toEqualTypeOf<AsyncResult<number>>();
    expect(await result.get({ timeout: 5 })).toBe(5);
    before.setAsCurrent();
    expect(add.task).toBe(before.tasks.get("shared.add"));
  });

  test("needs a name", () => {
    expect(() => sharedTask(() => 1)).toThrow(ImproperlyConfigured);
  });
});

describe("apps beside each other", () => {
  test("keep settings and tasks apart, and one that does not want to be current is not", () => {
    const one = stage({ taskDefaultQueue: "one" }, "one");
    const two = stage({ taskDefaultQueue: "two", setAsCurrent: false }, "two");
    one.task("only.one", () => 1);
    expect(two.tasks.has("only.one")).toBe(false);
    expect(one.conf.settings.taskDefaultQueue).toBe("one");
    expect(two.conf.settings.taskDefaultQueue).toBe("two");
    expect(currentApp()).toBe(one);
    expect(two.task(function work() {}).taskName).toBe("two.work");
  });

  test("may name their tasks in ways of their own", () => {
    class Mine extends Tq {
      override genTaskName(functionName: string, main: string): string {
        return `${main}/${functionName}`.toUpperCase();
      }
    }
    expect(new Mine("shop", { broker: "memory://" }).task(function pay() {}).taskName).toBe("SHOP/PAY");
  });
});

describe("an app that loads its modules", () => {
  test("discovers tasks in packages, passes over those without, and tells when it is complete", async () => {
    await using folder = await temporaryFolder("tq-discover-");
    await mkdir(folder.file("shop"));
    await mkdir(folder.file("empty"));
    await mkdir(folder.file("broken"));
    await writeFile(folder.file("shop", "tasks.mjs"), "globalThis.discovered = (globalThis.discovered ?? 0) + 1;\n");
    await writeFile(folder.file("broken", "tasks.mjs"), "throw new Error('broken inside');\n");
    for (const [name, text] of [
      ["forced", "globalThis.discovered += 1;"],
      ["broken-too", 'throw new Error("broken too");'],
    ] as const) {
      await mkdir(folder.file(name));
      await writeFile(folder.file(`${name}/tasks.mjs`), text);
    }
    const app = stage();
    const told: string[] = [];
    for (const signal of ["importModules", "afterConfigure", "afterFinalize"] as const)
      app.signals.connect(signal, () => void told.push(signal));
    app.autodiscoverTasks([folder.file("shop"), folder.file("empty")]);
    await app.loadModules([], folder.path);
    await app.loadModules([], folder.path);
    expect((globalThis as { discovered?: number }).discovered).toBe(1);
    expect(told).toEqual(["importModules", "afterConfigure", "afterFinalize", "importModules"]);
    app.autodiscoverTasks(() => [folder.file("broken")]);
    await expect(app.loadModules([], folder.path)).rejects.toThrow("broken inside");
    await app.autodiscoverTasks([folder.file("forced"), folder.file("empty")], { force: true });
    expect((globalThis as { discovered?: number }).discovered).toBe(2);
    await expect(app.autodiscoverTasks([folder.file("broken-too")], { force: true })).rejects.toThrow("broken too");
  });
});

describe("a producer", () => {
  test("holds calls until there are enough, or until it is told to send them", async () => {
    const app = stage();
    const noop = app.task("app.noop", (n: number) => n);
    const queue = await app.connectionForRead();
    await using producer = app.producer({ hold: 3, linger: 30 });
    const sent = [1, 2].map((n) => noop.applyAsync([n], { producer }));
    await noop.delay(0); // over the app's own connection
    expect(await queue.size("celery")).toBe(1);
    sent.push(noop.applyAsync([3], { producer }));
    await Promise.all(sent);
    expect(await queue.size("celery")).toBe(4);
    const last = noop.applyAsync([4], { producer });
    await producer.flush();
    await last;
    expect(await queue.size("celery")).toBe(5);
    await queue.close();
  });

  test("without hold sends each call at once over a connection of its own", async () => {
    const app = stage();
    const noop = app.task("app.noop", () => 1);
    await using producer = app.producer();
    await noop.applyAsync([], { producer, expiration: 60 });
    const connection = await app.connection();
    expect(await connection.size("celery")).toBe(1);
    await connection.close();
  });
});

describe("app.connection", () => {
  test("is connected, of one's own, and carries calls as long as it is open", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    app.broker = async () => {
      throw new Error("the app's own connection is not needed");
    };
    const connection = await app.connection();
    await add.applyAsync([1, 2], { connection });
    await chain(add.s(1, 2), add.s(3)).applyAsync([], { connection });
    await group(add.s(1, 2), add.s(3, 4)).applyAsync([], { connection });
    expect(await connection.size("celery")).toBe(4);
    await expect(add.delay(1, 2)).rejects.toThrow("is not needed");
    await connection.close();
  });

  test("that cannot be made rejects, and names the server", async () => {
    await using app = new Tq("app", { broker: "redis://127.0.0.1:1", backend: "disabled" });
    await expect(app.connection()).rejects.toThrow(BrokerConnectionError);
    await expect(app.connection()).rejects.toThrow("127.0.0.1:1");
  });
});
