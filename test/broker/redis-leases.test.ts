import { expect, test } from "vitest";
import { silentLogger } from "../../src/log.ts";
import { messageOf, textOf } from "../contract/broker.ts";
import { startProxy } from "../fault/proxy.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { kombuEnvelope, redisKit } from "./redis-kit.ts";

const seconds = (): number => Date.now() / 1000;

describeWith("redis-server", "the Redis broker's leases", () => {
  test("what a dead consumer held comes back in front, in order, list by list, and its lease is gone", async () => {
    await using kit = await redisKit();
    const [one, two] = [await kit.broker(), await kit.broker()];
    await kit.client.lpush("q", ...Array.from({ length: 300 }, (_, index) => kombuEnvelope(`a${index}`)));
    await kit.client.lpush("q\x06\x169", kombuEnvelope("z0", { properties: propertiesOf("z0", 9) }));
    const holder = await kit.consumer(one, ["q"]);
    await holder.take(301);
    holder.subscription.pause();
    const heir = await kit.consumer(two, ["q"], { prefetch: 1 });
    await kit.client.lpush("q", kombuEnvelope("later"));
    await heir.take(1);
    await kit.client.lpush("q", kombuEnvelope("last"));
    one.abandon();
    await until(async () => (await kit.client.llen("q")) === 301, { timeout: 10 });
    const order = (await kit.client.lrange("q", 0, -1)).reverse().map((text) => JSON.parse(text));
    expect(order.map(({ headers }) => headers.id)).toEqual([
      ...Array.from({ length: 300 }, (_, index) => `a${index}`),
      "last",
    ]);
    expect(order.slice(0, 300).every(({ headers }) => headers.redelivered === true)).toBe(true);
    expect(await kit.client.llen("q\x06\x169")).toBe(1);
    await until(async () => (await kit.client.zcard("tq:consumers")) === 1);
    expect((await kit.client.keys("tq:held:*")).length).toBe(1);
  });

  test("a consumer that was taken for dead learns it: its deliveries are lost, and settling them touches nothing", async () => {
    await using kit = await redisKit();
    const [one, two] = [await kit.broker(), await kit.broker()];
    const holder = await kit.consumer(one, ["q"], { prefetch: 2 });
    await kit.client.lpush("q", kombuEnvelope("a"), kombuEnvelope("b"));
    const [a, b] = await holder.take(2);
    // What the other does when the lease has ended, without the wait.
    const [id] = await kit.client.zrange("tq:consumers", "0", "0");
    await kit.client.rename(`tq:held:${id}`, "tq:held:orphan");
    await kit.client.zrem("tq:consumers", id as string);
    await kit.client.zadd("tq:consumers", 1, "orphan");
    const heir = await kit.consumer(two, ["q"]);
    const early = a?.ack();
    await until(() => a?.lost || b?.lost);
    await early;
    expect(b?.lost).toBe(true);
    await b?.ack();
    await heir.take(2, 15);
    expect(heir.deliveries.map(({ message, redelivered }) => [message.headers.id, redelivered])).toEqual([
      ["a", true],
      ["b", true],
    ]);
    await b?.reject({ requeue: true });
    expect((await kit.client.hkeys("unacked")).sort()).toEqual(["a", "b"]);
    // And it goes on.
    await two.close();
    await holder.take(4);
    await Promise.all(holder.deliveries.slice(2).map((delivery) => delivery.ack()));
    expect(await kit.client.exists("unacked", "unacked_index", "q")).toBe(0);
  });

  test("options that cannot be handed to a thread cost a consumer that may block a warning, and nothing else", async () => {
    await using kit = await redisKit();
    const warnings: string[] = [];
    const logger = { ...silentLogger, warn: (_fields: object, event: string) => void warnings.push(event) };
    const broker = await kit.broker({ hook: () => undefined }, { mayBlock: true, logger });
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [delivery] = await consumer.take(1);
    await delivery?.ack();
    expect(warnings).toEqual([expect.stringContaining("their lease is not kept")]);
  });

  test("held messages stay young: neither tq nor kombu takes them for forgotten", async () => {
    await using kit = await redisKit();
    const options = { visibility_timeout: 4, unacked_restore_interval: 0.5 };
    const [one, two] = [await kit.broker(options), await kit.broker(options)];
    const holder = await kit.consumer(one, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [held] = await holder.take(1);
    const other = await kit.consumer(two, ["q"]);
    const taken = Number(await kit.client.zscore("unacked_index", "a"));
    await until(async () => Number(await kit.client.zscore("unacked_index", "a")) > taken + 4.5, { timeout: 12 });
    expect(other.deliveries).toEqual([]);
    await held?.ack();
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test("what a Python worker has taken is told from what is nowhere, with the time at which it comes back", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker({ visibility_timeout: 60 });
    for (const [tag, age] of [
      ["young", 10],
      ["old", 100],
    ] as const) {
      await kit.client.hset("unacked", tag, `[${kombuEnvelope(tag)}, "", "q"]`);
      await kit.client.zadd("unacked_index", seconds() - age, tag);
    }
    const located = await broker.locate({ ids: ["young", "old", "nowhere"], queues: ["q"] });
    const places = Object.fromEntries(located.kind === "located" ? located.places : []);
    const young = { kind: "held", queue: "q", node: null, until: expect.any(Date) };
    // Nobody of tq is there to put it back, and kombu's own workers are not seen.
    expect(places).toEqual({ young, old: { kind: "orphaned", queue: "q", node: null, due: null } });
    const until = places.young?.kind === "held" ? places.young.until : null;
    expect(Math.abs((until?.getTime() ?? 0) / 1000 - seconds() - 50)).toBeLessThan(5);
  });

  test("what a Python worker held beyond the visibility timeout comes back as kombu would bring it", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker({ visibility_timeout: 60, unacked_restore_interval: 0.3 });
    const held = (tag: string, age: number, exchange = "", key = "q") =>
      Promise.all([
        kit.client.hset("unacked", tag, `[${kombuEnvelope(tag)}, ${JSON.stringify(exchange)}, ${JSON.stringify(key)}]`),
        kit.client.zadd("unacked_index", seconds() - age, tag),
      ]);
    await kit.client.sadd("_kombu.binding.direct", ["red", "", "bound"].join("\x06\x16"));
    await held("young", 10);
    await held("second", 100);
    await held("first", 101);
    await held("routed", 100, "direct", "red");
    await held("unrouted", 100, "direct", "blue");
    await kit.client.zadd("unacked_index", seconds() - 100, "orphan of the index");
    await kit.client.set("unacked_mutex", "somebody", "PX", 1_000);
    const consumer = await kit.consumer(broker, ["q", "bound"]);
    await consumer.take(3);
    expect(consumer.deliveries.map(({ queue, message }) => `${queue} ${String(message.headers.id)}`).sort()).toEqual([
      "bound routed",
      "q first",
      "q second",
    ]);
    const inQ = consumer.deliveries.filter(({ queue }) => queue === "q");
    expect(inQ.map(({ message, redelivered }) => [message.headers.id, redelivered])).toEqual([
      ["first", true],
      ["second", true],
    ]);
    expect(await kit.client.hget("unacked", "young")).toContain("young");
    const [letter] = await broker.deadLetters.list();
    expect(letter?.reason).toMatch(/no queue is bound to the exchange "direct" with the key "blue"/);
    expect(letter?.message?.headers.id).toBe("unrouted");
    await until(async () => (await kit.client.exists("unacked_mutex")) === 0);
    expect(await kit.client.zscore("unacked_index", "orphan of the index")).toBeNull();
  });

  test("parked messages wake in the order they are due, within 100 ms, whoever parked them", async () => {
    await using kit = await redisKit();
    const [one, two] = [await kit.broker(), await kit.broker()];
    const holder = await kit.consumer(one, ["q"]);
    const count = 2_000;
    await kit.client.lpush("q", ...Array.from({ length: count }, (_, index) => kombuEnvelope(`p${index}`)));
    const deliveries = await holder.take(count);
    const due = Date.now() + 2_500;
    await Promise.all(deliveries.map((delivery, index) => delivery.park(new Date(due - (index % 10) * 10))));
    expect(await kit.client.zcard("tq:parked")).toBe(count);
    await one.close();
    const arrivals: { readonly id: unknown; readonly at: number }[] = [];
    await kit.consumer(two, ["q"], {
      onDelivery: ({ message }) => arrivals.push({ id: message.headers.id, at: Date.now() }),
    });
    await until(() => arrivals.length === count, { timeout: 15 });
    const late = arrivals.map(({ id, at }) => at - (due - (Number(String(id).slice(1)) % 10) * 10));
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    late.sort((a, b) => a - b);
    expect(late[count / 2]).toBeLessThan(1_000);
    expect(await kit.client.zcard("tq:parked")).toBe(0);
  }, 40_000);

  test("a single parked message wakes within a second of its time, and not before", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    const late: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      await kit.client.lpush("q", kombuEnvelope(`p${round}`));
      const delivery = (await consumer.take(2 * round + 1))[2 * round];
      const due = Date.now() + 150;
      await delivery?.park(new Date(due));
      await consumer.take(2 * round + 2);
      late.push(Date.now() - due);
    }
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    expect(Math.min(...late)).toBeLessThan(1_000);
  });

  test("a parked message that kombu restored and somebody took is not woken again", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [delivery] = await consumer.take(1);
    await delivery?.park(new Date(Date.now() + 700));
    // kombu restores it and another Python worker takes it: the same tag, another age.
    await kit.client.zadd("unacked_index", seconds() + 30, "a");
    await until(async () => (await kit.client.zcard("tq:parked")) === 0);
    expect(await kit.client.hkeys("unacked")).toEqual(["a"]);
    expect(await kit.client.llen("q")).toBe(0);
    expect(consumer.deliveries).toHaveLength(1);
  });

  test("an ack that the loss of the connection swallowed is told over the next one", async () => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({}, { url: proxy.url });
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", ...["a", "b", "c", "d"].map((tag) => kombuEnvelope(tag)));
    const [a, b, c, d] = await consumer.take(4);
    proxy.cut();
    const answers = await Promise.allSettled([
      a?.ack(),
      b?.park(new Date(Date.now() + 3_600_000)),
      c?.reject({ requeue: false, reason: "bad" }),
      d?.reject({ requeue: true }),
    ]);
    expect(answers.map(({ status }) => status)).toEqual(Array(4).fill("rejected"));
    await until(() => consumer.lost.length === 1);
    expect(await kit.client.hlen("unacked")).toBe(4);
    proxy.restore();
    await broker.connect();
    await until(async () => (await kit.client.hkeys("unacked")).join() === "b");
    expect(await kit.client.zcard("tq:parked")).toBe(1);
    expect(await broker.deadLetters.count()).toBe(1);
    expect(await kit.client.llen("q")).toBe(1);
  });

  test("what was held through a loss can still be acknowledged, and is not delivered to others meanwhile", async () => {
    await using kit = await redisKit();
    await using proxy = await startProxy(kit.server.url);
    const broker = await kit.broker({}, { url: proxy.url });
    const other = await kit.consumer(await kit.broker(), ["q"]);
    other.subscription.pause();
    const before = await kit.consumer(broker, ["q"]);
    await broker.publish(messageOf("held"), { exchange: "", routingKey: "q" });
    const [held] = await before.take(1);
    other.subscription.resume();
    proxy.reset();
    await until(() => before.lost.length === 1);
    await broker.connect();
    const after = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("next"));
    await until(() => after.deliveries.length + other.deliveries.length === 1);
    expect(held?.lost).toBe(false);
    await held?.ack();
    expect(await kit.client.hkeys("unacked")).toEqual(["next"]);
    expect(textOf(held?.message ?? messageOf(""))).toBe("held");
  });
});

function propertiesOf(tag: string, priority: number): Readonly<Record<string, unknown>> {
  const { properties } = JSON.parse(kombuEnvelope(tag)) as { properties: Readonly<Record<string, unknown>> };
  return { ...properties, priority };
}
