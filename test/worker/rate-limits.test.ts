import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { ImproperlyConfigured } from "../../src/errors.ts";
import { type BrokerKind, brokerKinds } from "../helpers/brokers.ts";
import { workInside } from "../helpers/inside.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

const memory: BrokerKind = {
  name: "memory",
  needs: [],
  async make() {
    const store = randomUUID();
    const env = { TQ_BROKER_URL: `memory://${store}`, TQ_RESULT_BACKEND: `cache+memory://${store}` };
    return { env, queue: "celery", async [Symbol.asyncDispose]() {} };
  },
};

/** An app with a limited and a free task, each noting its number and the time, in seconds, at which it began. */
async function stage(kind: BrokerKind, limit: string | number, settings = {}) {
  const broker = await kind.make();
  const app = new Tq("app", {
    broker: broker.env.TQ_BROKER_URL,
    backend: broker.env.TQ_RESULT_BACKEND,
    taskDefaultQueue: broker.queue,
    taskIgnoreResult: true,
    ...settings,
  });
  const began: { readonly name: string; readonly number: number; readonly at: number }[] = [];
  const note = (name: string) => (number: number) => void began.push({ name, number, at: performance.now() / 1000 });
  const limited = app.task("app.limited", { rateLimit: limit }, note("limited"));
  const free = app.task("app.free", note("free"));
  const of = (name: string) => began.filter((one) => one.name === name);
  return {
    app,
    limited,
    free,
    of,
    began,
    async [Symbol.asyncDispose]() {
      await app.close();
      await broker[Symbol.asyncDispose]();
    },
  };
}

for (const kind of [memory, ...brokerKinds]) {
  describeWith(kind.needs, `a rate limit on ${kind.name}`, () => {
    test("spreads a task evenly, in order, and holds up nobody else", { timeout: 60_000 }, async () => {
      await using scene = await stage(kind, "8/s");
      for (let number = 0; number < 24; number += 1) await scene.limited.delay(number);
      for (let number = 0; number < 10; number += 1) await scene.free.delay(number);
      const begin = performance.now() / 1000;
      await using worker = await workInside(scene.app);
      await until(() => scene.of("free").length === 10, { timeout: 20 });
      // The free ones stand behind 24 limited ones, which take 3 s: they do not wait for these.
      expect(scene.of("limited").length).toBeLessThan(20);
      await until(() => scene.of("limited").length === 24, { timeout: 30, message: "all limited ones" });
      const took = performance.now() / 1000 - begin;
      expect(took).toBeGreaterThan(23 / 8 - 0.05);
      const numbers = scene.of("limited").map(({ number }) => number);
      expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: 24 }, (_, index) => index));
      // Never more than the limit in a second.
      const times = scene.of("limited").map(({ at }) => at);
      for (const at of times)
        expect(times.filter((other) => other >= at && other < at + 1).length).toBeLessThanOrEqual(9);
      expect(worker.state.reserved.size).toBe(0);
    });
  });
}

describe("a rate limit", () => {
  test("can be changed, set and lifted while the worker runs", async () => {
    await using scene = await stage(memory, "1/h");
    for (let number = 0; number < 4; number += 1) await scene.limited.delay(number);
    await using worker = await workInside(scene.app, { prefetchMultiplier: 40 });
    await until(() => scene.of("limited").length === 1);
    expect(worker.rateLimits.rateLimit("app.limited")).toBe("1/h");
    expect(worker.rateLimits.setRateLimit("app.unknown", "1/s")).toBe(false);
    expect(() => worker.rateLimits.setRateLimit("app.limited", "many")).toThrow(ImproperlyConfigured);
    expect(worker.rateLimits.setRateLimit("app.limited", "20/s")).toBe(true);
    expect(worker.rateLimits.rateLimit("app.limited")).toBe("20/s");
    for (let number = 10; number < 14; number += 1) await scene.limited.delay(number);
    await until(() => scene.of("limited").length === 5, { timeout: 20 });
    expect(worker.rateLimits.setRateLimit("app.limited", 0)).toBe(true);
    expect(worker.rateLimits.setRateLimit("app.free", "1/h")).toBe(true);
    for (let number = 0; number < 3; number += 1) await scene.free.delay(number);
    for (let number = 20; number < 40; number += 1) await scene.limited.delay(number);
    await until(() => scene.of("limited").length === 25);
    expect(scene.of("free")).toHaveLength(1);
  });

  test("is kept evenly by few that wait in hand", async () => {
    await using scene = await stage(memory, "20/s");
    for (let number = 0; number < 10; number += 1) await scene.limited.delay(number);
    await using _worker = await workInside(scene.app, { prefetchMultiplier: 40 });
    await until(() => scene.of("limited").length === 10);
    expect(scene.of("limited").map(({ number }) => number)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    const [first, ...others] = scene.of("limited").map(({ at }) => at) as [number, ...number[]];
    for (const [index, at] of others.entries()) expect(at - first).toBeGreaterThan((index + 1) / 20 - 0.03);
  });

  test("is ignored with workerDisableRateLimits", async () => {
    await using scene = await stage(memory, "1/h", { workerDisableRateLimits: true });
    for (let number = 0; number < 5; number += 1) await scene.limited.delay(number);
    await using _worker = await workInside(scene.app);
    await until(() => scene.of("limited").length === 5);
  });

  test("of a task that is no rate is refused with the task's name", () => {
    const app = new Tq("app", { broker: "memory://", backend: "disabled://" });
    const task = app.task("app.odd", { rateLimit: "ten a day" }, () => 1);
    expect(() => task.task.options).toThrow(/task app.odd: rateLimit must be a rate.*ten a day/);
  });
});
