import { describe, expect, test } from "vitest";
import { type AsyncResult, Tq, Worker } from "../../src/index.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

/** Calls nobody takes: one whose task has expired, one whose message has, and one that stays. */
async function send(app: Tq): Promise<AsyncResult<number>[]> {
  const one = app.task("app.one", () => 1);
  return [await one.applyAsync([], { expires: -1 }), await one.applyAsync([], { expiration: 0 }), await one.delay()];
}

describeWith(["amqp", "vhost"], "a message that has expired in RabbitMQ", () => {
  test("is dropped there, be it by the task's expiry or its own", async () => {
    await using vhost = await freshVhost();
    await using app = new Tq("app", { broker: vhost.url, backend: "disabled" });
    await send(app);
    const broker = await app.broker();
    await until(async () => (await broker.size("celery")) === 1, { message: "both to be dropped" });
  });
});

/** What kombu does on Redis, too: only the task's own expiry counts. */
async function expectKept(app: Tq): Promise<void> {
  const results = await send(app);
  expect(await (await app.broker()).size("celery")).toBe(3);
  const worker = new Worker(app, { pool: "solo", quiet: true, loglevel: "CRITICAL" });
  const ended = worker.run();
  const [expired, ...others] = results;
  await expect(expired?.get({ timeout: 10 })).rejects.toThrow("expired");
  expect(await Promise.all(others.map((result) => result.get({ timeout: 10 })))).toEqual([1, 1]);
  worker.shutdown();
  await ended;
}

describeWith("redis", "a message that has expired in Redis", () => {
  test("is kept; the worker that gets it revokes a task that has expired, and runs any other", async () => {
    await using redis = await freshRedis();
    await using app = new Tq("app", { broker: redis.url, backend: redis.url });
    await expectKept(app);
  });
});

describe("a message that has expired in the embedded store", () => {
  test("is kept; the worker that gets it revokes a task that has expired, and runs any other", async () => {
    await using folder = await temporaryFolder();
    const url = `sqlite://${folder.file("tq.db")}`;
    await using app = new Tq("app", { broker: url, backend: url });
    await expectKept(app);
  });
});
