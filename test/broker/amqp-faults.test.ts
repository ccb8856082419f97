import { once } from "node:events";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { afterEach, expect, test } from "vitest";
import { createAmqpBroker } from "../../src/broker/amqp/broker.ts";
import type { Broker, Delivery, Queue, SubscribeOptions, Subscription } from "../../src/broker/broker.ts";
import { type BrokerOptions, defaultBrokerOptions } from "../../src/broker/options.ts";
import { messageOf, queueOf, textOf } from "../contract/broker.ts";
import { startProxy } from "../fault/proxy.ts";
import { startRabbit } from "../helpers/rabbit-server.ts";
import { describeWith, freshVhost, type VirtualHost } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

const open: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** Closed after the test, last opened first. */
function owned<T extends AsyncDisposable>(resource: T): T {
  open.push({ close: async () => resource[Symbol.asyncDispose]() });
  return resource;
}

async function connect(url: string, options: Partial<BrokerOptions> = {}): Promise<Broker> {
  const broker = createAmqpBroker(url, { ...defaultBrokerOptions, ...options });
  open.push(broker);
  await broker.connect();
  return broker;
}

interface Consumed {
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
  readonly lost: Error[];
  readonly bodies: () => string[];
}

async function consume(broker: Broker, queue: Queue, options: Partial<SubscribeOptions> = {}): Promise<Consumed> {
  const deliveries: Delivery[] = [];
  const lost: Error[] = [];
  const subscription = await broker.subscribe({
    node: "w@host",
    prefetch: 0,
    ...options,
    onDelivery: (delivery) => {
      deliveries.push(delivery);
      options.onDelivery?.(delivery);
    },
    onLost: (error) => {
      lost.push(error);
      options.onLost?.(error);
    },
  });
  await subscription.consume(queue);
  return { subscription, deliveries, lost, bodies: () => deliveries.map(({ message }) => textOf(message)) };
}

const send = (broker: Broker, queue: Queue, body: string): Promise<void> =>
  broker.publish(messageOf(body), { exchange: "", routingKey: queue.name });

/** Connects and consumes again whenever the flow is lost, as a worker does. */
function keepConsuming(broker: Broker, queue: Queue, onDelivery: (delivery: Delivery) => void): { losses: Error[] } {
  const losses: Error[] = [];
  const begin = async (): Promise<void> => {
    await broker.connect();
    await consume(broker, queue, {
      prefetch: 10,
      onDelivery,
      onLost: (error) => {
        losses.push(error);
        keep();
      },
    });
  };
  const keep = (): void => {
    until(() => begin().then(() => true), { timeout: 60, interval: 0.1 }).catch((error) => losses.push(error));
  };
  keep();
  return { losses };
}

describeWith(["amqp", "vhost"], "When the link to RabbitMQ fails,", () => {
  const vhost = async (): Promise<VirtualHost> => owned(await freshVhost());

  test("the loss is told once, deliveries are lost, and settling them does nothing", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    const broker = await connect(proxy.url);
    const queue = queueOf("held");
    const before = await consume(broker, queue);
    await send(broker, queue, "a");
    await send(broker, queue, "b");
    await until(() => before.deliveries.length === 2);
    proxy.reset();
    await until(() => before.lost.length > 0);
    expect(before.lost.map(({ name }) => name)).toEqual(["BrokerConnectionError"]);
    expect(before.deliveries.map(({ lost }) => lost)).toEqual([true, true]);

    await broker.connect();
    const after = await consume(broker, queue);
    await until(() => after.deliveries.length === 2);
    // The tags are the same numbers as before: on the new channel they would settle the new deliveries.
    await Promise.all(before.deliveries.map((delivery) => delivery.ack()));
    await before.deliveries[0]?.reject({ requeue: false, reason: "late" });
    await before.deliveries[1]?.park(new Date(Date.now() + 60_000));
    await after.subscription.close();
    expect(await broker.size(queue.name)).toBe(2);
    expect(await broker.deadLetters.count()).toBe(0);
    expect(after.deliveries.map(({ redelivered, lost }) => [redelivered, lost])).toEqual([
      [true, true],
      [true, true],
    ]);
    expect(before.lost).toHaveLength(1);
  });

  test("everything asked of it rejects with BrokerConnectionError until it is connected again", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    const broker = await connect(proxy.url);
    const queue = queueOf("q");
    await broker.declare(queue);
    proxy.cut();
    await until(() =>
      broker.size("q").then(
        () => false,
        () => true,
      ),
    );
    const attempts = [
      send(broker, queue, "x"),
      broker.publishMany([{ message: messageOf("x"), address: { exchange: "", routingKey: "q" } }]),
      broker.declare(queueOf("other")),
      broker.size("q"),
      broker.purge("q"),
      broker.deadLetters.list(),
      broker.connect(),
    ];
    const names = await Promise.all(attempts.map((attempt) => attempt.then(String, (error: Error) => error.name)));
    expect(names).toEqual(attempts.map(() => "BrokerConnectionError"));
    proxy.restore();
    await broker.connect();
    await send(broker, queue, "x");
    expect(await broker.size("q")).toBe(1);
  });

  test("a publish under way rejects, and never counts as taken", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    const broker = await connect(proxy.url);
    const queue = queueOf("q");
    await broker.declare(queue);
    proxy.stall();
    const published = send(broker, queue, "x").then(String, (error: Error) => error.name);
    proxy.cut();
    expect(await published).toBe("BrokerConnectionError");
  });

  test("a link that swallows everything is noticed within 5 s, though nothing is ever refused", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    const broker = await connect(proxy.url);
    const consumed = await consume(broker, queueOf("q"));
    const began = performance.now();
    proxy.blackHole();
    await until(() => consumed.lost.length > 0);
    expect((performance.now() - began) / 1000).toBeLessThan(5);
    expect(consumed.lost[0]?.message).toMatch(/not answered/);
  });

  test("a flow that ends while every question is still answered is noticed within 5 s of a message waiting", async () => {
    const { url } = await vhost();
    const links = owned(await startForwarder(url));
    const [broker, publisher] = [await connect(links.url), await connect(url)];
    const queue = queueOf("q");
    const consumed = await consume(broker, queue, { prefetch: 2 });
    await send(publisher, queue, "first");
    await until(() => consumed.deliveries.length === 1);
    await consumed.deliveries[0]?.ack();
    links.swallowDeliveries();
    const began = performance.now();
    for (let index = 0; index < 5; index += 1) await send(publisher, queue, `m${index}`);
    await until(() => consumed.lost.length > 0);
    expect((performance.now() - began) / 1000).toBeLessThan(5);
    expect(consumed.lost[0]?.message).toMatch(/wait in the queue and are not delivered/);
    await until(async () => (await publisher.size("q")) === 5, { message: "what was swallowed to go back" });
  });

  test("a swallowed publish is noticed within 5 s", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    const broker = await connect(proxy.url);
    const queue = queueOf("q");
    await broker.declare(queue);
    proxy.blackHole();
    const began = performance.now();
    await expect(send(broker, queue, "x")).rejects.toMatchObject({ name: "BrokerConnectionError" });
    expect((performance.now() - began) / 1000).toBeLessThan(5);
  });

  test("a connection attempt nobody answers ends after connectTimeout, and at once when told to", async () => {
    const proxy = owned(await startProxy((await vhost()).url));
    proxy.blackHole();
    const broker = createAmqpBroker(proxy.url, { ...defaultBrokerOptions, connectTimeout: 1 });
    open.push(broker);
    const began = performance.now();
    await expect(broker.connect()).rejects.toMatchObject({ name: "BrokerConnectionError" });
    expect((performance.now() - began) / 1000).toBeLessThan(2);
    const reason = new Error("shutting down");
    await expect(broker.connect(AbortSignal.abort(reason))).rejects.toBe(reason);
  });

  test("the publishing connection is made again when it was lost alone, and the flow goes on", async () => {
    const links = owned(await startForwarder((await vhost()).url));
    const broker = await connect(links.url);
    const queue = queueOf("q");
    const consumed = await consume(broker, queue);
    await send(broker, queue, "a");
    await until(() => consumed.deliveries.length === 1);
    links.break(0);
    // The first try may be what finds the link broken; a settling that failed may be tried again.
    const reject = async (): Promise<boolean> => {
      await consumed.deliveries[0]?.reject({ requeue: false, reason: "kept all the same" });
      return true;
    };
    await until(reject);
    expect((await broker.deadLetters.list()).map(({ reason }) => reason)).toEqual(["kept all the same"]);
    await send(broker, queue, "b");
    await until(() => consumed.deliveries.length === 2);
    expect(consumed.lost).toEqual([]);
  });
});

/** A forwarder whose links can be broken one by one, and that can keep deliveries from arriving. */
interface Forwarder extends AsyncDisposable {
  readonly url: string;
  /** Breaks a link, counted in the order in which they were made. */
  break(index: number): void;
  /** Answers still pass, so that every question is answered; deliveries do not. */
  swallowDeliveries(): void;
}

async function startForwarder(url: string): Promise<Forwarder> {
  const target = new URL(url);
  const port = Number(target.port);
  const sockets: Socket[] = [];
  const clients: Socket[] = [];
  let swallow = false;
  const server = createServer((client) => {
    const upstream = createConnection(port, target.hostname);
    clients.push(client);
    sockets.push(client, upstream);
    client.on("error", () => undefined).on("close", () => upstream.destroy());
    upstream.on("error", () => undefined).on("close", () => client.destroy());
    client.on("data", (chunk) => upstream.write(chunk));
    const filter = deliveryFilter(() => swallow);
    upstream.on("data", (chunk) => client.write(filter(chunk)));
  });
  await once(server.listen(0, "127.0.0.1"), "listening");
  target.port = String((server.address() as AddressInfo).port);
  return {
    url: target.href,
    break: (index) => void clients[index]?.resetAndDestroy(),
    swallowDeliveries: () => {
      swallow = true;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
    },
  };
}

/** Passes whole AMQP frames on, but for basic.deliver and the content that follows it. */
function deliveryFilter(swallow: () => boolean): (chunk: Buffer) => Buffer {
  let rest: Buffer = Buffer.alloc(0);
  const inContent = new Set<number>();
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const passed: Buffer[] = [];
    while (rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(3)) {
      const frame = rest.subarray(0, 8 + rest.readUInt32BE(3));
      rest = rest.subarray(frame.length);
      const [type, channel] = [frame.readUInt8(0), frame.readUInt16BE(1)];
      if (type === 1) inContent.delete(channel);
      if (swallow() && type === 1 && frame.readUInt32BE(7) === 0x003c003c) inContent.add(channel);
      if (!inContent.has(channel)) passed.push(frame);
    }
    return Buffer.concat(passed);
  };
}

describeWith(["amqp", "vhost"], "RabbitMQ refuses", () => {
  const brokerOf = async (): Promise<Broker> => connect(owned(await freshVhost()).url);

  test("a queue declared otherwise, by name and with the way out; the broker goes on", async () => {
    const broker = await brokerOf();
    await broker.declare(queueOf("q", { arguments: { "x-max-priority": 10 } }));
    const declared = broker.declare(queueOf("q"));
    await expect(declared).rejects.toMatchObject({ name: "OperationalError" });
    await expect(declared).rejects.toThrow(/queue "q" exists with other settings.*x-max-priority.*taskQueues/s);
    await send(broker, queueOf("q"), "x");
    expect(await broker.size("q")).toBe(1);
  });

  test("a message for a queue that does not exist; others of the same tick are taken", async () => {
    const broker = await brokerOf();
    const queue = queueOf("here");
    await broker.declare(queue);
    const results = await Promise.allSettled([
      send(broker, queue, "a"),
      send(broker, queueOf("nowhere"), "b"),
      send(broker, queue, "c"),
    ]);
    expect(results.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(String((results[1] as PromiseRejectedResult).reason)).toMatch(/no queue "nowhere" exists/);
    expect(await broker.size("here")).toBe(2);
  });

  test("a message for a direct exchange that does not exist, while a fanout nobody listens to swallows it", async () => {
    const broker = await brokerOf();
    await expect(broker.publish(messageOf("x"), { exchange: "no.such", routingKey: "k" })).rejects.toThrow(
      /no exchange "no.such"/,
    );
    await broker.publish(messageOf("x"), { exchange: "no.such", routingKey: "", type: "fanout" });
    await broker.publish(messageOf("x"), { exchange: "no.such", routingKey: "a.b", type: "topic" });
  });

  test("headers beyond what a frame holds, saying so", async () => {
    const broker = await brokerOf();
    await broker.declare(queueOf("q"));
    const message = messageOf("x", { headers: { huge: "x".repeat(70_000) } });
    await expect(broker.publish(message, { exchange: "", routingKey: "q" })).rejects.toMatchObject({
      name: "MessageTooLarge",
    });
    await send(broker, queueOf("q"), "small");
  });

  test("a wrong password, without printing it", async () => {
    const url = new URL(owned(await freshVhost()).url);
    url.password = "wr0ng-secret";
    const failure = await createAmqpBroker(url.href, defaultBrokerOptions)
      .connect()
      .then(
        () => undefined,
        (error: Error) => error,
      );
    expect(failure).toMatchObject({ name: "BrokerConnectionError" });
    expect(failure?.message).toMatch(/check user name and password/);
    expect(failure?.message).not.toContain("wr0ng-secret");
  });
});

describeWith(["amqp", "vhost"], "A subscription to RabbitMQ", () => {
  const brokerOf = async (): Promise<Broker> => connect(owned(await freshVhost()).url);

  test("a flow that is being closed ends with the link, although nobody answers", async () => {
    const proxy = owned(await startProxy(owned(await freshVhost()).url));
    const broker = await connect(proxy.url);
    const queue = queueOf("closing");
    for (let round = 0; round < 3; round += 1) {
      await until(() => broker.connect().then(() => true), { timeout: 20 });
      const { subscription } = await consume(broker, queue);
      proxy.mute();
      const closed = subscription.close();
      proxy.reset();
      await closed;
      proxy.restore();
    }
  });

  test("goes on when its queue is deleted under it", async () => {
    const [broker, queue] = [await brokerOf(), queueOf("q")];
    const consumed = await consume(broker, queue);
    await broker.delete(queue);
    await until(() => send(broker, queue, "after").then(() => true));
    await until(() => consumed.deliveries.length === 1);
    expect(consumed.lost).toEqual([]);
  });

  test("on a quorum queue counts prefetch per consumer, changes it, and acks", async () => {
    const broker = await brokerOf();
    const quorum = queueOf("quorum", { arguments: { "x-queue-type": "quorum" } });
    await broker.declare(quorum);
    for (let index = 0; index < 10; index += 1) await send(broker, quorum, `m${index}`);
    const consumed = await consume(broker, quorum, { prefetch: 2 });
    await until(() => consumed.deliveries.length === 2);
    await until(async () => (await broker.size("quorum")) === 8);
    consumed.subscription.setPrefetch(4);
    await until(() => consumed.deliveries.length === 4);
    for (const delivery of consumed.deliveries.slice()) await delivery.ack();
    await until(() => consumed.deliveries.length === 8);
    expect(consumed.bodies()).toEqual(Array.from({ length: 8 }, (_, index) => `m${index}`));
    expect(consumed.lost).toEqual([]);
  });

  test("on classic queues counts prefetch over the channel, as the broker keeps it", async () => {
    const broker = await brokerOf();
    const [one, two] = [queueOf("one"), queueOf("two")];
    for (const queue of [one, two]) {
      await broker.declare(queue);
      for (let index = 0; index < 5; index += 1) await send(broker, queue, `m${index}`);
    }
    const consumed = await consume(broker, one, { prefetch: 3 });
    await consumed.subscription.consume(two);
    await until(() => consumed.deliveries.length === 3);
    // What the broker has not given away; with a count for each consumer it would be 4.
    await until(async () => (await broker.size("one")) === 2);
    expect(await broker.size("two")).toBe(5);
  });

  test("on a quorum queue that shall not be told apart is refused, as with Celery", async ({ skip }) => {
    const broker = await connect(owned(await freshVhost()).url, { detectQuorumQueues: false });
    const quorum = queueOf("quorum", { arguments: { "x-queue-type": "quorum" } });
    const lost: Error[] = [];
    const consuming = consume(broker, quorum, { prefetch: 2, onLost: (error) => lost.push(error) });
    const refusal = await consuming.then(
      async () => (await until(() => lost[0], { timeout: 1 }).catch(() => undefined)) as Error | undefined,
      (error: Error) => error,
    );
    if (refusal === undefined) skip("this RabbitMQ counts for each consumer in any case");
    expect(refusal?.message).toMatch(/global qos/i);
  });

  test("on a classic and a quorum queue together holds no more than its prefetch", async () => {
    const broker = await brokerOf();
    const [classic, quorum] = [queueOf("classic"), queueOf("quorum", { arguments: { "x-queue-type": "quorum" } })];
    for (const queue of [classic, quorum]) {
      await broker.declare(queue);
      for (let index = 0; index < 5; index += 1) await send(broker, queue, `${queue.name}${index}`);
    }
    const consumed = await consume(broker, classic, { prefetch: 3 });
    await consumed.subscription.consume(quorum);
    await until(() => consumed.deliveries.length === 3);
    const settled: Delivery[] = [];
    while (settled.length < 10) {
      await until(() => consumed.deliveries.length > settled.length);
      expect(consumed.deliveries.length - settled.length).toBeLessThanOrEqual(3);
      const delivery = consumed.deliveries[settled.length] as Delivery;
      settled.push(delivery);
      await delivery.ack();
    }
    expect(consumed.bodies().sort()).toEqual(
      ["classic", "quorum"].flatMap((name) => Array.from({ length: 5 }, (_, index) => `${name}${index}`)),
    );
  });

  test("on a queue with a dead-letter exchange of its own leaves dead letters to it", async () => {
    const broker = await brokerOf();
    const graveyard = queueOf("graveyard", { exchange: { name: "grave", type: "fanout", durable: true } });
    const queue = queueOf("q", { arguments: { "x-dead-letter-exchange": "grave" } });
    await broker.declare(graveyard);
    const consumed = await consume(broker, queue);
    await send(broker, queue, "x");
    await until(() => consumed.deliveries.length === 1);
    await consumed.deliveries[0]?.reject({ requeue: false, reason: "bad" });
    await until(async () => (await broker.size("graveyard")) === 1);
    expect(await broker.deadLetters.count()).toBe(0);
  });

  test("on an exclusive queue works, though only its own connection may use it", async () => {
    const broker = await brokerOf();
    const queue = queueOf("mine", { exclusive: true, durable: false, autoDelete: true });
    await broker.declare(queue);
    await send(broker, queue, "x");
    expect(await broker.size("mine")).toBe(1);
    const consumed = await consume(broker, queue, { noAck: true });
    await until(() => consumed.deliveries.length === 1);
  });

  test("a message with an expiration survives being parked beyond it and keeps the property", async () => {
    const [broker, queue] = [await brokerOf(), queueOf("q")];
    const consumed = await consume(broker, queue);
    // Long enough to be delivered on a busy machine before it expires, shorter than it is parked.
    const properties = { expiration: "3000", priority: 5, correlation_id: "c1" };
    await broker.publish(messageOf("x", { properties }), { exchange: "q", routingKey: "q", type: "direct" });
    await until(() => consumed.deliveries.length === 1);
    await consumed.deliveries[0]?.park(new Date(Date.now() + 3_500));
    await until(() => consumed.deliveries.length === 2, { timeout: 20 });
    expect(consumed.deliveries[1]?.message.properties).toMatchObject(properties);
    expect(consumed.deliveries[1]?.address).toEqual({ exchange: "q", routingKey: "q" });
  });
});

describeWith("rabbitmq-server", "When RabbitMQ itself is killed and comes back,", () => {
  test("no message is lost and the consumer is at work again within 5 s", { timeout: 120_000 }, async () => {
    const server = owned(await startRabbit());
    const broker = await connect(server.url);
    const publisher = await connect(server.url);
    const queue = queueOf("durable");
    await broker.declare(queue);
    const taken: string[] = [];
    const seen = new Set<string>();
    let lastArrival = 0;
    const { losses } = keepConsuming(broker, queue, (delivery) => {
      seen.add(textOf(delivery.message));
      lastArrival = performance.now();
      void delivery.ack();
    });
    let stop = false;
    const publishing = (async () => {
      for (let index = 0; !stop; index += 1) {
        const bodies = Array.from({ length: 20 }, (_, n) => `m${index}.${n}`);
        const sent = await Promise.allSettled(bodies.map((body) => send(publisher, queue, body)));
        taken.push(...bodies.filter((_, n) => sent[n]?.status === "fulfilled"));
        if (sent.some(({ status }) => status === "rejected")) {
          await until(() => stop || publisher.connect().then(() => true), { timeout: 60, interval: 0.05 });
        }
      }
    })();
    await until(() => seen.size > 500);
    await server.kill();
    await until(() => losses.length > 0);
    await server.restart();
    const back = performance.now();
    await until(() => lastArrival > back, { timeout: 10 });
    expect((lastArrival - back) / 1000).toBeLessThan(5);
    const before = seen.size;
    await until(() => seen.size > before + 500);
    stop = true;
    await publishing;
    await until(() => taken.every((body) => seen.has(body)), { timeout: 20, message: "every message taken to arrive" });
    expect(losses.every((error) => error.name === "BrokerConnectionError")).toBe(true);
  });

  test("parked messages come back, and a rejected one is still there", { timeout: 120_000 }, async () => {
    const server = owned(await startRabbit());
    const broker = await connect(server.url);
    const queue = queueOf("durable");
    const consumed = await consume(broker, queue);
    for (const body of ["early", "late", "dead"]) await send(broker, queue, body);
    await until(() => consumed.deliveries.length === 3);
    const [early, late, dead] = consumed.deliveries;
    const due = { early: Date.now() + 6_000, late: Date.now() + 14_000 };
    await Promise.all([early?.park(new Date(due.early)), late?.park(new Date(due.late))]);
    await dead?.reject({ requeue: false, reason: "kept" });
    await server.kill();
    await until(() => consumed.lost.length > 0);
    await server.restart();
    await until(() => broker.connect().then(() => true), { timeout: 20 });
    // The broker may not have written down the acknowledgements: the originals may come again, at once.
    const arrivals: [body: string, at: number][] = [];
    const onDelivery = ({ message }: Delivery): void => void arrivals.push([textOf(message), Date.now()]);
    await until(() => consume(broker, queue, { onDelivery }).then(() => true));
    const back = (body: "early" | "late") => () => arrivals.some(([text, at]) => text === body && at >= due[body]);
    await until(back("early"), { timeout: 20, message: "the early one to come back when it is due" });
    await until(back("late"), { timeout: 20, message: "the late one to come back when it is due" });
    expect((await broker.deadLetters.list()).map(({ reason }) => reason)).toEqual(["kept"]);
  });
});
