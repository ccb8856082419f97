import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { Address, Broker, Delivery, Queue, SubscribeOptions, Subscription } from "../../src/broker/broker.ts";
import type { BrokerOptions } from "../../src/broker/options.ts";
import type { Message } from "../../src/protocol/message.ts";
import { until } from "../helpers/until.ts";

/** What a transport cannot do, so that the sentence about it is skipped by name. All true when left out. */
export interface BrokerCapabilities {
  readonly priorities: boolean;
  readonly fanout: boolean;
  readonly topic: boolean;
  /** Other broker objects see the same messages. */
  readonly sharedAcrossConnections: boolean;
  /** A requeued message goes behind those that wait. */
  readonly requeueGoesBehind: boolean;
  /** `redelivered` is also set on what was requeued by `reject` or redriven. */
  readonly marksRequeued: boolean;
  /** What is parked can be looked at. */
  readonly showsParked: boolean;
  /** It tells where a message is. */
  readonly locates: boolean;
  /** What an abandoned consumer held stays with it until it is known to be gone. */
  readonly outlivedByHeld: boolean;
  /** What an abandoned or closed consumer held comes back in front, in its order. */
  readonly returnsToHead: boolean;
}

/** One store and ways into it. */
export interface BrokerFixture {
  /** A further, connected broker on the same store, as another process would have. */
  connect(overrides?: Partial<BrokerOptions>): Promise<Broker>;
  /** Begins every queue name, so that runs do not meet. */
  readonly prefix: string;
  readonly capabilities?: Partial<BrokerCapabilities>;
  /** What `kill -9` of the process around this broker would do: nothing is given back, nothing said. */
  abandon(broker: Broker): Promise<void>;
  dispose(): PromiseLike<void>;
}

/** A message as tests send it: the body is text or bytes, everything else may be replaced. */
export function messageOf(body: string | Uint8Array, overrides: Partial<Message> = {}): Message {
  const id = randomUUID();
  return {
    headers: { id, task: "contract.task", lang: "js" },
    properties: { correlation_id: id, reply_to: "", delivery_mode: 2, priority: 0 },
    contentType: "application/json",
    contentEncoding: "utf-8",
    body: Buffer.from(body).toString("base64"),
    ...overrides,
  };
}

/** The body of a message as text. */
export function textOf(message: Message): string {
  return Buffer.from(message.body, "base64").toString();
}

/** A durable queue as Celery declares it: on a direct exchange of its own name. */
export function queueOf(name: string, overrides: Partial<Queue> = {}): Queue {
  return {
    name,
    exchange: { name, type: "direct", durable: true },
    routingKey: name,
    durable: true,
    autoDelete: false,
    exclusive: false,
    arguments: {},
    ...overrides,
  };
}

/** Everything one subscription was given, and what of it is not settled by the test yet. */
interface Consumer {
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
  readonly lost: Error[];
  /** Bodies in order of arrival. */
  readonly bodies: () => string[];
  /** Waits until this many have arrived in all, and returns them. */
  readonly take: (count: number, timeout?: number) => Promise<Delivery[]>;
}

/**
 * Defines the tests every broker must pass. `make` is called once per suite; each test works on
 * queues of its own and closes what it opened.
 */
export function brokerContract(name: string, make: () => Promise<BrokerFixture>): void {
  describe(`${name} keeps the broker's contract:`, () => {
    let fixture: BrokerFixture;
    let open: Broker[] = [];
    let queues: Queue[] = [];
    let serial = 0;

    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(async () => {
      await fixture?.dispose();
    });
    afterEach(async () => {
      const [cleaner] = open;
      if (cleaner && queues.length > 0) {
        await cleaner.connect().catch(() => undefined);
        for (const queue of queues) await cleaner.delete(queue).catch(() => undefined);
      }
      queues = [];
      await Promise.all(open.map((broker) => broker.close()));
      open = [];
    });

    const connect = async (overrides?: Partial<BrokerOptions>): Promise<Broker> => {
      const broker = await fixture.connect(overrides);
      open.push(broker);
      return broker;
    };
    const newQueue = (overrides: Partial<Queue> = {}): Queue => {
      serial += 1;
      const queue = queueOf(`${fixture.prefix}q${serial}`, overrides);
      queues.push(queue);
      return queue;
    };
    const can = (capability: keyof BrokerCapabilities): boolean => fixture.capabilities?.[capability] ?? true;
    const addressOf = (queue: Queue): Address => ({
      exchange: queue.exchange.name,
      routingKey: queue.routingKey,
      type: queue.exchange.type,
    });
    const consumer = async (
      broker: Broker,
      on: Queue | readonly Queue[],
      options: Partial<SubscribeOptions> & { readonly ack?: boolean } = {},
    ): Promise<Consumer> => {
      const deliveries: Delivery[] = [];
      const lost: Error[] = [];
      const { ack = false, ...rest } = options;
      const subscription = await broker.subscribe({
        node: "contract@host",
        prefetch: 0,
        onLost: (error) => lost.push(error),
        ...rest,
        onDelivery: (delivery) => {
          deliveries.push(delivery);
          if (ack) void delivery.ack();
          rest.onDelivery?.(delivery);
        },
      });
      for (const queue of Array.isArray(on) ? on : [on]) await subscription.consume(queue);
      return {
        subscription,
        deliveries,
        lost,
        bodies: () => deliveries.map((delivery) => textOf(delivery.message)),
        take: async (count, timeout = 10) => {
          await until(() => deliveries.length >= count, { timeout, message: `${count} deliveries` });
          return deliveries.slice(0, count);
        },
      };
    };
    const fill = async (broker: Broker, queue: Queue, count: number, first = 0): Promise<string[]> => {
      const bodies = Array.from({ length: count }, (_, index) => `m${first + index}`);
      await broker.declare(queue);
      await broker.publishMany(
        bodies.map((body) => ({ message: messageOf(body), address: { exchange: "", routingKey: queue.name } })),
      );
      return bodies;
    };
    const sizeIs = (broker: Broker, queue: Queue, size: number): Promise<boolean> =>
      until(async () => (await broker.size(queue.name)) === size, { message: `${size} messages to wait` });
    /** The one place that lets time pass: to see that nothing comes. */
    const quiet = async (consumed: Consumer, seconds = 0.2): Promise<void> => {
      const before = consumed.deliveries.length;
      await delay(seconds * 1000);
      expect(consumed.deliveries.length).toBe(before);
    };

    describe("publishing", () => {
      test("messages are delivered in the order they were published", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        for (const body of ["a", "b", "c"]) await broker.publish(messageOf(body), addressOf(queue));
        const consumed = await consumer(broker, queue);
        await consumed.take(3);
        expect(consumed.bodies()).toEqual(["a", "b", "c"]);
        expect(
          consumed.deliveries.map(({ queue, redelivered, damage, lost }) => [queue, redelivered, damage, lost]),
        ).toEqual(Array(3).fill([queue.name, false, null, false]));
      });

      test("publishMany keeps the order and takes all of them before it resolves", async () => {
        const broker = await connect();
        const queue = newQueue();
        const bodies = await fill(broker, queue, 500);
        expect(await broker.size(queue.name)).toBe(500);
        const consumed = await consumer(broker, queue);
        await consumed.take(500);
        expect(consumed.bodies()).toEqual(bodies);
      });

      test("publishMany of nothing does nothing", async () => {
        const broker = await connect();
        await broker.publishMany([]);
      });

      test("publishes that were not awaited one by one keep their order", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        const bodies = Array.from({ length: 100 }, (_, index) => `m${index}`);
        await Promise.all(bodies.map((body) => broker.publish(messageOf(body), addressOf(queue))));
        const consumed = await consumer(broker, queue);
        await consumed.take(100);
        expect(consumed.bodies()).toEqual(bodies);
      });

      test("messages published while nobody consumes wait, and other connections see them", async () => {
        const [publisher, reader] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(publisher, queue, 3);
        await publisher.close();
        if (!can("sharedAcrossConnections")) return;
        expect(await reader.size(queue.name)).toBe(3);
        const consumed = await consumer(reader, queue);
        await consumed.take(3);
        expect(consumed.bodies()).toEqual(["m0", "m1", "m2"]);
      });

      test("the empty exchange means the queue named by the routing key", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        await broker.publish(messageOf("x"), { exchange: "", routingKey: queue.name });
        const consumed = await consumer(broker, queue);
        const [delivery] = await consumed.take(1);
        expect(delivery?.address).toMatchObject({ exchange: "", routingKey: queue.name });
      });

      test("a direct exchange gives a message to each queue bound with exactly its key", async () => {
        const broker = await connect();
        const exchange = { name: `${fixture.prefix}direct`, type: "direct", durable: true } as const;
        const red = newQueue({ exchange, routingKey: "red" });
        const alsoRed = newQueue({ exchange, routingKey: "red" });
        const blue = newQueue({ exchange, routingKey: "blue" });
        for (const queue of [red, alsoRed, blue]) await broker.declare(queue);
        await broker.publish(messageOf("x"), { exchange: exchange.name, routingKey: "red" });
        await sizeIs(broker, red, 1);
        await sizeIs(broker, alsoRed, 1);
        expect(await broker.size(blue.name)).toBe(0);
        const consumed = await consumer(broker, [red, alsoRed]);
        const deliveries = await consumed.take(2);
        expect(deliveries.map(({ queue }) => queue).sort()).toEqual([red.name, alsoRed.name].sort());
        expect(deliveries[0]?.address).toMatchObject({ exchange: exchange.name, routingKey: "red" });
      });

      test("a topic exchange matches words and wildcards", async ({ skip }) => {
        if (!can("topic")) skip();
        const broker = await connect();
        const exchange = { name: `${fixture.prefix}topic`, type: "topic", durable: true } as const;
        const star = newQueue({ exchange, routingKey: "news.*" });
        const hash = newQueue({ exchange, routingKey: "news.#" });
        const exact = newQueue({ exchange, routingKey: "news.sport" });
        for (const queue of [star, hash, exact]) await broker.declare(queue);
        const send = (routingKey: string): Promise<void> =>
          broker.publish(messageOf(routingKey), { exchange: exchange.name, routingKey, type: "topic" });
        await send("news.sport");
        await send("news.sport.football");
        await send("weather.sport");
        const consumed = await consumer(broker, [star, hash, exact]);
        await consumed.take(4);
        await quiet(consumed);
        const got = consumed.deliveries.map((delivery) => [delivery.queue, textOf(delivery.message)].join(" "));
        expect(got.sort()).toEqual(
          [
            `${star.name} news.sport`,
            `${hash.name} news.sport`,
            `${hash.name} news.sport.football`,
            `${exact.name} news.sport`,
          ].sort(),
        );
      });

      test("a fanout exchange reaches every subscriber", async ({ skip }) => {
        if (!can("fanout")) skip();
        const [publisher, one, two] = [await connect(), await connect(), await connect()];
        const exchange = { name: `${fixture.prefix}fanout`, type: "fanout", durable: false } as const;
        const queueFor = (): Queue => newQueue({ exchange, routingKey: "", durable: false, autoDelete: true });
        const first = await consumer(one, queueFor(), { noAck: true });
        const second = await consumer(two, queueFor(), { noAck: true });
        for (const body of ["x", "y"]) {
          await publisher.publish(messageOf(body), { exchange: exchange.name, routingKey: "", type: "fanout" });
        }
        await first.take(2);
        await second.take(2);
        expect([first.bodies(), second.bodies()]).toEqual([
          ["x", "y"],
          ["x", "y"],
        ]);
      });

      test("headers keep nested values, and properties come with the message", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        const headers = {
          id: "t1",
          task: "proj.add",
          timelimit: [null, 30],
          eta: null,
          retries: 0,
          ignore_result: false,
          stamps: { who: ["Zoë", "李"], deep: { deeper: { list: [1, "two", null, true] } } },
        };
        const message = messageOf("x", {
          headers,
          properties: { correlation_id: "t1", reply_to: "reply.here", delivery_mode: 2, priority: 0 },
          contentType: "application/x-test",
          contentEncoding: "binary",
        });
        await broker.publish(message, addressOf(queue));
        const [delivery] = await (await consumer(broker, queue)).take(1);
        expect(delivery?.message.headers).toEqual(headers);
        expect(delivery?.message.properties).toMatchObject({ correlation_id: "t1", reply_to: "reply.here" });
        expect(delivery?.message.contentType).toBe("application/x-test");
        expect(delivery?.message.contentEncoding).toBe("binary");
        expect(delivery?.address).toMatchObject({ exchange: queue.exchange.name, routingKey: queue.routingKey });
      });

      test("bodies arrive byte for byte: unicode, every byte value, none at all", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        const bodies = [
          Buffer.from("Grüße 李 🎈 \u0000"),
          Buffer.from(Array.from({ length: 256 }, (_, i) => i)),
          Buffer.alloc(0),
        ];
        for (const body of bodies) await broker.publish(messageOf(body), addressOf(queue));
        const deliveries = await (await consumer(broker, queue)).take(3);
        expect(deliveries.map(({ message }) => Buffer.from(message.body, "base64"))).toEqual(bodies);
      });

      test("a body of 5 MB passes", async () => {
        const broker = await connect();
        const queue = newQueue();
        await broker.declare(queue);
        const message = messageOf(Buffer.alloc(5_000_000, "tq"));
        await broker.publish(message, addressOf(queue));
        const [delivery] = await (await consumer(broker, queue)).take(1);
        expect(delivery?.message.body === message.body).toBe(true);
        expect(delivery?.damage).toBeNull();
      });

      test("a body above the limit is delivered as damaged, and can be settled", async () => {
        const publisher = await connect();
        const reader = can("sharedAcrossConnections") ? await connect({ maxBodySize: 1000 }) : publisher;
        if (reader === publisher) return;
        const queue = newQueue();
        await publisher.declare(queue);
        await publisher.publish(messageOf("a".repeat(2000)), addressOf(queue));
        await publisher.publish(messageOf("small"), addressOf(queue));
        const consumed = await consumer(reader, queue);
        const [large, small] = await consumed.take(2);
        expect(large?.damage).toMatch(/1,?000/);
        expect(small?.damage).toBeNull();
        await Promise.all([large?.ack(), small?.ack()]);
        await reader.close();
        expect(await publisher.size(queue.name)).toBe(0);
      });
    });

    describe("queues", () => {
      test("declare is idempotent and keeps what waits", async () => {
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 2);
        await Promise.all([one.declare(queue), one.declare(queue), two.declare(queue)]);
        expect(await one.size(queue.name)).toBe(2);
      });

      test("size and purge of a queue that does not exist are 0", async () => {
        const broker = await connect();
        expect(await broker.size(`${fixture.prefix}nowhere`)).toBe(0);
        expect(await broker.purge(`${fixture.prefix}nowhere`)).toBe(0);
        // The connection still works.
        const queue = newQueue();
        await fill(broker, queue, 1);
        expect(await broker.size(queue.name)).toBe(1);
      });

      test("peek shows the next message and leaves it where it is, where the broker can", async () => {
        const broker = await connect();
        const queue = newQueue();
        expect(await broker.peek(queue.name)).toBeNull();
        await broker.declare(queue);
        for (const name of ["first", "second"]) {
          const message = { ...messageOf(name), headers: { name } };
          await broker.publish(message, { exchange: "", routingKey: queue.name });
        }
        const next = await broker.peek(queue.name);
        if (broker.transport === "amqp") expect(next).toBeNull();
        else expect(next?.headers).toMatchObject({ name: "first" });
        await sizeIs(broker, queue, 2);
        const consumed = await consumer(broker, queue);
        const [first] = await consumed.take(1);
        expect(first?.redelivered).toBe(false);
      });

      test("purge removes what waits, counts it, and leaves what is held", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 10);
        const consumed = await consumer(broker, queue, { prefetch: 2 });
        await consumed.take(2);
        await sizeIs(broker, queue, 8);
        expect(await broker.purge(queue.name)).toBe(8);
        expect(await broker.size(queue.name)).toBe(0);
        await consumed.subscription.close();
        await sizeIs(broker, queue, 2);
      });

      test("delete removes the queue with what waits in it, and it can be declared anew", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 5);
        await broker.delete(queue);
        expect(await broker.size(queue.name)).toBe(0);
        await broker.declare(queue);
        expect(await broker.size(queue.name)).toBe(0);
        await broker.publish(messageOf("again"), addressOf(queue));
        await sizeIs(broker, queue, 1);
      });

      test("what is delivered is not counted by size", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 5);
        const consumed = await consumer(broker, queue, { prefetch: 3 });
        await consumed.take(3);
        await sizeIs(broker, queue, 2);
      });
    });

    describe("settling", () => {
      test("ack removes the message for good", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        const consumed = await consumer(broker, queue);
        for (const delivery of await consumed.take(3)) await delivery.ack();
        await consumed.subscription.close();
        expect(await broker.size(queue.name)).toBe(0);
        const after = await consumer(broker, queue);
        await quiet(after);
      });

      test("a delivery not acked before close is delivered again, marked redelivered, in front and in order", async () => {
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 6);
        const consumed = await consumer(one, queue, { prefetch: 4 });
        const held = await consumed.take(4);
        await held[1]?.ack();
        await until(() => consumed.deliveries.length === 5);
        await consumed.subscription.close();
        const again = await consumer(can("sharedAcrossConnections") ? two : one, queue, { prefetch: 0 });
        await again.take(5);
        expect(again.bodies()).toEqual(["m0", "m2", "m3", "m4", "m5"]);
        expect(again.deliveries.map(({ redelivered }) => redelivered)).toEqual([true, true, true, true, false]);
      });

      test("closing the broker gives back what its subscriptions hold", async () => {
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 3);
        await (await consumer(one, queue)).take(3);
        await one.close();
        if (!can("sharedAcrossConnections")) return;
        const again = await consumer(two, queue);
        await again.take(3);
        expect(again.bodies()).toEqual(["m0", "m1", "m2"]);
      });

      test("only the first settling counts", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 2);
        const consumed = await consumer(broker, queue);
        const [first, second] = await consumed.take(2);
        await Promise.all([first?.ack(), first?.reject({ requeue: true }), first?.ack(), first?.park(new Date())]);
        await first?.reject({ requeue: false, reason: "too late" });
        await second?.reject({ requeue: true });
        await second?.ack();
        await until(() => consumed.deliveries.length === 3);
        expect(consumed.bodies()).toEqual(["m0", "m1", "m1"]);
        await quiet(consumed);
        const dead = await broker.deadLetters.list({ limit: 1000 });
        expect(dead.filter((letter) => letter.queue === queue.name)).toEqual([]);
      });

      test("acks of one tick all arrive", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 300);
        const consumed = await consumer(broker, queue);
        await Promise.all((await consumed.take(300)).map((delivery) => delivery.ack()));
        await consumed.subscription.close();
        expect(await broker.size(queue.name)).toBe(0);
      });

      test("a requeued message goes behind what waits and is marked redelivered", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        const consumed = await consumer(broker, queue, { prefetch: 1 });
        const [first] = await consumed.take(1);
        await first?.reject({ requeue: true });
        for (let count = 2; count <= 4; count += 1) {
          const delivery = (await consumed.take(count))[count - 1];
          await delivery?.ack();
        }
        if (can("requeueGoesBehind")) expect(consumed.bodies()).toEqual(["m0", "m1", "m2", "m0"]);
        // RabbitMQ puts it near the head, in front of what it has not yet begun to deliver.
        else expect(consumed.bodies().sort()).toEqual(["m0", "m0", "m1", "m2"]);
        const again = consumed.deliveries.findLast((delivery) => textOf(delivery.message) === "m0");
        if (can("marksRequeued")) expect(again?.redelivered).toBe(true);
      });

      test("noAck deliveries are settled when handed over", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 5);
        const consumed = await consumer(broker, queue, { noAck: true, prefetch: 1 });
        const [first] = await consumed.take(5);
        await first?.ack();
        await consumed.subscription.close();
        expect(await broker.size(queue.name)).toBe(0);
        await quiet(await consumer(broker, queue));
      });
    });

    describe("prefetch", () => {
      test("is never exceeded, and refills as deliveries are settled", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 50);
        let held = 0;
        let most = 0;
        const consumed = await consumer(broker, queue, {
          prefetch: 4,
          onDelivery: (delivery) => {
            held += 1;
            most = Math.max(most, held);
            setTimeout(() => {
              held -= 1;
              void delivery.ack();
            }, 1);
          },
        });
        await consumed.take(50);
        expect(most).toBe(4);
      });

      test("stops at its bound while nothing is settled", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 10);
        const consumed = await consumer(broker, queue, { prefetch: 3 });
        await consumed.take(3);
        await sizeIs(broker, queue, 7);
        await quiet(consumed);
      });

      test("of 0 is no bound", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 2_000);
        const consumed = await consumer(broker, queue, { prefetch: 0 });
        await consumed.take(2_000);
        expect(new Set(consumed.bodies()).size).toBe(2_000);
      });

      test("counts over all queues of a subscription", async () => {
        const broker = await connect();
        const [one, two] = [newQueue(), newQueue()];
        await fill(broker, one, 5);
        await fill(broker, two, 5);
        const consumed = await consumer(broker, [one, two], { prefetch: 3 });
        await consumed.take(3);
        await until(async () => (await broker.size(one.name)) + (await broker.size(two.name)) === 7);
        await quiet(consumed);
      });

      test("can be raised and lowered", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 12);
        const consumed = await consumer(broker, queue, { prefetch: 1 });
        await consumed.take(1);
        await sizeIs(broker, queue, 11);
        consumed.subscription.setPrefetch(4);
        await consumed.take(4);
        await sizeIs(broker, queue, 8);
        consumed.subscription.setPrefetch(2);
        const [a, b, c] = consumed.deliveries;
        await a?.ack();
        await b?.ack();
        await quiet(consumed);
        await c?.ack();
        await consumed.take(5);
        await sizeIs(broker, queue, 7);
        await quiet(consumed);
        consumed.subscription.setPrefetch(0);
        await consumed.take(12);
      });
    });

    describe("flow", () => {
      test("a waiting consumer gets a message within 50 ms", async () => {
        const [publisher, reader] = [await connect(), await connect()];
        const queue = newQueue();
        const consumed = await consumer(can("sharedAcrossConnections") ? reader : publisher, queue, { ack: true });
        const times: number[] = [];
        for (let round = 1; round <= 9; round += 1) {
          await delay(30);
          const began = performance.now();
          await publisher.publish(messageOf(`m${round}`), addressOf(queue));
          await until(() => consumed.deliveries.length === round, { interval: 0.001 });
          times.push(performance.now() - began);
        }
        times.sort((a, b) => a - b);
        expect(times[4]).toBeLessThan(50);
      });

      test("pause stops the flow, and resume goes on with what came meanwhile", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 1);
        const consumed = await consumer(broker, queue, { prefetch: 5 });
        const [held] = await consumed.take(1);
        consumed.subscription.pause();
        await fill(broker, queue, 3, 1);
        await quiet(consumed);
        await held?.ack();
        await quiet(consumed);
        consumed.subscription.resume();
        await consumed.take(4);
        expect(consumed.bodies()).toEqual(["m0", "m1", "m2", "m3"]);
      });

      test("what is given back stands at the head of its queue at once, and what is held stays in hand", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 6);
        const consumed = await consumer(broker, queue, { prefetch: 4 });
        const [first, second, third, fourth] = await consumed.take(4);
        consumed.subscription.pause();
        await second?.ack();
        await consumed.subscription.giveBack([second, third, fourth].filter((one) => one !== undefined));
        await until(async () => (await broker.size(queue.name)) === 4, {
          message: "what was given back to wait again",
        });
        await third?.ack();
        const other = await consumer(broker, queue, { ack: true });
        await other.take(4);
        expect(other.bodies()).toEqual(["m2", "m3", "m4", "m5"]);
        expect(other.deliveries.map(({ redelivered }) => redelivered)).toEqual([true, true, false, false]);
        await first?.ack();
        await consumed.subscription.close();
        expect(consumed.deliveries).toHaveLength(4);
        await other.subscription.close();
        expect(await broker.size(queue.name)).toBe(0);
      });

      test("a cancelled queue gives nothing more while others go on", async () => {
        const broker = await connect();
        const [one, two] = [newQueue(), newQueue()];
        const consumed = await consumer(broker, [one, two], { ack: true });
        await fill(broker, one, 1);
        await consumed.take(1);
        await consumed.subscription.cancel(one.name);
        await fill(broker, one, 2);
        await fill(broker, two, 2);
        await consumed.take(3);
        await quiet(consumed);
        expect(consumed.deliveries.map(({ queue }) => queue)).toEqual([one.name, two.name, two.name]);
        expect(await broker.size(one.name)).toBe(2);
        await consumed.subscription.consume(one);
        await consumed.take(5);
      });

      test("several queues take turns", async () => {
        const broker = await connect();
        const [one, two] = [newQueue(), newQueue()];
        await fill(broker, one, 30);
        await fill(broker, two, 30);
        const consumed = await consumer(broker, [one, two], { prefetch: 1, ack: true });
        await consumed.take(60);
        const second = consumed.deliveries.slice(0, 30).filter(({ queue }) => queue === two.name).length;
        expect(second).toBeGreaterThan(5);
        expect(second).toBeLessThan(25);
      });

      test("priorities are served in the order the broker declares", async ({ skip }) => {
        if (!can("priorities")) skip();
        const broker = await connect();
        const queue = newQueue({ arguments: { "x-max-priority": 9 } });
        await broker.declare(queue);
        for (const priority of [3, 9, 0, 6, 3, 9]) {
          await broker.publish(
            messageOf(String(priority), { properties: { priority, delivery_mode: 2 } }),
            addressOf(queue),
          );
        }
        const consumed = await consumer(broker, queue, { prefetch: 1, ack: true });
        await consumed.take(6);
        const lowestFirst = ["0", "3", "3", "6", "9", "9"];
        expect(consumed.bodies()).toEqual(
          broker.priorityOrder === "lowest-first" ? lowestFirst : lowestFirst.toReversed(),
        );
      });

      test("two consumers share 1,000 messages without one coming twice", async ({ skip }) => {
        if (!can("sharedAcrossConnections")) skip();
        const [publisher, one, two] = [await connect(), await connect(), await connect()];
        const queue = newQueue();
        const slowly = (delivery: Delivery): void => void setImmediate(() => void delivery.ack());
        const first = await consumer(one, queue, { prefetch: 10, onDelivery: slowly });
        const second = await consumer(two, queue, { prefetch: 10, onDelivery: slowly });
        const bodies = await fill(publisher, queue, 1_000);
        await until(() => first.deliveries.length + second.deliveries.length >= 1_000, { timeout: 20 });
        await quiet(first);
        expect([...first.bodies(), ...second.bodies()].sort()).toEqual([...bodies].sort());
        expect(first.deliveries.length).toBeGreaterThan(0);
        expect(second.deliveries.length).toBeGreaterThan(0);
      });

      test("messages of an abandoned consumer come back within 10 s", async ({ skip }) => {
        if (!can("sharedAcrossConnections")) skip();
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 5);
        const consumed = await consumer(one, queue, { prefetch: 3 });
        await consumed.take(3);
        const again = await consumer(two, queue, { ack: true });
        await again.take(2);
        const abandoned = performance.now();
        await fixture.abandon(one);
        await again.take(5, 15);
        expect(performance.now() - abandoned).toBeLessThan(10_000);
        expect(again.bodies().sort()).toEqual(["m0", "m1", "m2", "m3", "m4"]);
        const returned = again.deliveries.filter(({ message }) => ["m0", "m1", "m2"].includes(textOf(message)));
        expect(returned.map(({ redelivered }) => redelivered)).toEqual([true, true, true]);
        if (can("returnsToHead")) expect(returned.map(({ message }) => textOf(message))).toEqual(["m0", "m1", "m2"]);
      });

      test("a consumer that lives keeps what it holds", async ({ skip }) => {
        if (!can("sharedAcrossConnections")) skip();
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 1);
        const holder = await consumer(one, queue);
        const [held] = await holder.take(1);
        const other = await consumer(two, queue);
        await quiet(other, 8);
        await held?.ack();
        expect(holder.lost).toEqual([]);
      });
    });

    describe("park", () => {
      test("brings the message back when it is due: not before, within a second after", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 1);
        const arrivals: number[] = [];
        const consumed = await consumer(broker, queue, { onDelivery: () => arrivals.push(Date.now()) });
        const [delivery] = await consumed.take(1);
        const due = new Date(Date.now() + 1_200);
        await delivery?.park(due);
        expect(await broker.size(queue.name)).toBe(0);
        await consumed.take(2);
        expect(arrivals[1]).toBeGreaterThanOrEqual(due.getTime());
        expect(arrivals[1]).toBeLessThan(due.getTime() + 1_250);
        expect(consumed.deliveries[1]?.message.body).toBe(delivery?.message.body);
        expect(consumed.deliveries[1]?.message.headers).toEqual(delivery?.message.headers);
        expect(consumed.deliveries[1]?.queue).toBe(queue.name);
        await consumed.deliveries[1]?.ack();
      });

      test("frees the prefetch slot and is not counted by size", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        const consumed = await consumer(broker, queue, { prefetch: 1 });
        const [first] = await consumed.take(1);
        await first?.park(new Date(Date.now() + 3_600_000));
        const [, second] = await consumed.take(2);
        await sizeIs(broker, queue, 1);
        await second?.park(new Date(Date.now() + 3_600_000));
        await consumed.take(3);
        await sizeIs(broker, queue, 0);
        expect(consumed.bodies()).toEqual(["m0", "m1", "m2"]);
        // Others may have parked on the same broker.
        await until(async () => (await broker.parked()) >= 2, { message: "two parked messages to be counted" });
      });

      test("shows what is parked for some queues, soonest first, and leaves it there", async () => {
        const broker = await connect();
        const [queue, other] = [newQueue(), newQueue()];
        const large = "x".repeat(100_000);
        await fill(broker, other, 1);
        await fill(broker, queue, 3);
        await broker.publish(messageOf(large), { exchange: "", routingKey: queue.name });
        const consumed = await consumer(broker, [queue, other]);
        const deliveries = await consumed.take(5);
        const own = deliveries.filter((delivery) => delivery.queue === queue.name);
        const due = Date.now() + 3_600_000;
        for (const delivery of deliveries) {
          const place = own.indexOf(delivery);
          await delivery.park(new Date(due - Math.max(place, 0) * 60_000));
        }
        await until(async () => (await broker.parked()) >= 5, { message: "five parked messages to be counted" });
        const show = (limit: number) => broker.parkedMessages({ queues: [queue.name], limit });
        if (!can("showsParked")) return expect(await show(10)).toEqual([]);
        const shown = await show(10);
        expect(shown.map(({ message }) => message.headers.id)).toEqual(
          [...own].reverse().map(({ message }) => message.headers.id),
        );
        expect(shown.map(({ message }) => textOf(message))).toEqual(["", "m2", "m1", "m0"]);
        for (const [place, one] of [...shown].reverse().entries()) {
          expect(one).toMatchObject({ queue: queue.name, redelivered: false, address: { routingKey: queue.name } });
          expect(Math.abs(one.due.getTime() - (due - place * 60_000))).toBeLessThan(10);
        }
        expect(await show(2)).toEqual(shown.slice(0, 2));
        expect(await broker.parkedMessages({ queues: [`${queue.name}-not`], limit: 10 })).toEqual([]);
        expect(await show(10)).toEqual(shown);
        expect(await broker.size(queue.name)).toBe(0);
      });

      test("until a moment that has passed brings the message back at once", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 1);
        const consumed = await consumer(broker, queue);
        const [delivery] = await consumed.take(1);
        await delivery?.park(new Date(Date.now() - 60_000));
        await consumed.take(2, 2);
      });

      test("outlives the connection that parked, for any consumer", async ({ skip }) => {
        if (!can("sharedAcrossConnections")) skip();
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        await fill(one, queue, 2);
        const consumed = await consumer(one, queue);
        const [soon, later] = await consumed.take(2);
        const due = Date.now() + 1_000;
        await Promise.all([soon?.park(new Date(due)), later?.park(new Date(due + 600))]);
        await one.close();
        const arrivals: number[] = [];
        const again = await consumer(two, queue, { onDelivery: () => arrivals.push(Date.now()) });
        await again.take(2);
        expect(again.bodies()).toEqual(["m0", "m1"]);
        expect(arrivals[0]).toBeGreaterThanOrEqual(due);
        expect(arrivals[1]).toBeGreaterThanOrEqual(due + 600);
      });
    });

    describe("locate", () => {
      /** Sends a message for each of these ids; the large ones among them take more than one look. */
      const send = async (broker: Broker, queue: Queue, ids: readonly string[], body = "x"): Promise<void> => {
        await broker.declare(queue);
        const address = { exchange: "", routingKey: queue.name };
        const headers = (id: string) => ({ task: "contract.task", root_id: "root", id, nested: { id: "not-this" } });
        await broker.publishMany(ids.map((id) => ({ message: messageOf(body, { headers: headers(id) }), address })));
      };
      const places = async (broker: Broker, ids: readonly string[], queues: readonly Queue[]) => {
        const located = await broker.locate({ ids, queues: queues.map(({ name }) => name) });
        if (located.kind === "untold") throw new Error("nothing is told");
        expect(located.unsearched).toEqual([]);
        return located.places;
      };

      test("tells of each message whether it waits, is held, is parked or is dead, and leaves it there", async () => {
        const broker = await connect();
        const [queue, other] = [newQueue(), newQueue()];
        const [held, parked, dead, shelved, waiting] = Array.from({ length: 5 }, () => randomUUID()) as [
          string,
          string,
          string,
          string,
          string,
        ];
        if (!can("locates")) {
          expect(await broker.locate({ ids: [waiting], queues: [queue.name] })).toEqual({ kind: "untold" });
          return;
        }
        await send(broker, queue, [held, parked, dead, shelved]);
        const consumed = await consumer(broker, queue);
        const deliveries = await consumed.take(4);
        const due = new Date(Date.now() + 3_600_000);
        await deliveries[1]?.park(due);
        await deliveries[2]?.reject({ requeue: false, reason: "of no use" });
        await deliveries[3]?.reject({ requeue: false, reason: "for others", shelf: true });
        await send(broker, other, [waiting, ...Array.from({ length: 700 }, () => randomUUID())], "y".repeat(20_000));
        const all = [held, parked, dead, shelved, waiting, "root", "nowhere"];
        const found = await places(broker, all, [queue, other]);
        expect([...found.keys()].sort()).toEqual([held, parked, dead, shelved, waiting].sort());
        expect(found.get(held)).toMatchObject({ kind: "held", queue: queue.name });
        const place = found.get(parked);
        expect(place).toMatchObject({ kind: "parked", queue: queue.name });
        expect(place?.kind === "parked" && Math.abs(place.due.getTime() - due.getTime())).toBeLessThan(10);
        const letters = await broker.deadLetters.list();
        const letter = letters.find(({ message }) => message?.headers.id === dead)?.id;
        expect(found.get(dead)).toEqual({ kind: "dead", queue: queue.name, letter });
        expect(found.get(shelved)).toMatchObject({ kind: "dead", queue: queue.name });
        expect(found.get(waiting)).toEqual({ kind: "waiting", queue: other.name });
        // What waits in a queue nobody named is not looked for.
        expect((await places(broker, [waiting, held], [queue])).has(waiting)).toBe(false);
        expect(await places(broker, all, [queue, other])).toEqual(found);
        await deliveries[0]?.ack();
        expect((await places(broker, [held], [queue])).size).toBe(0);
      });

      test("tells a message in a dead one's hands from one in a living one's, and when it comes back", async ({
        skip,
      }) => {
        if (!can("locates") || !can("outlivedByHeld")) skip();
        const [one, two] = [await connect(), await connect()];
        const queue = newQueue();
        const id = randomUUID();
        await send(one, queue, [id]);
        await (await consumer(one, queue)).take(1);
        const where = async () => (await places(two, [id], [queue])).get(id);
        await fixture.abandon(one);
        // Nobody can know yet: its lease is still good, and says until when.
        const before = await where();
        expect(before?.kind).toBe("held");
        const until_ = before?.kind === "held" ? before.until : null;
        expect((until_?.getTime() ?? 0) - Date.now()).toBeLessThan(10_000);
        await until(async () => (await where())?.kind === "orphaned", { timeout: 15, message: "the lease to end" });
        expect(await where()).toMatchObject({ kind: "orphaned", queue: queue.name, due: null });
        const again = await consumer(two, newQueue());
        const orphaned = await where();
        if (orphaned?.kind === "orphaned") expect(orphaned.due).toBeInstanceOf(Date);
        await until(async () => (await where())?.kind === "waiting", { timeout: 15, message: "it to be put back" });
        expect(again.deliveries).toEqual([]);
      });
    });

    describe("notes", () => {
      const mine = async (broker: Broker, mark: string) =>
        (await broker.revokes.read()).filter(({ text }) => text.startsWith(mark));

      test("stay for whoever comes later, oldest first, also after their writer is gone", async () => {
        const [one, mark] = [await connect(), randomUUID()];
        const before = Date.now();
        await one.revokes.write([`${mark} a "\u00e9" \n`]);
        await one.revokes.write([`${mark} b`, `${mark} c`]);
        const other = can("sharedAcrossConnections") ? await connect() : one;
        if (other !== one) await one.close();
        const notes = await mine(other, mark);
        expect(notes.map(({ text }) => text)).toEqual([`${mark} a "\u00e9" \n`, `${mark} b`, `${mark} c`]);
        for (const { at } of notes) expect(Math.abs(at.getTime() - before)).toBeLessThan(10_000);
      });

      test("are not taken away by reading, however many read at once, and written twice are one", async () => {
        const [one, mark] = [await connect(), randomUUID()];
        const other = can("sharedAcrossConnections") ? await connect() : one;
        await one.revokes.write([`${mark} a`, `${mark} b`]);
        await one.revokes.write([`${mark} a`]);
        const all = await Promise.all([one, other, one, other].map((broker) => mine(broker, mark)));
        for (const notes of all) expect(notes.map(({ text }) => text).sort()).toEqual([`${mark} a`, `${mark} b`]);
      });

      test("of none write nothing", async () => {
        const broker = await connect();
        await broker.revokes.write([]);
        expect(await mine(broker, randomUUID())).toEqual([]);
      });
    });

    describe("dead letters", () => {
      const lettersOf = async (broker: Broker, queue: Queue) =>
        (await broker.deadLetters.list({ limit: 10_000 })).filter((letter) => letter.queue === queue.name);

      test("keep what was rejected, with reason, node and queue", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 1);
        const consumed = await consumer(broker, queue, { node: "w7@host" });
        const [delivery] = await consumed.take(1);
        const before = Date.now();
        await delivery?.reject({ requeue: false, reason: "unknown task 'nope'" });
        const letters = await lettersOf(broker, queue);
        expect(letters).toHaveLength(1);
        expect(letters[0]).toMatchObject({ queue: queue.name, reason: "unknown task 'nope'", node: "w7@host" });
        expect(letters[0]?.message?.body).toBe(delivery?.message.body);
        expect(letters[0]?.message?.headers).toEqual(delivery?.message.headers);
        expect(letters[0]?.size).toBeGreaterThan(0);
        expect(Math.abs((letters[0]?.at.getTime() ?? 0) - before)).toBeLessThan(5_000);
        expect(await broker.deadLetters.count()).toBeGreaterThanOrEqual(1);
        expect(await broker.size(queue.name)).toBe(0);
        await broker.deadLetters.purge(letters.map(({ id }) => id));
      });

      test("are bounded in number: the oldest make room", async () => {
        const broker = await connect({ mostDeadLetters: 2 });
        await broker.deadLetters.purge();
        const queue = newQueue();
        await fill(broker, queue, 4);
        const consumed = await consumer(broker, queue);
        for (const delivery of await consumed.take(4)) {
          await delivery.reject({ requeue: false, reason: textOf(delivery.message) });
        }
        expect((await broker.deadLetters.list()).map(({ reason }) => reason)).toEqual(["m3", "m2"]);
        await broker.deadLetters.purge();
      });

      test("and the shelf are two places, and what is on the shelf comes back when it is fetched", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 2);
        const consumed = await consumer(broker, queue);
        const [dead, shelved] = await consumed.take(2);
        await dead?.reject({ requeue: false, reason: "dead" });
        await shelved?.reject({ requeue: false, reason: "for others", shelf: true });
        expect((await lettersOf(broker, queue)).map(({ reason }) => reason)).toEqual(["dead"]);
        const [letter, ...others] = (await broker.shelf.list()).filter((one) => one.queue === queue.name);
        expect(others).toEqual([]);
        expect(letter).toMatchObject({ reason: "for others", node: "contract@host", queue: queue.name });
        expect(letter?.message?.headers).toEqual(shelved?.message.headers);
        // Other tests leave theirs there, too.
        expect(await broker.shelf.count()).toBeGreaterThanOrEqual(1);
        expect(await broker.deadLetters.redrive([letter?.id ?? ""])).toBe(0);
        expect(await broker.shelf.redrive([letter?.id ?? ""])).toBe(1);
        const [, , again] = await consumed.take(3);
        expect(again?.message.body).toBe(shelved?.message.body);
        expect(again?.message.headers).toMatchObject({ id: shelved?.message.headers.id, tq_redriven: 1 });
        await again?.reject({ requeue: false, reason: "once more", shelf: true });
        const [second] = (await broker.shelf.list()).filter((one) => one.queue === queue.name);
        await broker.shelf.redrive([second?.id ?? ""]);
        const [, , , third] = await consumed.take(4);
        expect(third?.message.headers.tq_redriven).toBe(2);
        expect((await broker.shelf.list()).filter((one) => one.queue === queue.name)).toEqual([]);
        await broker.deadLetters.purge();
      });

      test("a requeued message carries the headers it was given, once", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 2);
        const consumed = await consumer(broker, queue);
        const [first, second] = await consumed.take(2);
        await first?.reject({ requeue: true, headers: { tq_crashes: 1 } });
        await second?.ack();
        const [, , again] = await consumed.take(3);
        expect(again?.message.headers).toMatchObject({ id: first?.message.headers.id, tq_crashes: 1 });
        expect(again).toMatchObject({ redelivered: true, queue: queue.name, address: first?.address });
        expect(again?.message.body).toBe(first?.message.body);
        await again?.ack();
        expect(await broker.size(queue.name)).toBe(0);
      });

      test("are listed newest first, in pages", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        const consumed = await consumer(broker, queue);
        for (const delivery of await consumed.take(3)) {
          await delivery.reject({ requeue: false, reason: textOf(delivery.message) });
        }
        const all = await broker.deadLetters.list({ limit: 10_000 });
        const mine = all.filter((letter) => letter.queue === queue.name);
        expect(mine.map(({ reason }) => reason)).toEqual(["m2", "m1", "m0"]);
        const page = await broker.deadLetters.list({ limit: 1, offset: 1 });
        expect(page.map(({ id }) => id)).toEqual([all[1]?.id]);
        await broker.deadLetters.purge(mine.map(({ id }) => id));
      });

      test("go back into their queue by redrive", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 2);
        const consumed = await consumer(broker, queue);
        const [one, two] = await consumed.take(2);
        await one?.reject({ requeue: false, reason: "one" });
        await two?.reject({ requeue: false, reason: "two" });
        const letters = await lettersOf(broker, queue);
        const target = letters.find(({ reason }) => reason === "one");
        expect(await broker.deadLetters.redrive([target?.id ?? "", "no-such-id"])).toBe(1);
        const [, , again] = await consumed.take(3);
        expect(again?.message.body).toBe(one?.message.body);
        if (can("marksRequeued")) expect(again?.redelivered).toBe(true);
        await again?.ack();
        expect((await lettersOf(broker, queue)).map(({ reason }) => reason)).toEqual(["two"]);
      });

      test("are forgotten by purge: those named, or all", async () => {
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        const consumed = await consumer(broker, queue);
        for (const delivery of await consumed.take(3)) await delivery.reject({ requeue: false, reason: "bad" });
        const letters = await lettersOf(broker, queue);
        expect(await broker.deadLetters.purge([letters[0]?.id ?? ""])).toBe(1);
        expect(await lettersOf(broker, queue)).toHaveLength(2);
        expect(await broker.deadLetters.purge()).toBeGreaterThanOrEqual(2);
        expect(await broker.deadLetters.count()).toBe(0);
      });
    });

    describe("life", () => {
      test("connect while connected does nothing, and concurrent calls share one attempt", async () => {
        const broker = await connect();
        await Promise.all([broker.connect(), broker.connect()]);
        expect(await broker.size(`${fixture.prefix}nowhere`)).toBe(0);
      });

      test("close is idempotent, does not report a loss, and nothing arrives after it", async () => {
        const [broker, other] = [await connect(), await connect()];
        const queue = newQueue();
        const consumed = await consumer(broker, queue);
        await Promise.all([consumed.subscription.close(), consumed.subscription.close()]);
        await Promise.all([broker.close(), broker.close()]);
        await broker.close();
        await consumed.subscription.close();
        await fill(other, queue, 1);
        await quiet(consumed);
        expect(consumed.lost).toEqual([]);
        await sizeIs(other, queue, 1);
      });

      test("a closed broker refuses work with BrokerConnectionError", async () => {
        const broker = await connect();
        await broker.close();
        await expect(broker.publish(messageOf("x"), { exchange: "", routingKey: "q" })).rejects.toMatchObject({
          name: "BrokerConnectionError",
        });
      });

      test("close leaves no socket or watcher open", async () => {
        const handles = (): number =>
          process
            .getActiveResourcesInfo()
            .filter((kind) => ["TCPSocketWrap", "TLSWrap", "FSEventWrap", "StatWatcher"].includes(kind)).length;
        const before = handles();
        const broker = await connect();
        const queue = newQueue();
        await fill(broker, queue, 3);
        await (await consumer(broker, queue)).take(3);
        await broker.purge(queue.name);
        await broker.close();
        await until(() => handles() <= before, { message: "the handles to close" });
      });

      test("the URL shown has no password in it", async () => {
        const broker = await connect();
        expect(broker.displayUrl).not.toMatch(/:\/\/[^/@]*:(?!\*+@)[^/@]+@/);
      });
    });
  });
}
