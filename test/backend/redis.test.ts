import { randomUUID } from "node:crypto";
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { encodeRecord } from "../../src/backend/record.ts";
import { createRedisBackend } from "../../src/backend/redis/backend.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createRedisBroker } from "../../src/broker/redis/broker.ts";
import { createTaskMeta } from "../../src/protocol/task-meta.ts";
import { backendContract } from "../contract/backend.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

describeWith("redis-server", "the Redis result store", () => {
  backendContract("redis", async () => {
    const server = await freshRedis();
    return {
      connect: async (overrides = {}) => createRedisBackend(server.url, { ...defaultBackendOptions, ...overrides }),
      dispose: () => server[Symbol.asyncDispose](),
    };
  });

  test("the settings redis_* say what its URL leaves out, and how its connections are", async () => {
    await using server = await freshRedis();
    const { hostname, port } = new URL(server.url);
    await using app = new Tq("client", {
      broker: server.url,
      backend: "redis://",
      redisHost: hostname,
      redisPort: Number(port),
      redisDb: 5,
      redisClientName: "results",
      redisSocketConnectTimeout: 3,
    });
    const eye = new Redis(server.url, { db: 5 });
    try {
      const id = randomUUID();
      await eye.set(`celery-task-meta-${id}`, JSON.stringify({ status: "SUCCESS", result: 7, task_id: id }));
      expect(await app.asyncResult(id).get({ timeout: 10 })).toBe(7);
      expect(String(await eye.client("LIST"))).toMatch(/ name=results .* db=5 /);
    } finally {
      eye.disconnect();
    }
  });

  test("over a broker's connections: each stays in its database, and a lost connection is made once for both", async () => {
    await using server = await freshRedis();
    const broker = createRedisBroker(`${server.url}/0`, defaultBrokerOptions);
    const backend = createRedisBackend(`${server.url}/3`, { ...defaultBackendOptions, broker: () => broker });
    const eye = new Redis(server.url);
    const clients = async (): Promise<number> =>
      String(await eye.client("LIST"))
        .trim()
        .split("\n").length - 1;
    const idsOf = (count: number): string[] => Array.from({ length: count }, () => randomUUID());
    const store = async (ids: readonly string[]): Promise<void> => {
      const records = ids.map((id, n) => {
        const meta = createTaskMeta({ task_id: id, status: "SUCCESS", result: n });
        return encodeRecord(meta, { serializer: "json", replyTo: null, correlationId: id });
      });
      await Promise.all(records.map(async (record) => backend.store(await record)));
    };
    const load = (ids: readonly string[]) => Promise.all(ids.map(async (id) => (await backend.load(id))?.result));
    const publish = (): Promise<void> =>
      broker.publish(
        { headers: {}, properties: {}, contentType: "application/json", contentEncoding: "utf-8", body: "e30=" },
        { exchange: "", routingKey: "q" },
      );
    try {
      await broker.connect();
      const first = idsOf(300);
      const [, , loaded] = await Promise.all([store(first), Promise.all(first.map(publish)), load(first)]);
      expect(loaded).toHaveLength(300);
      expect(await load(first)).toEqual([...first.keys()]);
      expect(await broker.size("q")).toBe(300);
      expect(await clients()).toBe(1);
      await eye.call("client", "KILL", "TYPE", "normal", "SKIPME", "yes");
      await until(async () => (await clients()) === 0);
      const second = idsOf(20);
      await store(second); // makes it again, for the broker too
      await publish();
      expect(await load(second)).toEqual([...second.keys()]);
      expect(await clients()).toBe(1);
      expect(await eye.keys("*")).toEqual(["q"]); // nothing of the results
      await eye.select(3);
      expect(await eye.dbsize()).toBe(320);
      // The store outlives the broker.
      await broker.close();
      expect(await load(first)).toEqual([...first.keys()]);
      expect(await clients()).toBe(1);
    } finally {
      await backend.close();
      await broker.close();
      eye.disconnect();
    }
  });
});
