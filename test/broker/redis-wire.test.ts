import { expect, test } from "vitest";
import { listKey, redisKeys, takeOrder } from "../../src/broker/redis/keys.ts";
import { decodeEnvelope } from "../../src/protocol/envelope.ts";
import { messageOf, queueOf, textOf } from "../contract/broker.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { captured, kombuEnvelope, redisKit } from "./redis-kit.ts";

const separator = "\x06\x16";

test("lists are looked at step by step, the queues in turn within each, as Celery's BRPOP does", () => {
  const { sequence } = captured<{ sequence: string[][] }>("main__redis_brpop_rotation");
  const keys = redisKeys({}, 0);
  const popped = sequence.filter(([command]) => command === "BRPOP");
  expect(popped.length).toBeGreaterThan(2);
  for (const [, ...args] of popped) {
    const lists = args.slice(0, -1);
    expect(takeOrder(keys, lists.slice(0, 3))).toEqual(lists);
  }
});

test("custom priority steps and separator name the lists", () => {
  const keys = redisKeys({ priority_steps: [0, 2, 4, 6, 8], sep: ":" }, 0);
  expect([0, 1, 2, 5, 8, 9, 255, -3].map((priority) => listKey(keys, "q", priority))).toEqual([
    "q",
    "q",
    "q:2",
    "q:4",
    "q:8",
    "q:8",
    "q:8",
    "q",
  ]);
});

describeWith("redis-server", "the Redis broker's keys", () => {
  test("what is taken stands in unacked byte for byte as Celery wrote it, until it is acknowledged", async () => {
    await using kit = await redisKit();
    const { hash_unacked: hash, redis_commands: commands } = captured<{
      hash_unacked: Record<string, string>;
      redis_commands: { db: number; cmd: string[] }[];
    }>("redis_unacked_while_running");
    const element = commands.find(({ cmd }) => cmd[0] === "LPUSH")?.cmd[2] as string;
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["celery"]);
    await kit.client.lpush("celery", element);
    const [delivery] = await consumer.take(1);
    expect(await kit.client.hgetall("unacked")).toEqual(hash);
    const tag = Object.keys(hash)[0] as string;
    const score = await kit.client.zscore("unacked_index", tag);
    expect(Math.abs(Number(score) - Date.now() / 1000)).toBeLessThan(5);
    expect(await kit.client.llen("celery")).toBe(0);
    await delivery?.ack();
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test.each([0, 3, 5, 9, 10, 255])("priority %i goes into the list Celery puts it in", async (priority) => {
    await using kit = await redisKit();
    const { queues } = captured<{ queues: Record<string, string[]> }>(`task_priority_${priority}`);
    const [list, elements] = Object.entries(queues)[0] as [string, string[]];
    const { message, address } = decodeEnvelope(elements[0] as string);
    const broker = await kit.broker();
    await broker.publish(message, address);
    expect(await kit.client.keys("*")).toEqual([list]);
    const withoutTag = (text: string): unknown => {
      const envelope = JSON.parse(text) as { properties: Record<string, unknown> };
      return { ...envelope, properties: { ...envelope.properties, delivery_tag: "-" } };
    };
    const written = (await kit.client.lindex(list, 0)) as string;
    expect(withoutTag(written)).toEqual(withoutTag(elements[0] as string));
  });

  test("declaring and deleting a queue writes and removes the binding Celery writes", async () => {
    await using kit = await redisKit();
    const { declare } = captured<{ declare: { cmd: string[] }[] }>("redis_queue_declare_purge_delete");
    const bound = declare.find(({ cmd }) => cmd[0] === "SADD") as { cmd: [string, string, string] };
    const [, key, member] = bound.cmd;
    const broker = await kit.broker();
    await broker.declare(queueOf("qa"));
    expect(await kit.client.smembers(key)).toEqual([member]);
    await broker.delete(queueOf("qa"));
    expect(await kit.client.dbsize()).toBe(0);
  });

  test("a topic binding carries the expression Python matches with", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const exchange = { name: "news", type: "topic", durable: true } as const;
    await broker.declare(queueOf("q", { exchange, routingKey: "a.*.#" }));
    expect(await kit.client.smembers("_kombu.binding.news")).toEqual([
      ["a.*.#", "^a\\..*?[^\\.]\\..*?$", "q"].join(separator),
    ]);
  });

  test("a message goes to every queue bound under its key, whoever bound it and as what", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker({ global_keyprefix: "gp:" });
    const orders = { name: "orders", type: "direct", durable: true } as const;
    for (const [name, routingKey] of [
      ["one", "new"],
      ["two", "new"],
      ["three", "old"],
    ] as const)
      await broker.declare(queueOf(name, { exchange: orders, routingKey }));
    const send = (priority: number, exchange: string, routingKey: string) =>
      broker.publish(messageOf("x", { properties: { priority } }), { exchange, routingKey });
    await Promise.all([send(0, "orders", "new"), send(3, "orders", "new"), send(0, "orders", "old")]);
    await expect(send(0, "orders", "nobody's")).rejects.toThrow(/no queue is bound to the exchange "orders"/);
    // Another process knows it as a topic exchange; this one was never told.
    const other = await kit.broker({ global_keyprefix: "gp:" });
    await other.declare(queueOf("late", { exchange: { ...orders, name: "news", type: "topic" }, routingKey: "a.*" }));
    await Promise.all([send(0, "news", "a.b"), send(0, "news", "b.a")]);
    const lengths: Record<string, number> = {};
    for (const key of await kit.client.keys("*"))
      if ((await kit.client.type(key)) === "list") lengths[key] = await kit.client.llen(key);
    const urgent = [`gp:one${separator}3`, `gp:two${separator}3`];
    expect(lengths).toEqual({
      "gp:one": 1,
      "gp:two": 1,
      "gp:three": 1,
      "gp:late": 1,
      ...Object.fromEntries(urgent.map((key) => [key, 1])),
    });
  });

  test("every key and channel stands under global_keyprefix", async () => {
    await using kit = await redisKit();
    const { db0_keys: expected } = captured<{ db0_keys: Record<string, unknown> }>("redis_global_keyprefix");
    const broker = await kit.broker({ global_keyprefix: "gp:" });
    const consumer = await kit.consumer(broker, ["celery"]);
    const pidbox = queueOf("w1.pidbox", {
      exchange: { name: "celery.pidbox", type: "fanout", durable: false },
      routingKey: "",
      autoDelete: true,
    });
    const mailbox = await kit.consumer(broker, [pidbox], { noAck: true });
    for (let count = 0; count < 4; count += 1) {
      await broker.publish(messageOf(`m${count}`), { exchange: "", routingKey: "celery" });
    }
    const [, parked, buried, requeued] = await consumer.take(4);
    await parked?.park(new Date(Date.now() + 60_000));
    await buried?.reject({ requeue: false });
    await requeued?.reject({ requeue: true });
    await consumer.take(5);
    const keys = await kit.client.keys("*");
    expect(keys.filter((key) => !key.startsWith("gp:"))).toEqual([]);
    const ofTasks = Object.keys(expected).filter((key) => !key.includes("celeryev"));
    expect(keys).toEqual(expect.arrayContaining(ofTasks));
    await kit.client.publish("gp:/0.celery.pidbox", kombuEnvelope("t1"));
    await mailbox.take(1);
    expect(await broker.size("celery")).toBe(0);
    expect(await broker.deadLetters.count()).toBe(1);
  });

  test("a rejected message goes behind what waits; one given back on close goes to the front, both marked", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const holder = await kit.consumer(broker, ["q"], { prefetch: 2 });
    await kit.client.lpush("q", kombuEnvelope("a"), kombuEnvelope("b"), kombuEnvelope("c"));
    const [a, b] = await holder.take(2);
    holder.subscription.pause();
    await a?.reject({ requeue: true });
    await holder.subscription.close();
    const right = await kit.client.lrange("q", 0, -1);
    const tagOf = (text: string): string => JSON.parse(text).properties.delivery_tag;
    expect(right.map(tagOf)).toEqual(["a", "c", "b"]);
    for (const text of [right[0], right[2]] as string[]) {
      const { headers, properties } = JSON.parse(text);
      expect([headers.redelivered, properties.delivery_info.redelivered]).toEqual([true, true]);
      const expected = JSON.parse(kombuEnvelope(tagOf(text)));
      expected.headers.redelivered = true;
      expected.properties.delivery_info.redelivered = true;
      expect(JSON.parse(text)).toEqual(expected);
    }
    expect(right[1]).toBe(kombuEnvelope("c"));
    expect(b?.lost).toBe(false);
  });

  test("a parked message stays in unacked, as old as it is due, so that kombu's restore finds it too", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("a"));
    const [delivery] = await consumer.take(1);
    const due = new Date(Date.now() + 3_600_000);
    await delivery?.park(due);
    expect(await kit.client.hkeys("unacked")).toEqual(["a"]);
    expect(Number(await kit.client.zscore("unacked_index", "a"))).toBeCloseTo(due.getTime() / 1000, 3);
    await broker.close();
    expect(await kit.client.hkeys("unacked")).toEqual(["a"]);
    expect(await kit.client.llen("q")).toBe(0);
  });

  test("fanout channels are named as Celery names them, whatever the options", async () => {
    await using kit = await redisKit();
    const channels: string[] = [];
    const ear = kit.client.duplicate();
    await ear.psubscribe("*");
    ear.on("pmessage", (_pattern, channel: string) => channels.push(channel));
    const address = { exchange: "celeryev", routingKey: "task.multi", type: "fanout" } as const;
    for (const options of [{}, { fanout_prefix: false }, { fanout_prefix: "/x." }, { fanout_patterns: false }]) {
      await (await kit.broker(options)).publish(messageOf("x"), address);
    }
    await (await kit.broker({}, { url: `${kit.server.url}/5` })).publish(messageOf("x"), address);
    await until(() => channels.length === 5);
    ear.disconnect();
    expect(channels).toEqual([
      "/0.celeryev/task.multi",
      "celeryev/task.multi",
      "/x.celeryev/task.multi",
      "/0.celeryev",
      "/5.celeryev/task.multi",
    ]);
  });

  test("a fanout queue hears the keys its pattern names, and nothing after it was cancelled", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const exchange = { name: "celeryev", type: "fanout", durable: false } as const;
    const events = queueOf("ev", { exchange, routingKey: "worker.#", autoDelete: true });
    const consumer = await kit.consumer(broker, [events], { noAck: true });
    for (const key of ["worker.online", "task.multi", "worker.heartbeat"]) {
      await broker.publish(messageOf(key), { exchange: "celeryev", routingKey: key, type: "fanout" });
    }
    await consumer.take(2);
    expect(consumer.deliveries.map(({ message }) => textOf(message))).toEqual(["worker.online", "worker.heartbeat"]);
    await consumer.subscription.cancel("ev");
    expect(await kit.client.pubsub("NUMPAT")).toBe(0);
  });

  test("a broadcast to be acknowledged is held by each consumer, also one that was pushed into its list", async () => {
    await using kit = await redisKit();
    const exchange = { name: "bcast", type: "fanout", durable: true } as const;
    const queue = (name: string) => queueOf(name, { exchange, routingKey: "", autoDelete: true });
    const [one, two] = [await kit.broker(), await kit.broker()];
    const first = await kit.consumer(one, [queue("bcast.1")]);
    const second = await kit.consumer(two, [queue("bcast.2")]);
    await kit.client.publish("/0.bcast", kombuEnvelope("same"));
    const [a] = await first.take(1);
    const [b] = await second.take(1);
    expect(await kit.client.hlen("unacked")).toBe(2);
    await a?.ack();
    expect(await kit.client.hlen("unacked")).toBe(1);
    await b?.ack();
    // A Python client that has not declared the exchange as fanout pushes instead of publishing.
    await kit.client.lpush("bcast.1", kombuEnvelope("pushed"));
    await first.take(2);
    await one.close();
    expect(await kit.client.smembers("_kombu.binding.bcast")).toEqual([["", "", "bcast.2"].join(separator)]);
  });

  test("two live messages with one tag are held, settled and given back one by one", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", kombuEnvelope("twin"), kombuEnvelope("twin"), kombuEnvelope("other"));
    await consumer.take(3);
    await kit.client.lpush("q", kombuEnvelope("twin"));
    const [first] = await consumer.take(4);
    expect(await kit.client.hlen("unacked")).toBe(4);
    expect(await kit.client.zcard("unacked_index")).toBe(4);
    await first?.ack();
    expect(await kit.client.hlen("unacked")).toBe(3);
    await broker.close();
    expect(await kit.client.llen("q")).toBe(3);
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test("five hundred queues cost Redis little, and what comes to any of them is announced", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const names = Array.from({ length: 500 }, (_, n) => `many-${n}`);
    const { deliveries, take } = await kit.consumer(broker, names, { prefetch: 10 });
    const begun = performance.now();
    for (let n = 0; n < 30; n += 1) {
      await kit.client.lpush(`many-${n * 16}${n % 2 ? separator : ""}${n % 2 ? 6 : ""}`, kombuEnvelope(`one-${n}`));
      await take(n + 1);
      await deliveries[n]?.ack();
    }
    // A look a second without announcements would take half a minute or so.
    expect(performance.now() - begun).toBeLessThan(10_000);
    // Whatever waits meanwhile, in whichever list.
    await broker.publishMany(
      names.map((name) => ({ message: messageOf(name), address: { exchange: "", routingKey: name } })),
    );
    for (let n = 30; n < 530; n += 1) await (await take(n + 1))[n]?.ack();
    expect(new Set(deliveries.slice(30).map(({ queue }) => queue)).size).toBe(500);
    const [, user] = /used_cpu_user:([\d.]+)/.exec(await kit.client.info("cpu")) ?? [];
    expect(Number(user)).toBeLessThan(3);
  });

  test("order of queues: turns, as declared, or by name", async () => {
    await using kit = await redisKit();
    const served = async (strategy: string): Promise<string> => {
      const broker = await kit.broker({ queue_order_strategy: strategy });
      for (const queue of ["qb", "qa", "qc"]) {
        await kit.client.lpush(queue, ...[1, 2, 3].map((n) => kombuEnvelope(`${strategy}-${queue}-${n}`)));
        await kit.client.lpush(`${queue}${separator}3`, kombuEnvelope(`${strategy}-${queue}-late`));
      }
      const order: string[] = [];
      const subscription = await broker.subscribe({
        node: "kit@host",
        prefetch: 1,
        onLost: () => undefined,
        onDelivery: (delivery) => {
          order.push(`${delivery.queue.slice(1)}${String(delivery.message.headers.id).endsWith("late") ? "3" : ""}`);
          void delivery.ack();
        },
      });
      subscription.pause();
      for (const queue of ["qb", "qa", "qc"]) await subscription.consume(queueOf(queue));
      subscription.resume();
      await until(() => order.length === 12);
      await broker.close();
      return order.join(" ");
    };
    expect(await served("round_robin")).toBe("b a c b a c b a c b3 a3 c3");
    expect(await served("priority")).toBe("b b b a a a c c c b3 a3 c3");
    expect(await served("sorted")).toBe("a a a b b b c c c a3 b3 c3");
    await expect(
      kit.broker({ queue_order_strategy: "odd" }).then((broker) => kit.consumer(broker, [])),
    ).rejects.toThrow(/queue_order_strategy must be/);
  });
});

describeWith("redis-server", "the Redis broker and bad input", () => {
  const poison: readonly (readonly [string, string | Buffer, RegExp])[] = [
    ["no JSON", "MARKER", /JSON/i],
    ["an empty element", "", /JSON/i],
    ["half an envelope", kombuEnvelope("half").slice(0, 100), /JSON/i],
    ["a JSON number", "42", /object/],
    ["a JSON list", '["a", "", "q"]', /object/],
    [
      "no properties",
      kombuEnvelope("p", { properties: undefined }).replace(', "properties": undefined', ""),
      /properties/,
    ],
    ["no delivery tag", kombuEnvelope("t", { properties: { delivery_info: {} } }), /delivery_tag/],
    ["no delivery info", kombuEnvelope("i", { properties: { delivery_tag: "i" } }), /delivery_info/],
    ["no content type", kombuEnvelope("c", { "content-type": null }), /content-type/],
    ["headers that are none", kombuEnvelope("h", { headers: [1] }), /headers/],
    ["bytes that are no text", Buffer.from([0xff, 0xfe, 0x00, 0x22, 0x5d]), /JSON/i],
    ["a body nested 100,000 deep", `${"[".repeat(100_000)}${"]".repeat(100_000)}`, /./],
    ["a tag full of quotes", kombuEnvelope('x", "", "y"]'), /^$/],
  ];

  test.each(poison)(
    "%s is delivered as damaged, kept byte for byte, and the next message comes",
    async (name, element, damage) => {
      await using kit = await redisKit();
      const broker = await kit.broker();
      const consumer = await kit.consumer(broker, ["q"]);
      await kit.client.lpush("q", element, kombuEnvelope("sound"));
      const [bad, good] = await consumer.take(2);
      expect(good?.damage).toBeNull();
      if (name === "a tag full of quotes") expect(bad?.damage).toBeNull();
      else expect(bad?.damage).toMatch(damage);
      await bad?.reject({ requeue: false, reason: name });
      await good?.ack();
      const [letter] = await broker.deadLetters.list();
      expect([letter?.reason, letter?.queue, letter?.size]).toEqual([name, "q", Buffer.from(element).length]);
      expect(await kit.client.hgetBuffer("tq:dead", letter?.id as string)).toEqual(Buffer.from(element));
      expect(await kit.client.exists("unacked", "unacked_index", "q")).toBe(0);
      expect(await broker.deadLetters.redrive([letter?.id as string])).toBe(1);
      await consumer.take(3);
      expect(consumer.lost).toEqual([]);
    },
  );

  test("poison that nobody settled comes back whole when its consumer closes", async () => {
    await using kit = await redisKit();
    const elements = poison.map(([, element]) => Buffer.from(element));
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await kit.client.lpush("q", ...elements);
    await consumer.take(elements.length);
    await broker.close();
    const back = await kit.client.lrangeBuffer("q", 0, -1);
    expect(back).toHaveLength(elements.length);
    // The last one is sound, and marked.
    const damaged = elements.slice(0, -1);
    expect(back.slice(1).filter((one, index) => !one.equals(damaged.at(-1 - index) as Buffer))).toEqual([]);
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test("an envelope far above the limit stays in Redis: only its size is told, and it can be buried", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker({}, { maxBodySize: 1_000_000 });
    const consumer = await kit.consumer(broker, ["q"]);
    const element = kombuEnvelope("huge", { body: "A".repeat(20_000_000) });
    const before = process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed;
    await kit.client.lpush("q", element);
    await kit.client.lpush("q", kombuEnvelope("next"));
    const [huge, next] = await consumer.take(2);
    expect(huge?.damage).toMatch(/1000000/);
    expect(huge?.message.body).toBe("");
    expect(next?.damage).toBeNull();
    await huge?.reject({ requeue: false, reason: "too large" });
    const [letter] = await broker.deadLetters.list();
    expect([letter?.size, letter?.message]).toEqual([element.length, null]);
    expect(letter?.raw).toMatch(/^\{"body": "AAA/);
    expect(process.memoryUsage().arrayBuffers + process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
    await next?.ack();
  });

  test("a full server takes nothing new, loses nothing, and can be drained", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const many = Array.from({ length: 200 }, (_, index) => kombuEnvelope(`m${index}`));
    await kit.client.lpush("q", ...many);
    await kit.client.config("SET", "maxmemory-policy", "noeviction");
    await kit.client.config("SET", "maxmemory", "1mb");
    await expect(broker.publish(messageOf("x"), { exchange: "", routingKey: "q" })).rejects.toMatchObject({
      name: "OperationalError",
    });
    const consumer = await kit.consumer(broker, [], { prefetch: 10 });
    await consumer.subscription.consume(queueOf("q", { exchange: { name: "", type: "direct", durable: true } }));
    for (let count = 0; count < 200; count += 1) {
      await until(() => consumer.deliveries.length > count);
      await consumer.deliveries[count]?.ack();
    }
    expect(new Set(consumer.deliveries.map(({ message }) => message.headers.id)).size).toBe(200);
    expect(await kit.client.exists("q", "unacked", "unacked_index")).toBe(0);
  });

  test("a key that is no list is said to be so", async () => {
    await using kit = await redisKit();
    await kit.client.set("q", "text");
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await until(() => consumer.lost.length === 1);
    expect(String(consumer.lost[0])).toMatch(/WRONGTYPE/);
  });
});
