import { join } from "node:path";
import { expect, test } from "vitest";
import { messageOf, queueOf, textOf } from "../contract/broker.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { type RedisKit, redisKit } from "./redis-kit.ts";

/** kombu as Celery uses it: a connection with a consumer that prints what it gets, and obeys lines of standard input. */
const program = `
import json, socket, sys
from kombu import Connection, Consumer, Exchange, Producer, Queue

url, options = sys.argv[1], json.loads(sys.argv[2])
connection = Connection(url, transport_options=options)
connection.connect()
channel = connection.channel()
held = []

def show(kind, **fields):
    print(json.dumps({"kind": kind, **fields}), flush=True)

def got(body, message):
    held.append(message)
    show("got", body=body, queue=message.delivery_info.get("routing_key"),
         redelivered=bool(message.headers.get("redelivered")), headers=message.headers)

def queue(spec):
    exchange = Exchange(spec["exchange"], spec.get("type", "direct"))
    return Queue(spec["name"], exchange, routing_key=spec.get("key", ""), channel=channel)

show("ready")
for line in sys.stdin:
    command = json.loads(line)
    if command["do"] == "consume":
        Consumer(channel, [queue(command["queue"])], callbacks=[got], accept=["json"]).consume()
    elif command["do"] == "drain":
        try:
            for _ in range(command["count"]):
                connection.drain_events(timeout=command["timeout"])
        except socket.timeout:
            pass
        show("drained")
    elif command["do"] == "publish":
        q = queue(command["queue"])
        if command.get("declare"):
            q.declare()
        Producer(channel).publish(command["body"], exchange=q.exchange.name if command.get("by_exchange") else "",
            routing_key=command.get("key", q.name), serializer="json", priority=command.get("priority"))
        show("published")
    elif command["do"] == "restore":
        channel.qos.restore_visible(interval=1)
        show("restored")
    elif command["do"] == "ack":
        for message in held:
            message.ack()
        held.clear()
        show("acked")
    elif command["do"] == "reject":
        for message in held:
            message.reject(requeue=True)
        held.clear()
        show("rejected")
`;

interface Peer extends AsyncDisposable {
  readonly child: Child;
  /** Sends a command and waits for the line that answers it; gives the lines printed since. */
  tell(command: Readonly<Record<string, unknown>>): Promise<Readonly<Record<string, unknown>>[]>;
}

async function kombu(kit: RedisKit, options: Readonly<Record<string, unknown>> = {}): Promise<Peer> {
  const python = join(celeryBin(), "python");
  const child = startChild(python, ["-c", program, `${kit.server.url}/0`, JSON.stringify(options)], {
    stdio: ["pipe", "pipe", "pipe"],
  });
  await child.printed("ready");
  const answers: Readonly<Record<string, string>> = {
    drain: "drained",
    publish: "published",
    restore: "restored",
    ack: "acked",
    reject: "rejected",
  };
  return {
    child,
    async tell(command) {
      const from = child.lines.length;
      child.process.stdin?.write(`${JSON.stringify(command)}\n`);
      const answer = answers[String(command.do)];
      if (answer === undefined) return [];
      await until(
        () => child.lines.slice(from).some((line) => line.includes(`"kind": "${answer}"`)) || !child.running,
        {
          timeout: 20,
          message: `kombu to say ${answer}`,
        },
      );
      if (!child.running) throw new Error(`kombu ended:\n${child.output}`);
      return child.lines.slice(from).map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
    },
    async [Symbol.asyncDispose]() {
      await child.kill();
    },
  };
}

const spec = { name: "q", exchange: "q", key: "q" };
const gotten = (lines: Readonly<Record<string, unknown>>[]) => lines.filter(({ kind }) => kind === "got");

describeWith(["redis-server", "celery"], "the Redis broker beside kombu", () => {
  test("takes what kombu publishes, by queue, by priority, by exchange", async () => {
    await using kit = await redisKit();
    await using peer = await kombu(kit);
    const broker = await kit.broker();
    await peer.tell({ do: "publish", queue: spec, body: "late", priority: 9, declare: true });
    await peer.tell({ do: "publish", queue: spec, body: "soon", priority: 0 });
    await peer.tell({ do: "publish", queue: spec, body: "by exchange", by_exchange: true });
    const consumer = await kit.consumer(broker, ["q"]);
    await consumer.take(3);
    expect(consumer.deliveries.map(({ message }) => JSON.parse(textOf(message)))).toEqual([
      "soon",
      "by exchange",
      "late",
    ]);
    expect(consumer.deliveries.every(({ damage, redelivered }) => damage === null && !redelivered)).toBe(true);
    await Promise.all(consumer.deliveries.map((delivery) => delivery.ack()));
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test("publishes what kombu takes, with its headers, through queue, topic and fanout", async () => {
    await using kit = await redisKit();
    await using peer = await kombu(kit);
    const broker = await kit.broker();
    const topic = { name: "news", type: "topic", durable: true } as const;
    await peer.tell({ do: "consume", queue: spec });
    await peer.tell({ do: "consume", queue: { name: "t", exchange: "news", type: "topic", key: "a.#" } });
    await peer.tell({ do: "consume", queue: { name: "f", exchange: "all", type: "fanout" } });
    await peer.tell({ do: "drain", count: 1, timeout: 0.2 });
    const message = messageOf('"hello"', { headers: { id: "1", nested: { list: [1, null, "Zoë"] } } });
    await broker.publish(message, { exchange: "", routingKey: "q" });
    await broker.publish(messageOf('"news"'), { exchange: topic.name, routingKey: "a.b.c", type: "topic" });
    await broker.publish(messageOf('"everybody"'), { exchange: "all", routingKey: "", type: "fanout" });
    const got = gotten(await peer.tell({ do: "drain", count: 3, timeout: 3 }));
    expect(got.map(({ body }) => body).sort()).toEqual(["everybody", "hello", "news"]);
    expect(got.find(({ body }) => body === "hello")?.headers).toEqual(message.headers);
    await peer.tell({ do: "ack" });
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
  });

  test("brings back what a killed kombu held; what kombu rejected comes marked, and behind", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker({ visibility_timeout: 1, unacked_restore_interval: 0.3 });
    await using peer = await kombu(kit);
    await peer.tell({ do: "consume", queue: spec });
    await broker.publish(messageOf('"a"'), { exchange: "", routingKey: "q" });
    expect(gotten(await peer.tell({ do: "drain", count: 1, timeout: 3 }))).toHaveLength(1);
    await broker.publish(messageOf('"b"'), { exchange: "", routingKey: "q" });
    expect(await kit.client.hlen("unacked")).toBe(1);
    await peer.tell({ do: "reject" });
    expect((await kit.client.lrange("q", 0, -1)).length).toBe(2);
    expect(gotten(await peer.tell({ do: "drain", count: 1, timeout: 3 }))[0]).toMatchObject({ body: "b" });
    await peer.child.kill();
    const consumer = await kit.consumer(broker, ["q"]);
    await consumer.take(2);
    expect(consumer.deliveries.map(({ message, redelivered }) => [textOf(message), redelivered])).toEqual([
      ['"a"', true],
      ['"b"', true],
    ]);
  });

  test("leaves what it held, and what it parked, where kombu's own restore finds it", async () => {
    await using kit = await redisKit();
    const broker = await kit.broker();
    const consumer = await kit.consumer(broker, ["q"]);
    await broker.publish(messageOf('"held"', { properties: { priority: 6 } }), { exchange: "", routingKey: "q" });
    await broker.publish(messageOf('"parked"'), { exchange: "", routingKey: "q" });
    const deliveries = await consumer.take(2);
    await deliveries.find(({ message }) => textOf(message) === '"parked"')?.park(new Date(Date.now() + 1_000));
    broker.abandon();
    await using peer = await kombu(kit, { visibility_timeout: 1 });
    await peer.tell({ do: "consume", queue: spec });
    const bodies = new Set<unknown>();
    await until(
      async () => {
        await peer.tell({ do: "restore" });
        for (const { body, redelivered } of gotten(await peer.tell({ do: "drain", count: 1, timeout: 0.3 }))) {
          expect(redelivered).toBe(true);
          bodies.add(body);
        }
        // At once: kombu would restore even what it holds itself.
        await peer.tell({ do: "ack" });
        return bodies.size === 2;
      },
      { timeout: 10 },
    );
    expect(await kit.client.exists("unacked", "unacked_index")).toBe(0);
    // A tq worker that comes later finds nothing to wake or to restore.
    const later = await kit.consumer(await kit.broker(), ["q"]);
    await until(async () => (await kit.client.zcard("tq:parked")) === 0);
    expect(later.deliveries).toEqual([]);
  });

  test("hears kombu's broadcasts on the channels kombu names", async () => {
    await using kit = await redisKit();
    await using peer = await kombu(kit);
    const broker = await kit.broker();
    const exchange = { name: "celeryev", type: "fanout", durable: true } as const;
    const events = queueOf("ev.tq", { exchange, routingKey: "task.#", autoDelete: true });
    const consumer = await kit.consumer(broker, [events], { noAck: true });
    const by = { name: "ev.py", exchange: "celeryev", type: "fanout", key: "#" };
    for (const key of ["worker.online", "task.multi"]) {
      await peer.tell({ do: "publish", queue: by, body: key, key, by_exchange: true, declare: true });
    }
    await consumer.take(1);
    expect(consumer.deliveries.map(({ message }) => JSON.parse(textOf(message)))).toEqual(["task.multi"]);
  });
});
