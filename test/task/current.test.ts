import console from "node:console";
import { describe, expect, test } from "vitest";
import { currentTask, currentWorkerTask } from "../../src/index.ts";
import type { Logger } from "../../src/log.ts";
import { stage, work } from "../helpers/stage.ts";

describe("the current task", () => {
  test("is the one in whose course the code executes, through its awaits, and none outside", async () => {
    const app = stage();
    const look = async (): Promise<unknown> => {
      await new Promise((resolve) => setImmediate(resolve));
      return [currentTask()?.request.id, app.currentTask?.name, currentWorkerTask()?.name];
    };
    const one = app.task("app.one", look);
    work(app);
    const result = await one.delay();
    expect(await result.get({ timeout: 5 })).toEqual([result.id, "app.one", "app.one"]);
    expect([currentTask(), currentWorkerTask(), app.currentTask]).toEqual([undefined, undefined, undefined]);
  });

  test("is one that is simply called while it runs; the worker's stays the one that was sent", async () => {
    const app = stage();
    const names = (): unknown => [
      app.currentTask?.name,
      app.currentTask?.request.calledDirectly,
      app.currentWorkerTask?.name,
    ];
    const inner = app.task("app.inner", names);
    const outer = app.task("app.outer", () => [inner(), names()]);
    const middle = app.task(
      "app.middle",
      async () => await (await outer.apply([])).get({ disableSyncSubtasks: false }),
    );
    const fromOuter = [
      ["app.inner", true, "app.outer"],
      ["app.outer", false, "app.outer"],
    ];
    work(app);
    expect(await (await outer.delay()).get({ timeout: 5 })).toEqual(fromOuter);
    expect(inner()).toEqual(["app.inner", true, undefined]);
    // A run that begins below a direct call is the current one in turn.
    expect(await middle()).toEqual(fromOuter);
  });
});

describe("redirectStdoutsToLogger", () => {
  function book(): { readonly logger: Logger; readonly lines: string[] } {
    const lines: string[] = [];
    const log =
      (level: string) =>
      (...given: readonly unknown[]): void => {
        console.log("a logger may print itself");
        lines.push(`${level} ${String(given.at(-1))}`);
      };
    const logger = { warn: log("warn"), info: log("info") } as unknown as Logger;
    return { logger, lines };
  }

  test("puts what a task prints into its logger until it is disposed of, and leaves other tasks alone", async () => {
    const app = stage();
    const mine = book();
    let told: () => void = () => undefined;
    const other = new Promise<void>((resolve) => {
      told = resolve;
    });
    const prints = app.task("app.prints", async () => {
      const before = process.stdout;
      {
        using _restored = app.redirectStdoutsToLogger(mine.logger);
        console.log("one\n\ntwo");
        process.stderr.write("not ended");
        await other;
      }
      console.log("not any more");
      expect(process.stdout).toBe(before);
    });
    const others = app.task("app.others", () => {
      console.log("somebody else's");
      told();
    });
    work(app, { pool: "async", concurrency: 2 });
    const first = await prints.delay();
    await others.delay();
    await first.get({ timeout: 5 });
    expect(mine.lines).toEqual(["warn one", "warn two", "warn not ended"]);
  });

  test("takes one stream at a level of its own, and ends in any order", () => {
    const app = stage();
    const [first, second] = [book(), book()];
    const before = process.stdout;
    const outer = app.redirectStdoutsToLogger(first.logger, { level: "info", stderr: false });
    const inner = app.redirectStdoutsToLogger(second.logger, { stderr: false });
    console.log("inner");
    outer[Symbol.dispose]();
    console.log("still inner");
    inner[Symbol.dispose]();
    expect(process.stdout).toBe(before);
    expect(second.lines).toEqual(["warn inner", "warn still inner"]);
    expect(first.lines).toEqual(["info a logger may print itself"]);
  });
});
