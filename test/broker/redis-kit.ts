import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import type { Delivery, Queue, SubscribeOptions, Subscription } from "../../src/broker/broker.ts";
import { type BrokerOptions, defaultBrokerOptions } from "../../src/broker/options.ts";
import { createRedisBroker, type RedisBroker } from "../../src/broker/redis/broker.ts";
import { queueOf } from "../contract/broker.ts";
import type { RedisOptions, RedisServer } from "../helpers/redis-server.ts";
import { freshRedis } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

/** One subscription and what it got. */
export interface Consumer {
  readonly subscription: Subscription;
  readonly deliveries: Delivery[];
  readonly lost: Error[];
  /** Waits until this many have come in all. */
  take(count: number, timeout?: number): Promise<Delivery[]>;
}

/** A private Redis, a client that looks at its keys, and brokers on it; disposing it ends all of them. */
export interface RedisKit extends AsyncDisposable {
  readonly server: RedisServer;
  readonly client: Redis;
  broker(transportOptions?: Readonly<Record<string, unknown>>, options?: KitOptions): Promise<RedisBroker>;
  consumer(
    broker: RedisBroker,
    queues: readonly (Queue | string)[],
    options?: Partial<SubscribeOptions>,
  ): Promise<Consumer>;
}

export interface KitOptions extends Partial<BrokerOptions> {
  /** Another way to the server, such as through a proxy. */
  readonly url?: string;
}

export async function redisKit(options: RedisOptions = {}): Promise<RedisKit> {
  const server = await freshRedis(options);
  const client = new Redis(server.url, { lazyConnect: true });
  client.on("error", () => undefined);
  await client.connect();
  const brokers: RedisBroker[] = [];
  return {
    server,
    client,
    async broker(transportOptions = {}, { url = server.url, ...rest } = {}) {
      const broker = createRedisBroker(url, { ...defaultBrokerOptions, transportOptions, ...rest });
      brokers.push(broker);
      await broker.connect();
      return broker;
    },
    async consumer(broker, queues, overrides = {}) {
      const deliveries: Delivery[] = [];
      const lost: Error[] = [];
      const subscription = await broker.subscribe({
        node: "kit@host",
        prefetch: 0,
        onDelivery: (delivery) => deliveries.push(delivery),
        onLost: (error) => lost.push(error),
        ...overrides,
      });
      for (const queue of queues) await subscription.consume(typeof queue === "string" ? queueOf(queue) : queue);
      return {
        subscription,
        deliveries,
        lost,
        async take(count, timeout = 10) {
          await until(() => deliveries.length >= count, { timeout, message: `${count} deliveries` });
          return deliveries.slice(0, count);
        },
      };
    },
    async [Symbol.asyncDispose]() {
      await Promise.allSettled(brokers.map((broker) => broker.close()));
      client.disconnect();
      await server[Symbol.asyncDispose]();
    },
  };
}

/** What was captured from a real Celery under this name. */
export function captured<Shape>(name: string): Shape {
  const path = new URL(`../fixtures/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(path, "utf8")) as { captured: Shape }).captured;
}

/** An envelope as kombu writes it, with a body, a tag, and whatever else is given. */
export function kombuEnvelope(tag: string, overrides: Readonly<Record<string, unknown>> = {}): string {
  const envelope = {
    body: Buffer.from(`[["${tag}"], {}, {}]`).toString("base64"),
    "content-encoding": "utf-8",
    "content-type": "application/json",
    headers: { task: "kit.task", id: tag },
    properties: {
      correlation_id: tag,
      delivery_mode: 2,
      delivery_info: { exchange: "", routing_key: "q" },
      priority: 0,
      body_encoding: "base64",
      delivery_tag: tag,
    },
    ...overrides,
  };
  // Python's spacing: a blank after each comma and colon between tokens; no text here has any of its own.
  return JSON.stringify(envelope).replaceAll('":', '": ').replaceAll(',"', ', "');
}
