import { expect, test } from "vitest";
import { createTopology, workerDirectQueue } from "../../src/broker/topology.ts";
import { type RawSettings, resolveSettings } from "../../src/config/resolve.ts";
import { ImproperlyConfigured, QueueNotFound } from "../../src/errors.ts";

const topologyOf = (runtime: RawSettings = {}) => createTopology(resolveSettings({ runtime }), () => "id-1");

const direct = (name: string) => ({ name, type: "direct", durable: true });

const plain = (name: string, exchange = direct(name)) => ({
  name,
  exchange,
  routingKey: name,
  durable: true,
  autoDelete: false,
  exclusive: false,
  arguments: {},
});

test("with nothing set there is one durable queue celery on a direct exchange of that name", () => {
  const topology = topologyOf();
  expect([...topology.queues.values()]).toEqual([plain("celery")]);
  expect([...topology.consumed.keys()]).toEqual(["celery"]);
  expect(topology.defaultQueue).toBe(topology.queues.get("celery"));
});

test("the default queue follows the task_default_ settings", () => {
  const topology = topologyOf({
    taskDefaultQueue: "q",
    taskDefaultExchange: "x",
    taskDefaultExchangeType: "topic",
    taskDefaultRoutingKey: "k",
    taskDefaultQueueType: "quorum",
    taskQueueMaxPriority: 10,
  });
  expect(topology.defaultQueue).toEqual({
    ...plain("q", { name: "x", type: "topic", durable: true }),
    routingKey: "k",
    arguments: { "x-queue-type": "quorum", "x-max-priority": 10 },
  });
  expect(topologyOf({ taskDefaultQueue: "pq" }).defaultQueue).toEqual(plain("pq"));
});

test("queues are defined in a list or by name, in both spellings", () => {
  const list = topologyOf({
    taskQueues: [
      "plain",
      { name: "hipri", maxPriority: 9, expires: 60, messageTtl: 1.5, maxLength: 10, queueType: "quorum" },
      {
        name: "feed",
        exchange: "media",
        exchangeType: "topic",
        routingKey: "feed.#",
        durable: false,
        autoDelete: true,
      },
    ],
  });
  const record = topologyOf({
    task_queues: {
      plain: {},
      hipri: { max_priority: 9, expires: 60, message_ttl: 1.5, max_length: 10, queue_type: "quorum" },
      feed: { exchange: "media", exchange_type: "topic", binding_key: "feed.#", durable: false, auto_delete: true },
    },
  });
  expect([...list.queues.values()]).toEqual([
    { ...plain("plain", direct("celery")) },
    {
      ...plain("hipri", direct("celery")),
      arguments: {
        "x-expires": 60_000,
        "x-message-ttl": 1500,
        "x-max-length": 10,
        "x-max-priority": 9,
        "x-queue-type": "quorum",
      },
    },
    {
      ...plain("feed", { name: "media", type: "topic", durable: false }),
      routingKey: "feed.#",
      durable: false,
      autoDelete: true,
    },
  ]);
  expect([...record.queues.values()]).toEqual([...list.queues.values()]);
});

test("queue arguments pass as they are and win over the settings", () => {
  const topology = topologyOf({
    taskQueueMaxPriority: 5,
    taskQueues: [{ name: "a", queueArguments: { "x-max-priority": 3, "x-single-active-consumer": true } }, "b"],
  });
  expect(topology.queueNamed("a").arguments).toEqual({ "x-max-priority": 3, "x-single-active-consumer": true });
  expect(topology.queueNamed("b").arguments).toEqual({ "x-max-priority": 5 });
});

test("a type of its own gives a queue an exchange of its own, unless it names one", () => {
  const topology = topologyOf({
    taskQueues: [
      { name: "a", exchangeType: "topic" },
      { name: "b", exchange: { name: "x", type: "fanout", durable: false } },
    ],
  });
  expect(topology.queueNamed("a").exchange).toEqual({ name: "a", type: "topic", durable: true });
  expect(topology.queueNamed("b").exchange).toEqual({ name: "x", type: "fanout", durable: false });
});

test("an unknown queue is made on demand, once, and is not consumed for that", () => {
  const topology = topologyOf({ taskQueues: ["a"], taskCreateMissingQueueType: "quorum", taskQueueMaxPriority: 4 });
  const made = topology.queueNamed("made");
  expect(made).toEqual({ ...plain("made"), arguments: { "x-queue-type": "quorum", "x-max-priority": 4 } });
  expect(topology.queueNamed("made")).toBe(made);
  expect([...topology.queues.keys()]).toEqual(["a"]);
  expect([...topology.consumed.keys()]).toEqual(["a"]);
  expect(topologyOf({ taskCreateMissingQueueExchangeType: "topic" }).queueNamed("t").exchange.type).toBe("topic");
});

test("an unknown queue is refused when none may be made", () => {
  const topology = topologyOf({ taskQueues: ["a"], taskCreateMissingQueues: false });
  expect(() => topology.queueNamed("b")).toThrow(QueueNotFound);
  expect(() => topology.queueNamed("b")).toThrow(/Queue "b" missing from task_queues.*there are a/);
  expect(() => topology.defaultQueue).toThrow(QueueNotFound);
  expect(topology.queueNamed("a").name).toBe("a");
});

test("a selection consumes just the queues named, those made on demand too", () => {
  const topology = topologyOf({ taskQueues: ["a", "b"] });
  expect([...topology.select(["b", "c"]).consumed.keys()]).toEqual(["b", "c"]);
  expect([...topology.select([]).consumed.keys()]).toEqual(["a", "b"]);
  expect([...topology.consumed.keys()]).toEqual(["a", "b"]);
});

test("selecting an undefined queue is refused in Celery's words when none may be made", () => {
  const topology = topologyOf({ taskQueues: ["a"], taskCreateMissingQueues: false });
  expect(() => topology.select(["x"])).toThrow(ImproperlyConfigured);
  expect(() => topology.select(["a", "x"])).toThrow(
    "Trying to select queue subset of ['a', 'x'], but queue 'x' isn't\ndefined in the `task_queues` setting.\n\n" +
      "If you want to automatically declare unknown queues you can\nenable the `task_create_missing_queues` setting.",
  );
});

test("what is excluded is not consumed, also after a selection", () => {
  const topology = topologyOf({ taskQueues: ["a", "b", "c"] });
  expect([...topology.deselect(["a", "nobody"]).consumed.keys()]).toEqual(["b", "c"]);
  expect([...topology.select(["a", "b"]).deselect(["b"]).consumed.keys()]).toEqual(["a"]);
});

test("a broadcast is a fanout exchange with a queue of its own for each worker, found by its name", () => {
  const topology = topologyOf({ taskQueues: [{ name: "news", broadcast: true }, "a"], taskCreateMissingQueues: false });
  const queue = topology.queueNamed("news");
  expect(queue).toEqual({
    ...plain("bcast.id-1", { name: "news", type: "fanout", durable: true }),
    routingKey: "",
    autoDelete: true,
  });
  expect([...topology.select(["news"]).consumed.keys()]).toEqual(["bcast.id-1"]);
  expect([...topology.deselect(["news"]).consumed.keys()]).toEqual(["a"]);
});

test("a worker's direct queue is consumed beside the selection", () => {
  const queue = workerDirectQueue("w1@example.com");
  expect(queue).toEqual({ ...plain("w1@example.com.dq2", direct("C.dq2")), routingKey: "w1@example.com" });
  const topology = topologyOf({ taskQueues: ["a", "b"], taskQueueMaxPriority: 3 })
    .select(["a"])
    .adding(queue);
  expect([...topology.consumed.keys()]).toEqual(["a", "w1@example.com.dq2"]);
  expect(topology.queueNamed("w1@example.com.dq2").arguments).toEqual({ "x-max-priority": 3 });
});
