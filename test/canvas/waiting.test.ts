import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { allowJoinResult, chord, deniedJoinResult, Tq } from "../../src/index.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

/** How often each command was asked of a Redis. */
async function commands(redis: Redis): Promise<ReadonlyMap<string, number>> {
  const lines = (await redis.info("commandstats")).matchAll(/cmdstat_([^:]+):calls=(\d+)/g);
  return new Map([...lines].map(([, name, calls]) => [String(name), Number(calls)]));
}

describeWith("redis-server", "Waiting for results in Redis", () => {
  test("for 10,000 costs one connection, and nothing is asked while it lasts", async () => {
    await using server = await freshRedis();
    const app = new Tq("waiting", { broker: `${server.url}/0`, backend: `${server.url}/1` });
    const worker = new Redis(`${server.url}/1`);
    try {
      const ids = Array.from({ length: 10_000 }, (_, i) => `id-${i}`);
      const results = app.resultSet(ids.map((id) => app.asyncResult<number>(id)));
      const waiting = results.get({ timeout: 60 });
      const listening = async (): Promise<readonly number[]> =>
        [...String(await worker.client("LIST")).matchAll(/ sub=(\d+) /g)].map(([, sub]) => Number(sub)).filter(Boolean);
      await until(async () => (await listening())[0] === ids.length, { timeout: 30 });
      // As a Celery worker stores them.
      for (let start = 0; start < ids.length; start += 1000) {
        const step = worker.pipeline();
        for (const [at, id] of ids.slice(start, start + 1000).entries()) {
          const meta = { task_id: id, status: "SUCCESS", result: start + at, traceback: null, children: [] };
          const key = `celery-task-meta-${id}`;
          step.set(key, JSON.stringify(meta)).publish(key, JSON.stringify(meta));
        }
        await step.exec();
      }
      expect(await waiting).toEqual(ids.map((_, i) => i));
      const asked = await commands(worker);
      // Each is looked at once, many in one request, after it is listened for; and never again.
      expect(asked.get("get") ?? 0).toBe(0);
      expect(asked.get("mget") ?? 0).toBeLessThanOrEqual(20);
      const clients = String(await worker.client("LIST"))
        .trim()
        .split("\n");
      // This test's own, the one that works, and at most the one that listens.
      expect(clients.length).toBeLessThanOrEqual(3);
    } finally {
      worker.disconnect();
      await app.close();
    }
  });
});

test("waiting inside a task is refused, and allowed or refused for all code inside a function", async () => {
  const app = stage();
  const add = app.task("waiting.add", (x: number, y: number) => x + y);
  const waits = app.task("waiting.waits", async (how: string): Promise<number> => {
    const result = await add.delay(1, 1);
    if (how === "allowed") return await allowJoinResult(() => result.get({ timeout: 10 }));
    if (how === "option") return await result.get({ timeout: 10, disableSyncSubtasks: false });
    return await result.get({ timeout: 10 });
  });
  work(app, { pool: "async", concurrency: 4 });
  await expect((await waits.delay("plainly")).get({ timeout: 10 })).rejects.toMatchObject({
    name: "ImproperlyConfigured",
    message: expect.stringMatching(/^Never call result\.get\(\) within a task!/),
  });
  expect(await (await waits.delay("allowed")).get({ timeout: 10 })).toBe(2);
  expect(await (await waits.delay("option")).get({ timeout: 10 })).toBe(2);
  const result = await add.delay(1, 1);
  await expect(deniedJoinResult(() => result.get())).rejects.toThrow(/within a task/);
  await expect(deniedJoinResult(() => app.resultSet([result]).get())).rejects.toThrow(/within a task/);
  expect(await deniedJoinResult(() => allowJoinResult(() => result.get({ timeout: 10 })))).toBe(2);
});

test("the tree below a result: pairs, the leaf, and the graph, which has no edges where nothing is ready", async () => {
  const app = stage();
  const add = app.task("tree.add", (x: number, y: number) => x + y);
  const xsum = app.task("tree.xsum", (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0));
  const result = await chord([add.s(1, 1), add.s(2, 2)], xsum.s()).delay();
  const pending = await add.delay(1, 1);
  const early = pending.iterdeps();
  expect((await early.next()).value).toEqual([null, pending]);
  await expect(early.next()).rejects.toMatchObject({ name: "IncompleteStream" });
  const unready = await pending.graph();
  expect([unready.nodes.size, unready.edges.get(pending.id)?.size]).toEqual([1, 0]);
  work(app);
  expect(await result.get({ timeout: 10 })).toBe(6);
  const linked = await add.applyAsync([3, 3], { link: add.s(4) });
  expect(await linked.getLeaf({ timeout: 10 })).toBe(10);
  const pairs: (string | undefined)[][] = [];
  for await (const [parent, node] of linked.iterdeps()) pairs.push([parent?.id, node.id]);
  const [child] = await linked.children();
  expect(pairs).toEqual([
    [undefined, linked.id],
    [linked.id, child?.id],
  ]);
  expect((await linked.graph()).topsort().map(({ id }) => id)).toEqual([linked.id, child?.id]);
});
