import { writeFile } from "node:fs/promises";
import { expect, test } from "vitest";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createRedisBroker } from "../../src/broker/redis/broker.ts";
import { messageOf, queueOf } from "../contract/broker.ts";
import { startProxy } from "../fault/proxy.ts";
import { startChild } from "../helpers/child.ts";
import { freePort, greet } from "../helpers/ports.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { kombuEnvelope, redisKit } from "./redis-kit.ts";

const address = { exchange: "", routingKey: "q" };

describeWith("redis-server", "the Redis broker and a bad link", () => {
  test("a link that is cut is told once, work rejects, and a new one goes on where it was", async () => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({}, { url: proxy.url });
    const before = await kit.consumer(broker, ["q"], { prefetch: 1 });
    proxy.cut();
    await until(() => before.lost.length > 0, { timeout: 2 });
    await expect(broker.publish(messageOf("x"), address)).rejects.toMatchObject({ name: "BrokerConnectionError" });
    await expect(broker.size("q")).rejects.toMatchObject({ name: "BrokerConnectionError" });
    await expect(broker.connect()).rejects.toMatchObject({ name: "BrokerConnectionError" });
    proxy.restore();
    await Promise.all([broker.connect(), broker.connect()]);
    await broker.publish(messageOf("y"), address);
    const after = await kit.consumer(broker, ["q"]);
    await after.take(1);
    expect(before.deliveries).toEqual([]);
    expect(before.lost).toHaveLength(1);
    expect(after.lost).toEqual([]);
  });

  test.each(["stall", "blackHole"] as const)("a link that answers nothing any more (%s) is noticed", async (fault) => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({}, { url: proxy.url });
    const consumer = await kit.consumer(broker, ["q"]);
    const began = performance.now();
    proxy[fault]();
    await until(() => consumer.lost.length === 1, { timeout: 8, message: "the loss to be told" });
    expect(performance.now() - began).toBeLessThan(7_000);
    expect(consumer.lost[0]).toMatchObject({ name: "BrokerConnectionError" });
    // What came meanwhile is there for the next.
    await kit.client.lpush("q", kombuEnvelope("a"));
    proxy.reset();
    proxy.restore();
    await broker.connect();
    const after = await kit.consumer(broker, ["q"]);
    await after.take(1, 5);
  });

  test("what was taken and never arrived comes back with the next connection, before anything else is taken", async () => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({}, { url: proxy.url });
    const before = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("first"));
    const [first] = await before.take(1);
    await first?.ack();
    proxy.mute();
    await kit.client.lpush("q", kombuEnvelope("a"), kombuEnvelope("b"));
    await until(async () => (await kit.client.hlen("unacked")) === 2, { message: "a take nobody hears of" });
    proxy.restore();
    await until(() => before.lost.length === 1);
    await kit.client.lpush("q", kombuEnvelope("later"));
    await broker.connect();
    const after = await kit.consumer(broker, ["q"]);
    const deliveries = await after.take(3);
    expect(deliveries.map(({ message }) => message.headers.id)).toEqual(["a", "b", "later"]);
    await Promise.all(deliveries.map((delivery) => delivery.ack()));
    expect(await kit.client.exists("unacked", "unacked_index", "q")).toBe(0);
  });

  test("a publish into a link that swallows it rejects in the time socket_timeout gives", async () => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({ socket_timeout: 1 }, { url: proxy.url });
    proxy.blackHole();
    await expect(broker.publish(messageOf("x"), address)).rejects.toMatchObject({ name: "BrokerConnectionError" });
    proxy.restore();
  });

  test("a server killed and back with its files has everything: waiting, held, parked", async () => {
    await using kit = await redisKit({ appendfsync: "always" });
    const broker = await kit.broker();
    const before = await kit.consumer(broker, ["q"], { prefetch: 2 });
    for (const body of ["held", "parked", "waiting"]) await broker.publish(messageOf(body), address);
    const [held, parked] = await before.take(2);
    before.subscription.pause();
    await parked?.park(new Date(Date.now() + 3_000));
    await kit.server.kill();
    await until(() => before.lost.length === 1);
    await expect(broker.connect()).rejects.toMatchObject({ name: "BrokerConnectionError" });
    await kit.server.restart();
    const back = performance.now();
    await broker.connect();
    const after = await kit.consumer(broker, ["q"]);
    await after.take(1);
    expect(performance.now() - back).toBeLessThan(5_000);
    await after.take(2, 5);
    await held?.ack();
    await Promise.all(after.deliveries.map((delivery) => delivery.ack()));
    await until(async () => (await kit.client.exists("unacked", "unacked_index", "q")) === 0);
  });

  test("a server nobody answers for is given up in time, and no message shows the password", async () => {
    const port = await freePort();
    const broker = createRedisBroker(`redis://user:s3cret@127.0.0.1:${port}/0`, defaultBrokerOptions);
    const error = await broker.connect().catch((reason: Error) => reason);
    expect(error).toMatchObject({ name: "BrokerConnectionError" });
    expect(String(error)).toMatch(/ECONNREFUSED/);
    expect(`${String(error)}${broker.displayUrl}`).not.toContain("s3cret");
    await expect(broker.publish(messageOf("x"), address)).rejects.toMatchObject({ name: "BrokerConnectionError" });
    await broker.close();

    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    proxy.blackHole();
    const silent = createRedisBroker(proxy.url, { ...defaultBrokerOptions, connectTimeout: 0.5 });
    const began = performance.now();
    await expect(silent.connect()).rejects.toThrow(/no answer within 0.5 s/);
    expect(performance.now() - began).toBeLessThan(3_000);
    const reason = new Error("enough");
    await expect(silent.connect(AbortSignal.abort(reason))).rejects.toBe(reason);
    await silent.close();
    proxy.restore();
  });

  test("a password is asked for, and one that is wrong is said to be so", async () => {
    await using kit = await redisKit({ password: "s3cret" });
    const broker = await kit.broker();
    await broker.publish(messageOf("x"), address);
    expect(await broker.size("q")).toBe(1);
    expect(broker.displayUrl).not.toContain("s3cret");
    for (const [url, words] of [
      [kit.server.url.replace("s3cret", "wr0ng"), /WRONGPASS/],
      [kit.server.url.replace(":s3cret@", ""), /NOAUTH/],
    ] as const) {
      const wrong = createRedisBroker(url, defaultBrokerOptions);
      const error = await wrong.connect().catch((reason: Error) => reason);
      expect(error).toMatchObject({ name: "BrokerConnectionError" });
      expect(String(error)).toMatch(words);
      expect(String(error)).not.toContain("wr0ng");
      await wrong.close();
    }
  });

  test("a server that may evict messages is warned of, and no other", async () => {
    await using kit = await redisKit();
    const warnings: string[] = [];
    const ignore = (): void => undefined;
    const logger = {
      debug: ignore,
      info: ignore,
      error: ignore,
      warn: (_: object, text: string) => void warnings.push(text),
    };
    const consume = async (policy: string, most: string): Promise<void> => {
      await kit.client.config("SET", "maxmemory", most, "maxmemory-policy", policy);
      const broker = await kit.broker({}, { logger });
      const { take } = await kit.consumer(broker, ["q"]);
      await broker.publish(messageOf("x"), { exchange: "", routingKey: "q" });
      await (await take(1))[0]?.ack();
      await broker.close();
    };
    await consume("noeviction", "100mb");
    await consume("volatile-lru", "100mb");
    await consume("allkeys-lru", "0");
    expect(warnings).toEqual([]);
    await consume("allkeys-lru", "100mb");
    expect(warnings).toEqual([expect.stringMatching(/maxmemory-policy allkeys-lru\): set it to noeviction$/)]);
  });

  test("a database the server has not is refused, and not taken for database 0", async () => {
    await using kit = await redisKit();
    await expect(kit.broker({}, { url: `${kit.server.url}/4711` })).rejects.toThrow(
      /cannot connect to redis:.*\/4711: ERR DB index is out of range/,
    );
  });

  test("a Unix socket and another database are reached by their URLs", async () => {
    await using kit = await redisKit({ unixSocket: true });
    const broker = await kit.broker({}, { url: `redis+socket://${kit.server.socketPath}?virtual_host=3` });
    await broker.publish(messageOf("x"), address);
    expect(await kit.client.dbsize()).toBe(0);
    await kit.client.select(3);
    expect(await kit.client.llen("q")).toBe(1);
  });

  test("Sentinel leads to the master it names, and says what it does not know", async () => {
    await using kit = await redisKit();
    await using folder = await temporaryFolder();
    const port = await freePort();
    await writeFile(
      folder.file("sentinel.conf"),
      `port ${port}\nbind 127.0.0.1\ndir ${folder.path}\nsentinel monitor mymaster 127.0.0.1 ${kit.server.port} 1\n`,
    );
    const binary = process.env.TQ_TEST_REDIS_SERVER ?? "redis-server";
    await using sentinel = startChild(binary, [folder.file("sentinel.conf"), "--sentinel"]);
    await until(async () => /^\+PONG/.test(String(await greet(port, "PING\r\n"))), {
      message: "the sentinel to answer",
    });
    // The first sentinel of the list is down.
    const url = `sentinel://127.0.0.1:${await freePort()};sentinel://127.0.0.1:${port}/2`;
    const broker = await kit.broker({ master_name: "mymaster" }, { url });
    const consumer = await kit.consumer(broker, ["q"]);
    await broker.publish(messageOf("x"), address);
    await consumer.take(1);
    await kit.client.select(2);
    expect(await kit.client.hlen("unacked")).toBe(1);
    await expect(kit.broker({ master_name: "other" }, { url })).rejects.toMatchObject({
      name: "BrokerConnectionError",
    });
    await expect(kit.broker({}, { url })).rejects.toThrow(/set the transport option master_name/);
    expect(sentinel.running).toBe(true);
  });

  test("where the server does not announce changes, looking often does", async () => {
    await using kit = await redisKit({ args: ["--rename-command", "CLIENT", ""] });
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await consumer.take(0);
    const began = performance.now();
    await kit.client.lpush("q", kombuEnvelope("a"));
    await consumer.take(1);
    expect(performance.now() - began).toBeLessThan(700);
  });

  test("a server that forgot the scripts is told them again", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [delivery] = await consumer.take(1);
    await kit.client.script("FLUSH");
    await delivery?.ack();
    await kit.client.lpush("q", kombuEnvelope("b"));
    await consumer.take(2);
    expect(consumer.lost).toEqual([]);
  });

  test("a server that was emptied under it is gone on with", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [delivery] = await consumer.take(1);
    await kit.client.flushall();
    await until(() => delivery?.lost);
    await delivery?.ack();
    await kit.client.lpush("q", kombuEnvelope("b"));
    await consumer.take(2);
    await consumer.deliveries[1]?.ack();
    expect(await kit.client.exists("unacked")).toBe(0);
    expect(consumer.lost).toEqual([]);
  });

  test("a worker has three connections, a publisher one, and all are closed at the end", async () => {
    await using kit = await redisKit();
    const connections = async (): Promise<number> =>
      ((await kit.client.client("LIST")) as string).trim().split("\n").length - 1;
    const publisher = await kit.broker();
    await publisher.publish(messageOf("x"), address);
    expect(await connections()).toBe(1);
    const broker = await kit.broker();
    const exchange = { name: "events", type: "fanout", durable: false } as const;
    await kit.consumer(broker, ["q", "r"]);
    await kit.consumer(broker, [queueOf("ev", { exchange, routingKey: "#" })], { noAck: true });
    await kit.consumer(broker, ["replies"], { noAck: true });
    expect(await connections()).toBe(4);
    await Promise.all([publisher.close(), broker.close()]);
    await until(async () => (await connections()) === 0);
  });
});
