import { describe, expect, test } from "vitest";
import { Tq } from "../../src/index.ts";
import { eagerApp, inMemory, recordCalls, startTestWorker, testApp, tqMatchers, travel } from "../../src/testing.ts";

expect.extend(tqMatchers);

interface Matchers {
  toSucceed(): Promise<void>;
  toSucceedWith(value: unknown): Promise<void>;
  toFail(): Promise<void>;
  toFailWith(expected: unknown): Promise<void>;
  toHaveSent(task: string, args?: readonly unknown[]): void;
  readonly not: Matchers;
}
const expecting = (value: unknown): Matchers => expect(value) as unknown as Matchers;

describe("an embedded worker", () => {
  test("runs an app in memory, whatever broker the app itself names", async () => {
    const app = inMemory(new Tq("shop", { broker: "redis://nowhere.invalid", backend: "redis://nowhere.invalid" }));
    const add = app.task("shop.add", (x: number, y: number) => x + y);
    await using worker = await startTestWorker(app);
    await expecting(await add.delay(2, 2)).toSucceedWith(4);
    await worker.idle();
    expect(worker.worker.state.processed).toBe(1);
  });

  test("tells why it cannot start", async () => {
    const app = testApp();
    app.task("bad.option", { nonsense: 1 } as never, () => 1);
    await expect(startTestWorker(app)).rejects.toThrow("unknown option `nonsense`");
    await app.close();
  });

  test("travels in time to what has an eta, a countdown, an expiry, or retries", async () => {
    const app = testApp();
    const told: unknown[] = [];
    const tell = app.task("tell", (what: string) => void told.push(what));
    const flaky = app.task("flaky", { bind: true }, (self) => {
      if (self.request.retries === 0) throw self.retry({ countdown: 600 });
      told.push("retried");
    });
    await tell.applyAsync(["in an hour"], { countdown: 3600 });
    await tell.applyAsync(["never"], { countdown: 3600, expires: 1800 });
    await using worker = await startTestWorker(app);
    await tell.applyAsync(["in two hours"], { eta: new Date(Date.now() + 7_200_000) });
    await flaky.delay();
    await worker.idle();
    expect(told).toEqual([]);
    await worker.travel(601);
    await worker.idle();
    expect(told).toEqual(["retried"]);
    await worker.travel(3600);
    await worker.idle();
    expect(told).toEqual(["retried", "in an hour"]);
    await travel(app, 3600);
    await worker.idle();
    expect(told).toEqual(["retried", "in an hour", "in two hours"]);
  });

  test("refuses to travel with a real broker", async () => {
    const app = new Tq("real", { broker: "sqlite:///tmp/never-made.db" });
    app.broker = async () => ({}) as never;
    await expect(travel(app, 1)).rejects.toThrow("only an app in memory can travel in time");
  });
});

describe("what is sent", () => {
  test("is recorded with its arguments, until the recording ends", async () => {
    const app = testApp();
    const add = app.task("add", (x: number, y: number) => x + y);
    {
      using calls = recordCalls(app);
      await add.applyAsync([1], { kwargs: { y: 2 }, queue: "other" });
      await add.delay(3, 4);
      expect(calls.all("add")).toMatchObject([
        { args: [1], kwargs: { y: 2 }, queue: "other", eta: null },
        { args: [3, 4], queue: "celery" },
      ]);
      expecting(calls).toHaveSent("add", [3, 4]);
      expecting(calls).not.toHaveSent("add", [4, 3]);
      expect(() => expecting(calls).toHaveSent("mul")).toThrow("sent was add[1], add[3, 4]");
      calls.clear();
      expect([...calls]).toEqual([]);
    }
    await app.close();
  });
});

describe("matchers", () => {
  test("say what became of a task", async () => {
    const app = eagerApp();
    const add = app.task("add", (x: number, y: number) => x + y);
    const fail = app.task("fail", () => {
      throw new RangeError("too far");
    });
    const [sum, failed] = [await add.delay(1, 2), await fail.delay()];
    await expecting(sum).toSucceed();
    await expecting(sum).not.toFail();
    await expecting(failed).toFail();
    await expecting(failed).toFailWith("too far");
    await expecting(failed).toFailWith(/^too/);
    await expect(expecting(sum).toSucceedWith(4)).rejects.toThrow("to succeed with 4; it succeeded with 3");
    await expect(expecting(failed).toSucceed()).rejects.toThrow("it failed with");
  });
});
