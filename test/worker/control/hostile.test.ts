import { join } from "node:path";
import { Redis } from "ioredis";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../../src/app/app.ts";
import { controlAddresses } from "../../../src/control/addresses.ts";
import { encodeEnvelope } from "../../../src/protocol/envelope.ts";
import { root } from "../../helpers/build.ts";
import { describeWith, freshRedis } from "../../helpers/services.ts";
import { until } from "../../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../../helpers/worker.ts";

const node = "w1@hostile";

test("queues of remote control are named, bounded and kept as the settings say", () => {
  const settings = new Tq("x", { controlExchange: "own", controlQueueTtl: 30, controlQueueExpires: 2.5 }).conf.settings;
  expect(controlAddresses(settings).nodeQueue(node)).toEqual({
    name: `${node}.own.pidbox`,
    exchange: { name: "own.pidbox", type: "fanout", durable: false },
    routingKey: "",
    durable: false,
    exclusive: true,
    autoDelete: true,
    arguments: { "x-expires": 2_500, "x-message-ttl": 30_000 },
  });
  const durable = new Tq("x", { controlQueueDurable: true }).conf.settings;
  expect(() => controlAddresses(durable)).toThrow(/controlQueueExclusive to false/);
});

describeWith("redis-server", "remote control bears", () => {
  let server: Awaited<ReturnType<typeof freshRedis>>;
  let redis: Redis;
  let app: Tq;
  let worker: WorkerHandle;

  beforeAll(async () => {
    server = await freshRedis();
    redis = new Redis(`${server.url}/0`);
    const env = { TQ_BROKER_URL: `${server.url}/0`, TQ_RESULT_BACKEND: `${server.url}/1` };
    app = new Tq("client", { broker: env.TQ_BROKER_URL, backend: env.TQ_RESULT_BACKEND });
    worker = startWorker({ app: join(root, "test/apps/steered.ts"), args: ["-n", node, "-c", "2"], env });
    await worker.ready();
  });

  afterAll(async () => {
    redis?.disconnect();
    for (const part of [app, worker, server]) await part?.[Symbol.asyncDispose]();
  });

  const inspect = () => app.control.inspect({ destination: node, timeout: 10 });
  const alive = async (): Promise<void> => expect(await inspect().ping()).toEqual({ [node]: { ok: "pong" } });

  /** Counts what the worker says of itself every two seconds. */
  const heartbeats = async () => {
    const listener = redis.duplicate();
    let beats = 0;
    listener.on("pmessage", (_pattern: string, channel: string) => {
      if (channel.endsWith("worker.heartbeat")) beats += 1;
    });
    await listener.psubscribe("/0.celeryev/*");
    return { count: () => beats, [Symbol.asyncDispose]: async () => listener.disconnect() };
  };

  /** What a client of no good will would send. */
  const send = (body: string | Buffer, contentType = "application/json", headers: Record<string, unknown> = {}) => {
    const message = {
      headers,
      properties: { delivery_mode: 2, priority: 0 } as const,
      contentType,
      contentEncoding: "utf-8",
      body: Buffer.from(body).toString("base64"),
    };
    return redis.publish(
      "/0.celery.pidbox",
      encodeEnvelope(message, { exchange: "celery.pidbox", routingKey: "" }, "tag"),
    );
  };

  test("messages that are none, too large, not allowed or made to harm", async () => {
    await redis.publish("/0.celery.pidbox", "no envelope");
    await redis.publish("/0.celery.pidbox", "{}");
    await send("no json");
    await send("[1]");
    await send("{}");
    await send('{"method": "ping", "destination": 5}');
    await send('{"method": "ping", "pattern": "(a+)+$", "matcher": "pcre"}');
    await send('{"method": "ping", "reply_to": 7}');
    await send("cos\nsystem\n(S'true'\ntR.", "application/x-python-serialize");
    await send(`{"method": "ping", "arguments": {"x": "${"x".repeat(9 * 2 ** 20)}"}}`);
    await send("garbage", "application/json", { compression: "application/x-gzip" });
    await send(`${"[".repeat(100_000)}`);
    await send('{"method": "constructor", "arguments": {"__proto__": {"polluted": 1}}}');
    await send('{"method": "pool_grow", "arguments": {"n": 1e9}}');
    await send('{"method": "ping", "reply_to": {"exchange": "nobody", "routing_key": "there"}, "ticket": "x"}');
    await alive();
    const ignored = () => worker.lines.filter((line) => line.includes("a remote control message was ignored"));
    await until(() => ignored().length >= 10, { message: "what is no command is told in the log" });
    for (const line of worker.lines) expect(line.length).toBeLessThan(3_000);
    expect((await inspect().stats())?.[node]?.pool["max-concurrency"]).toBe(2);
  });

  test("a pool that is busy to the last child, and answers at once", async () => {
    const results = await Promise.all(Array.from({ length: 8 }, () => app.sendTask("wt.spin", [2])));
    await until(async () => (await inspect().active())?.[node]?.length === 2);
    const times: number[] = [];
    for (let round = 0; round < 20; round += 1) {
      const begin = performance.now();
      await alive();
      times.push(performance.now() - begin);
    }
    // 50 ms on a machine that has a CPU to spare; the children of this one use up both.
    expect(times.sort((a, b) => a - b)[10]).toBeLessThan(500);
    await app.control.revoke(
      results.map(({ id }) => id),
      { terminate: true, signalName: "SIGKILL", reply: true, destination: node, timeout: 10 },
    );
    await until(async () => (await inspect().active())?.[node]?.length === 0);
  });

  test("a warm stop: it is answered and heard of until the last task is done, and nothing is left behind", async () => {
    await using receiver = await heartbeats();
    const result = await app.sendTask("wt.slow", [5]);
    await until(async () => (await inspect().active())?.[node]?.length === 1);
    worker.signal("SIGTERM");
    await worker.printed(/Warm shutdown/);
    const before = receiver.count();
    await alive();
    expect((await inspect().active())?.[node]).toHaveLength(1);
    await until(() => receiver.count() > before, { message: "a heartbeat in the middle of the shutdown" });
    expect(await result.ready()).toBe(false);
    expect(await result.get({ timeout: 10 })).toBe(5);
    expect((await worker.exited).code).toBe(0);
    await app.close();
    const left = (await redis.keys("*")).filter((key) => key.includes("pidbox"));
    expect(left).toEqual([]);
  });
});
