import type { Channel } from "amqplib";
import type { Exchange, Queue } from "../broker.ts";
import { declaredOtherwise, refused, replyCodeOf, replyCodes } from "./failures.ts";
import type { Link } from "./link.ts";
import { encodeTable } from "./wire.ts";

/**
 * Makes exchange, queue and binding exist, as Celery declares them (protocol 7.1). Rejects with
 * `OperationalError` when one exists with other settings, or may not be made or touched.
 */
export async function declareQueue(link: Link, queue: Queue): Promise<void> {
  const { exchange } = queue;
  const isNamed = exchange.name !== "";
  await link.control(async (channel) => {
    if (isNamed) await declareExchange(channel, exchange);
    await doing(`queue ${JSON.stringify(queue.name)} cannot be declared`, "queue", queue.name, () =>
      channel.assertQueue(queue.name, {
        durable: queue.durable,
        autoDelete: queue.autoDelete,
        exclusive: queue.exclusive,
        arguments: encodeTable(queue.arguments),
      }),
    );
    if (isNamed) {
      await doing(
        `queue ${JSON.stringify(queue.name)} cannot be bound to ${JSON.stringify(exchange.name)}`,
        "",
        "",
        () => channel.bindQueue(queue.name, exchange.name, queue.routingKey),
      );
    }
  });
}

async function declareExchange(channel: Channel, { name, type, durable }: Exchange): Promise<void> {
  // The broker's own exchanges are there and may not be declared.
  if (name.startsWith("amq.")) return;
  await doing(`exchange ${JSON.stringify(name)} cannot be declared`, "exchange", name, () =>
    channel.assertExchange(name, type, { durable }),
  );
}

async function doing(what: string, kind: string, name: string, work: () => Promise<unknown>): Promise<void> {
  try {
    await work();
  } catch (error) {
    const code = replyCodeOf(error);
    if (code === undefined) throw error;
    if (code === replyCodes.preconditionFailed && kind !== "") throw declaredOtherwise(kind, name, error);
    throw refused(what, error);
  }
}

/** Messages ready in a queue; undefined when it does not exist. */
export async function readyMessages(link: Link, queue: string): Promise<number | undefined> {
  return ifExists(link.control((channel) => channel.checkQueue(queue)).then(({ messageCount }) => messageCount));
}

/** The result of work on a queue or exchange, or undefined when that does not exist. */
export async function ifExists<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (replyCodeOf(error) === replyCodes.notFound) return undefined;
    throw error;
  }
}

/** Whether a queue takes only per-consumer prefetch counts (G36): those that keep their messages in a log. */
export function needsConsumerPrefetch(queue: Queue): boolean {
  const type = queue.arguments["x-queue-type"];
  return type === "quorum" || type === "stream";
}
