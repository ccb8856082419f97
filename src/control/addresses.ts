import type { Exchange, Queue } from "../broker/broker.ts";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured } from "../errors.ts";

/** The exchanges and queues of remote control (protocol 7.1). */
export interface ControlAddresses {
  /** Reaches every worker. */
  readonly exchange: Exchange;
  /** Brings replies to whoever asked. */
  readonly replyExchange: Exchange;
  /** The commands of one worker. */
  nodeQueue(nodename: string): Queue;
  /** The replies to one who asks; `id` is what repliers know it by. */
  replyQueue(id: string): Queue;
}

type ControlSettings = Pick<
  Settings,
  "controlExchange" | "controlQueueTtl" | "controlQueueExpires" | "controlQueueExclusive" | "controlQueueDurable"
>;

/** What these settings make of them. Throws `ImproperlyConfigured` for a queue that would be exclusive and durable. */
export function controlAddresses(settings: ControlSettings): ControlAddresses {
  const { controlExchange, controlQueueTtl, controlQueueExpires, controlQueueExclusive, controlQueueDurable } =
    settings;
  if (controlQueueExclusive && controlQueueDurable) {
    throw new ImproperlyConfigured(
      "controlQueueExclusive and controlQueueDurable cannot both be true: an exclusive queue ends with its " +
        "connection and cannot outlive the broker. Set controlQueueExclusive to false",
    );
  }
  const name = `${controlExchange}.pidbox`;
  const exchange = { name, type: "fanout", durable: false } as const;
  const replyExchange = { name: `reply.${name}`, type: "direct", durable: false } as const;
  const common = {
    durable: controlQueueDurable,
    exclusive: controlQueueExclusive,
    autoDelete: !controlQueueDurable,
    arguments: {
      "x-expires": Math.round(controlQueueExpires * 1000),
      "x-message-ttl": Math.round(controlQueueTtl * 1000),
    },
  };
  return {
    exchange,
    replyExchange,
    nodeQueue: (nodename) => ({ ...common, name: `${nodename}.${name}`, exchange, routingKey: "" }),
    replyQueue: (id) => ({ ...common, name: `${id}.${replyExchange.name}`, exchange: replyExchange, routingKey: id }),
  };
}
