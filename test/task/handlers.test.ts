import { describe, expect, test } from "vitest";
import { Ignore, type SignatureDict, Task, type TaskContext } from "../../src/index.ts";
import { stage, work } from "../helpers/stage.ts";

describe("handlers of a task", () => {
  test("are called in Celery's order around a success, once the result can be read", async () => {
    const app = stage();
    const told: unknown[] = [];
    const add = app.task(
      "app.add",
      {
        beforeStart: (self) => void told.push(["beforeStart", self.request.args]),
        onSuccess: async (self, result) => {
          told.push(["onSuccess", result, await app.asyncResult(self.request.id).state()]);
        },
        afterReturn: (_self, state, value) => void told.push(["afterReturn", state, value]),
        onFailure: () => void told.push(["onFailure"]),
      },
      (x: number, y: number) => {
        told.push(["run"]);
        return x + y;
      },
    );
    app.signals.connect("taskPrerun", () => void told.push(["taskPrerun"]));
    app.signals.connect("taskSuccess", () => void told.push(["taskSuccess"]));
    app.signals.connect("taskPostrun", () => void told.push(["taskPostrun"]));
    work(app);
    expect(await (await add.delay(2, 3)).get({ timeout: 5 })).toBe(5);
    await expect
      .poll(() => told)
      .toEqual([
        ["taskPrerun"],
        ["beforeStart", [2, 3]],
        ["run"],
        ["onSuccess", 5, "SUCCESS"],
        ["taskSuccess"],
        ["afterReturn", "SUCCESS", 5],
        ["taskPostrun"],
      ]);
  });

  test("are called around a failure and a retry, and afterReturn not for a retry or an ignored task", async () => {
    const app = stage();
    const told: unknown[] = [];
    const handlers = {
      onRetry: (_self: TaskContext, reason: unknown) => void told.push(["onRetry", String(reason)]),
      onFailure: (self: TaskContext, error: unknown, traceback: string) =>
        void told.push(["onFailure", String(error), self.request.retries, traceback.includes("Error: no")]),
      afterReturn: (_self: TaskContext, state: string) => void told.push(["afterReturn", state]),
    };
    const fails = app.task("app.fails", { ...handlers, bind: true, maxRetries: 1 }, (self) => {
      throw self.retry({ countdown: 0, cause: new Error("no") });
    });
    const ignores = app.task("app.ignores", handlers, () => {
      throw new Ignore();
    });
    work(app);
    await ignores.delay();
    await expect((await fails.delay()).get({ timeout: 5 })).rejects.toThrow("no");
    await expect.poll(() => told.length).toBe(3);
    expect(told).toEqual([
      ["onRetry", "Error: no"],
      ["onFailure", "Error: no", 1, true],
      ["afterReturn", "FAILURE"],
    ]);
  });

  test("see what is to replace the task before it is sent, and may refuse it", async () => {
    const app = stage();
    const told: unknown[] = [];
    const add = app.task("app.add", (x: number, y: number) => x + y);
    const onReplace = async (self: TaskContext, { task, args }: SignatureDict): Promise<void> => {
      told.push([self.name, task, args]);
      if (args[0] === 0) throw new RangeError("not by this");
    };
    const body = async (self: TaskContext, x: number): Promise<number> => await self.replace(add.si(x, 1));
    const by = app.task("app.by", { bind: true, onReplace }, body);
    class Strict extends Task {
      override onReplace = onReplace;
    }
    const byClass = app.task("app.byClass", { bind: true, base: Strict }, body);
    work(app);
    expect(await (await by.delay(4)).get({ timeout: 5 })).toBe(5);
    expect(await (await byClass.delay(5)).get({ timeout: 5 })).toBe(6);
    await expect((await by.delay(0)).get({ timeout: 5 })).rejects.toThrow("not by this");
    expect(told).toEqual([
      ["app.by", "app.add", [4, 1]],
      ["app.byClass", "app.add", [5, 1]],
      ["app.by", "app.add", [0, 1]],
    ]);
  });

  test("that throw change nothing any more, except beforeStart, which ends the task", async () => {
    const app = stage();
    const broken = (): never => {
      throw new Error("broken handler");
    };
    const fine = app.task("app.fine", { onSuccess: broken, afterReturn: broken }, () => 1);
    const never = app.task("app.never", { beforeStart: broken }, () => 1);
    work(app);
    expect(await (await fine.delay()).get({ timeout: 5 })).toBe(1);
    await expect((await never.delay()).get({ timeout: 5 })).rejects.toThrow("broken handler");
  });
});

describe("a task class", () => {
  class Database extends Task {
    opened = 0;
    #connection: string | undefined;
    readonly told: string[] = [];

    get connection(): string {
      if (this.#connection === undefined) {
        this.opened += 1;
        this.#connection = "open";
      }
      return this.#connection;
    }

    override onSuccess(self: TaskContext, result: unknown): void {
      this.told.push(`${self.name} gave ${String(result)}`);
    }
  }

  test("keeps its state for all runs of a task, and shares its handlers between tasks", async () => {
    const app = stage();
    const read = app.task("app.read", { base: Database, bind: true }, (self, key: string) => {
      return `${self.task.connection} ${key} ${self.task.opened}`;
    });
    const other = app.task("app.other", { base: Database, bind: true }, (self) => self.task.opened);
    work(app);
    expect(await (await read.delay("a")).get({ timeout: 5 })).toBe("open a 1");
    expect(await (await read.delay("b")).get({ timeout: 5 })).toBe("open b 1");
    expect(await (await other.delay()).get({ timeout: 5 })).toBe(0);
    expect((read.task.instance as Database).told).toEqual(["app.read gave open a 1", "app.read gave open b 1"]);
    expect(read("c")).toBe("open c 1");
  });

  test("with a run of its own is a task by itself", async () => {
    const app = stage();
    class Greet extends Task {
      override readonly name = "app.greet";
      override readonly options = { maxRetries: 7 };
      greetings = 0;
      run(_self: TaskContext, name: string, word = "hello"): string {
        this.greetings += 1;
        return `${word} ${name} ${this.greetings}`;
      }
    }
    const greet = app.registerTask(Greet);
    work(app);
    expect(greet.task.options.maxRetries).toBe(7);
    expect(await (await greet.delay("you")).get({ timeout: 5 })).toBe("hello you 1");
    expect(await (await greet.applyAsync([], { kwargs: { name: "me", word: "hi" } })).get({ timeout: 5 })).toBe(
      "hi me 2",
    );
    expect(() => app.registerTask(Database as never)).toThrow("Database has no run(self, …)");
  });

  test("may be that of all tasks of an app, and is told when it is bound", () => {
    const bound: unknown[] = [];
    class Mine extends Task {
      override readonly options = { acksLate: true, defaultRetryDelay: 7 };
      override onBound(app: unknown): void {
        bound.push(app);
      }
    }
    const app = stage({ taskCls: Mine });
    bound.length = 0;
    const add = app.task("app.add", { defaultRetryDelay: 8 }, (x: number) => x);
    expect(add.task.instance).toBeInstanceOf(Mine);
    expect(add.task.options).toMatchObject({ acksLate: true, defaultRetryDelay: 8 });
    expect(bound).toEqual([app]);
  });
});

describe("taskAnnotations", () => {
  test("override what tasks say of themselves, for one, for all, and by a function", () => {
    const app = stage({
      taskAnnotations: [
        { "*": { maxRetries: 9 }, "app.slow": { time_limit: 30 } },
        { annotate: ({ name }: { name: string }) => (name === "app.odd" ? { acksLate: true } : null) },
      ],
    });
    const slow = app.task("app.slow", { maxRetries: 1 }, () => 1);
    const odd = app.task("app.odd", () => 1);
    expect(slow.task.options).toMatchObject({ maxRetries: 9, timeLimit: 30, acksLate: false });
    expect(odd.task.options).toMatchObject({ maxRetries: 9, timeLimit: null, acksLate: true });
  });

  test("set and wrap handlers", async () => {
    const told: string[] = [];
    const app = stage({
      taskAnnotations: {
        "*": { onSuccess: () => void told.push("set") },
        "app.wrapped": {
          "@onSuccess":
            (original: (...given: unknown[]) => unknown) =>
            (...given: unknown[]) => {
              told.push("around");
              return original(...given);
            },
        },
      },
    });
    const wrapped = app.task("app.wrapped", () => 1);
    work(app);
    await (await wrapped.delay()).get({ timeout: 5 });
    await expect.poll(() => told).toEqual(["around", "set"]);
  });

  test("of no known form are refused by name", () => {
    const app = stage({ taskAnnotations: 5 as never });
    expect(() => app.task("app.x", () => 1).task.options).toThrow("taskAnnotations must be a record by task name");
    const other = stage({ taskAnnotations: { "*": { "@run": () => 1 } } });
    expect(() => other.task("app.x", () => 1).task.options).toThrow("@run must name a handler");
  });
});

describe("a static method", () => {
  test("becomes a task by a decorator, and no other method does", async () => {
    const app = stage();
    const decorate = app.task({ name: "app.double", maxRetries: 5 });
    const method = (x: number): number => 2 * x;
    const context = (isStatic: boolean) => ({ kind: "method", static: isStatic, name: "double" }) as never;
    const handle = decorate(method, context(true));
    work(app);
    expect(handle.task.options.maxRetries).toBe(5);
    expect(await (await handle.delay(4)).get({ timeout: 5 })).toBe(8);
    expect(() => decorate(method, context(false))).toThrow("only a static method can be a task");
  });
});
