import { describe, expect, test } from "vitest";
import { DateTime, SoftTimeLimitExceeded, type TaskContext, type TaskRequest } from "../../src/index.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

describe("apply", () => {
  test("runs the task here, with a request, and gives a result like any other", async () => {
    const app = stage();
    const add = app.task("app.add", { bind: true }, (self, x: number, y: number) => {
      expect(self.request).toMatchObject({ isEager: true, calledDirectly: false, args: [2, 3], retries: 0 });
      return x + y;
    });
    const result = await add.apply([2, 3]);
    expect(await result.get()).toBe(5);
    expect(await result.state()).toBe("SUCCESS");
    expect(await (await add.apply([2, 3], { taskId: "mine" })).id).toBe("mine");
  });

  test("passes arguments and results through the serializer, as a worker would see them", async () => {
    const app = stage();
    const look = app.task("app.look", (value: unknown) => [typeof value, value]);
    expect(await (await look.apply([{ a: undefined, b: 1 }])).get()).toEqual(["object", { b: 1 }]);
    const [, date] = (await (await look.apply([new Date(0)])).get()) as [string, unknown];
    expect(date).toBeInstanceOf(DateTime);
  });

  test("throws what the task throws only when told to", async () => {
    const app = stage();
    const fail = app.task("app.fail", () => {
      throw new SoftTimeLimitExceeded("x");
    });
    const result = await fail.apply([]);
    expect(await result.state()).toBe("FAILURE");
    await expect(result.get()).rejects.toThrow(SoftTimeLimitExceeded);
    await expect(fail.apply([], { throw: true })).rejects.toThrow(SoftTimeLimitExceeded);
  });

  test("is still the method every function has", () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    expect(Function.prototype.apply.call(add, undefined, [1, 2])).toBe(3);
    expect((add as unknown as (...args: number[]) => number).apply(undefined, [1, 2])).toBe(3);
  });

  test("retries at once, and follows callbacks, chains and chords", async () => {
    const app = stage();
    const told: unknown[] = [];
    const flaky = app.task("app.flaky", { bind: true, maxRetries: 5 }, (self, x: number) => {
      if (self.request.retries < 2) throw self.retry({ countdown: 60 });
      return x;
    });
    const double = app.task("app.double", (x: number) => 2 * x);
    const tell = app.task("app.tell", (x: unknown) => void told.push(x));
    await flaky.apply([4], { link: [double.signature([], { link: tell.signature([]) }), tell.signature([])] });
    expect(told).toEqual([8, 4]);
  });
});

describe("an eager call", () => {
  test("has the same handlers, errbacks, schemas and request as one a worker runs", async () => {
    const app = stage();
    const options = {
      headers: { tenant: "acme" },
      stamps: { batch: [7] },
      argsrepr: "(<secret>,)",
      queue: "slow",
      priority: 3,
      shadow: "shown",
    } as const;
    const told: Record<"here" | "there", unknown[]> = { here: [], there: [] };
    const list = (self: TaskContext): unknown[] => (self.request.isEager ? told.here : told.there);
    const errback = app.task("app.errback", { bind: true }, (self, _id: string) => void list(self).push("errback"));
    const inline = app.task("app.inline", (request: TaskRequest, error: Error, _traceback: string) => {
      (request.isEager ? told.here : told.there).push(["inline errback", error.message]);
    });
    const even = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value: unknown) =>
          (value as number) % 2 === 0 ? { value: (value as number) / 2 } : { issues: [{ message: "is odd" }] },
      },
    } as const;
    const fails = app.task(
      "app.fails",
      {
        bind: true,
        args: [even],
        throws: [RangeError],
        beforeStart: (self) => void list(self).push("beforeStart"),
        onFailure: (self, error) => void list(self).push(["onFailure", String(error)]),
        afterReturn: (self, state) => void list(self).push(["afterReturn", state]),
      },
      (self, half: number) => {
        const { headers, stamps, stampedHeaders, argsrepr, deliveryInfo, shadow, calledDirectly } = self.request;
        const { routingKey, priority } = deliveryInfo ?? {};
        list(self).push([
          half,
          headers,
          stamps,
          stampedHeaders,
          argsrepr,
          routingKey,
          priority,
          shadow,
          calledDirectly,
        ]);
        throw new RangeError("too far");
      },
    );
    const linkError = [errback.s().set({ queue: "slow" }), inline.s()];
    const eager = await fails.apply([8], { ...options, linkError });
    await expect(eager.get()).rejects.toThrow("too far");
    work(app, { queues: ["slow"] });
    const sent = await fails.applyAsync([8], { ...options, linkError });
    await expect(sent.get({ timeout: 5 })).rejects.toThrow("too far");
    await until(() => told.there.length === 6);
    expect(told.here).toHaveLength(6);
    const sorted = (all: readonly unknown[]): string[] => all.map((one) => JSON.stringify(one)).sort();
    expect(sorted(told.here)).toEqual(sorted(told.there));
    await expect(fails.apply([7])).rejects.toThrow("is odd");
    await expect(fails.delay(7)).rejects.toThrow("is odd");
  });
});

describe("taskStoreEagerResult", () => {
  test("stores results of eager calls where others are", async () => {
    const app = stage({ taskAlwaysEager: true });
    const kept = app.task("app.kept", { storeEagerResult: true }, () => 7);
    const forgotten = app.task("app.forgotten", () => 7);
    const store = await app.backend();
    expect(await store.load((await kept.delay()).id)).toMatchObject({ status: "SUCCESS", result: 7 });
    const result = await forgotten.delay();
    expect(await store.load(result.id)).toBeUndefined();
    expect(await app.asyncResult(result.id).get()).toBe(7);
  });
});

describe("what is sent by name under taskAlwaysEager", () => {
  const warned = (): Promise<Error> => new Promise((resolve) => process.once("warning", resolve));

  test("goes to the broker all the same, known here or not, with a warning, and its result comes from there", async () => {
    const app = stage({ taskAlwaysEager: true });
    const host = new Set<string>();
    const known = app.task("app.known", { bind: true }, (self) => void host.add(`eager ${self.request.isEager}`));
    await known.delay();
    const warning = warned();
    const results = [await app.sendTask("app.known"), await app.sendTask("app.elsewhere")];
    expect(await warning).toMatchObject({ name: "AlwaysEagerIgnored", message: expect.stringContaining("app.known") });
    expect(await (await app.broker()).size("celery")).toBe(2);
    expect([...host]).toEqual(["eager true"]);
    work(app);
    expect(await results[0]?.get({ timeout: 5 })).toBeNull();
    expect([...host]).toEqual(["eager true", "eager false"]);
  });

  test("so does a signature of a task that is not known here", async () => {
    const app = stage({ taskAlwaysEager: true });
    const warning = warned();
    await app.signature("app.elsewhere", [1]).applyAsync();
    expect(await warning).toMatchObject({ name: "AlwaysEagerIgnored" });
    expect(await (await app.broker()).size("celery")).toBe(1);
  });
});
