import type { Queue } from "../../broker/broker.ts";
import { createTopology } from "../../broker/topology.ts";
import { readQueue } from "../../config/queues.ts";
import type { QueueInfo } from "../../control/replies.ts";
import { pythonRepr } from "../../util/repr.ts";
import { ok, type Panel, ValueError, type WorkerCommand } from "./panel.ts";

/** Commands about the queues the worker consumes. */
export const queueCommands: readonly WorkerCommand[] = [
  {
    name: "add_consumer",
    type: "control",
    args: [
      { name: "queue", type: "str" },
      { name: "exchange", type: "str" },
      { name: "exchange_type", type: "str" },
      { name: "routing_key", type: "str" },
    ],
    signature: "<queue> [exchange [type [routing_key]]]",
    help: "Tell worker(s) to consume from task queue by name.",
    required: ["queue"],
    async run(panel, args) {
      const queue = queueOf(panel, args);
      if (await panel.consumer.add(queue)) panel.logger.info("Started consuming from %s", queue.name);
      return ok(`add consumer ${queue.name}`);
    },
  },
  {
    name: "cancel_consumer",
    type: "control",
    args: [{ name: "queue", type: "str" }],
    signature: "<queue>",
    help: "Tell worker(s) to stop consuming from task queue by name.",
    required: ["queue"],
    async run({ consumer, logger }, { queue }) {
      const name = readName(queue);
      logger.info("Canceling queue %s", name);
      await consumer.cancel(name);
      return ok(`no longer consuming from ${name}`);
    },
  },
  {
    name: "active_queues",
    type: "inspect",
    help: "List the task queues a worker is currently consuming from.",
    run: ({ consumer }) => consumer.queues.map(queueInfo),
  },
];

/** The queue of `taskQueues`, or else one made as told (celery/worker/consumer `add_task_queue`). */
function queueOf({ app }: Panel, args: Readonly<Record<string, unknown>>): Queue {
  const { queue, exchange, exchange_type: type, routing_key: routingKey, ...more } = args;
  const name = readName(queue);
  const known = app.topology.queues.get(name);
  if (known !== undefined) return known;
  const options = Object.fromEntries(Object.entries(more).filter(([, value]) => value !== null));
  const definition = readQueue({
    ...options,
    name,
    exchange: exchange ?? name,
    exchange_type: type ?? "direct",
    routing_key: routingKey ?? name,
  });
  const [made] = createTopology({ ...app.conf.settings, taskQueues: [definition] }).queues.values();
  return made as Queue;
}

function readName(given: unknown): string {
  // AMQP's short strings end at 255 bytes.
  if (typeof given === "string" && given !== "" && Buffer.byteLength(given) <= 255) return given;
  throw new ValueError(`queue must be the name of a queue, got: ${pythonRepr(given, { maxLength: 100 })}`);
}

/** kombu's `Queue.as_dict(recurse=True)` (protocol 10.3). */
export function queueInfo(queue: Queue): QueueInfo {
  const { name, exchange, arguments: all } = queue;
  const limit = (argument: string): number | null => {
    const value = all[argument];
    return typeof value === "number" ? value : null;
  };
  const milliseconds = (argument: string): number | null => {
    const value = limit(argument);
    return value === null ? null : value / 1000;
  };
  return {
    name,
    exchange: {
      name: exchange.name,
      type: exchange.type,
      arguments: null,
      durable: exchange.durable,
      passive: false,
      auto_delete: false,
      delivery_mode: null,
      no_declare: false,
    },
    routing_key: queue.routingKey,
    queue_arguments: Object.keys(all).length === 0 ? null : all,
    binding_arguments: null,
    consumer_arguments: null,
    durable: queue.durable,
    exclusive: queue.exclusive,
    auto_delete: queue.autoDelete,
    no_ack: false,
    alias: null,
    bindings: [],
    no_declare: null,
    expires: milliseconds("x-expires"),
    message_ttl: milliseconds("x-message-ttl"),
    max_length: limit("x-max-length"),
    max_length_bytes: limit("x-max-length-bytes"),
    max_priority: limit("x-max-priority"),
  };
}
