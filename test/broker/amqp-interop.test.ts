import { execFile } from "node:child_process";
import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, expect, test } from "vitest";
import { defaultBackendOptions } from "../../src/backend/options.ts";
import { createRpcBackend } from "../../src/backend/rpc/backend.ts";
import { createAmqpBroker } from "../../src/broker/amqp/broker.ts";
import type { Broker, Delivery, Queue } from "../../src/broker/broker.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { metaOf, recordOf } from "../contract/backend.ts";
import { messageOf, queueOf, textOf } from "../contract/broker.ts";
import { celeryBin, describeWith, freshVhost } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

const open: { close(): Promise<unknown> }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.close();
});

/** Runs Python with Celery's own libraries; what it prints is JSON. */
async function python(url: string, program: string): Promise<unknown> {
  const script = `import json, sys\nURL = sys.argv[1]\n${program}`;
  const { stdout } = await promisify(execFile)(join(celeryBin(), "python"), ["-c", script, url], { timeout: 25_000 });
  return JSON.parse(stdout);
}

async function freshUrl(): Promise<string> {
  const vhost = await freshVhost();
  open.push({ close: async () => vhost[Symbol.asyncDispose]() });
  return vhost.url;
}

async function connect(url: string): Promise<Broker> {
  const broker = createAmqpBroker(url, defaultBrokerOptions);
  open.push(broker);
  await broker.connect();
  return broker;
}

async function take(broker: Broker, queue: Queue, count: number): Promise<Delivery[]> {
  const deliveries: Delivery[] = [];
  const lost: Error[] = [];
  const subscription = await broker.subscribe({
    node: "w@host",
    prefetch: 0,
    onDelivery: (delivery) => deliveries.push(delivery),
    onLost: (error) => lost.push(error),
  });
  await subscription.consume(queue);
  await until(() => deliveries.length === count || lost[0]);
  expect(lost).toEqual([]);
  await Promise.all(deliveries.map((delivery) => delivery.ack()));
  return deliveries;
}

describeWith(["amqp", "vhost", "celery"], "Beside kombu on RabbitMQ,", () => {
  test("every header type Python writes is read, 64-bit integers among them", async () => {
    const url = await freshUrl();
    const broker = await connect(url);
    await broker.declare(queueOf("types"));
    await python(
      url,
      `
import datetime, decimal
from kombu import Connection, Producer
with Connection(URL) as connection:
    Producer(connection.channel()).publish({"x": 1}, routing_key="types", exchange="", headers={
        "int": 5, "negative": -5, "long": 2**40, "negative_long": -(2**40), "float": 1.5, "none": None, "true": True,
        "list": [1, "a", None, 2**40], "map": {"a": {"b": 2**35}}, "text": "Zo\u00eb LLL",
        "date": datetime.datetime(2020, 1, 1), "decimal": decimal.Decimal("1.5"),
    })
print("null")`,
    );
    const [delivery] = await take(broker, queueOf("types"), 1);
    expect(delivery?.message.headers).toEqual({
      int: 5,
      negative: -5,
      long: 2 ** 40,
      negative_long: -(2 ** 40),
      float: 1.5,
      none: null,
      true: true,
      list: [1, "a", null, 2 ** 40],
      map: { a: { b: 2 ** 35 } },
      text: "Zoë LLL",
      date: "2020-01-01T00:00:00.000Z",
      decimal: 1.5,
    });
    expect(delivery?.message).toMatchObject({ contentType: "application/json", contentEncoding: "utf-8" });
    expect(delivery?.message.properties).toMatchObject({ delivery_mode: 2, priority: 0 });
    expect(JSON.parse(textOf(delivery?.message ?? messageOf("null")))).toEqual({ x: 1 });
  });

  test("Python reads our headers with the types it would have written", async () => {
    const url = await freshUrl();
    const broker = await connect(url);
    const queue = queueOf("types");
    await broker.declare(queue);
    const headers = {
      ...{ int: 5, negative: -5, long: 2 ** 40, float: 1.5, none: null, true: true },
      ...{ list: [1, "a", null], map: { a: { b: 2 ** 35 } }, text: "Zoë" },
    };
    const message = messageOf("[1]", {
      headers,
      properties: { correlation_id: "c", reply_to: "", priority: 3, expiration: "60000" },
    });
    await broker.publish(message, { exchange: "types", routingKey: "types" });
    const read = await python(
      url,
      `
from kombu import Connection
with Connection(URL) as connection:
    message = connection.default_channel.basic_get("types", no_ack=True)
    print(json.dumps([message.headers, {k: type(v).__name__ for k, v in message.headers.items()},
        json.loads(message.body), {k: v for k, v in message.properties.items() if k != "application_headers"}, message.delivery_info]))`,
    );
    expect(read).toEqual([
      headers,
      {
        int: "int",
        negative: "int",
        long: "int",
        float: "float",
        none: "NoneType",
        true: "bool",
        list: "list",
        map: "dict",
        text: "str",
      },
      [1],
      expect.objectContaining({
        correlation_id: "c",
        reply_to: "",
        priority: 3,
        expiration: "60000",
        delivery_mode: 2,
        content_type: "application/json",
      }),
      expect.objectContaining({ exchange: "types", routing_key: "types" }),
    ]);
  });

  test("either side declares what the other has declared already", async () => {
    const url = await freshUrl();
    const broker = await connect(url);
    const queues = [
      queueOf("celery"),
      queueOf("pq", { arguments: { "x-max-priority": 10 } }),
      queueOf("qq", { arguments: { "x-queue-type": "quorum" } }),
      queueOf("tq1", { exchange: { name: "topics", type: "topic", durable: true }, routingKey: "news.#" }),
      queueOf("w1@h.celery.pidbox", {
        exchange: { name: "celery.pidbox", type: "fanout", durable: false },
        ...{
          routingKey: "",
          durable: false,
          autoDelete: true,
          arguments: { "x-expires": 10_000, "x-message-ttl": 300_000 },
        },
      }),
      queueOf("celeryev.1", {
        exchange: { name: "celeryev", type: "topic", durable: true },
        ...{
          routingKey: "worker.#",
          durable: false,
          autoDelete: true,
          arguments: { "x-expires": 60_000, "x-message-ttl": 5_000 },
        },
      }),
    ];
    const declare = (): Promise<unknown> =>
      python(
        url,
        `
from kombu import Connection, Exchange, Queue
names = []
with Connection(URL) as connection:
    for queue in [
        Queue("celery", Exchange("celery", "direct"), "celery"),
        Queue("pq", Exchange("pq", "direct"), "pq", max_priority=10),
        Queue("qq", Exchange("qq", "direct"), "qq", queue_arguments={"x-queue-type": "quorum"}),
        Queue("tq1", Exchange("topics", "topic"), "news.#"),
        Queue("w1@h.celery.pidbox", Exchange("celery.pidbox", "fanout", durable=False), durable=False, auto_delete=True, expires=10, message_ttl=300),
        Queue("celeryev.1", Exchange("celeryev", "topic"), "worker.#", durable=False, auto_delete=True, expires=60, message_ttl=5),
    ]:
        queue(connection.default_channel).declare()
        names.append(queue.name)
print(json.dumps(names))`,
      );
    for (const queue of queues) await broker.declare(queue);
    expect(await declare()).toEqual(queues.map(({ name }) => name));
    const other = await connect(url);
    for (const queue of queues) await other.declare(queue);
  });

  test("a result stored by tq is read by Celery's rpc backend, and Celery's by ours", async () => {
    const url = await freshUrl();
    const broker = await connect(url);
    const task = queueOf("celery");
    await broker.declare(task);
    const options = { ...defaultBackendOptions, brokerUrls: [url] };
    const backend = createRpcBackend("rpc://", options);
    open.push(backend);
    await backend.prepare();

    const answered = python(
      url,
      `
from celery import Celery
app = Celery(broker=URL, backend="rpc://")
print(json.dumps(app.send_task("proj.add", [2, 3]).get(timeout=20)))`,
    );
    const [call] = await take(broker, task, 1);
    const { correlation_id: id = "", reply_to: replyTo = "" } = call?.message.properties ?? {};
    const meta = metaOf({ sum: 5 }, { task_id: id });
    await backend.store({ ...recordOf(meta), replyTo });
    expect(await answered).toEqual({ sum: 5 });

    const taskId = randomUUID();
    const found = (async () => {
      for await (const meta of backend.watch([taskId], { signal: AbortSignal.timeout(20_000) })) return meta;
    })();
    await python(
      url,
      `
from types import SimpleNamespace
from celery import Celery
app = Celery(broker=URL, backend="rpc://")
request = SimpleNamespace(reply_to="${backend.replyTo}", correlation_id="${taskId}", id="${taskId}", children=[],
    group=None, parent_id=None, stamped_headers=None)
app.backend.store_result("${taskId}", [1, "two"], "SUCCESS", request=request)
print("null")`,
    );
    expect(await found).toMatchObject({ task_id: taskId, status: "SUCCESS", result: [1, "two"], traceback: null });
  });
});
