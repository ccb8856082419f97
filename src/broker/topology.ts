import { randomUUID } from "node:crypto";
import { defaultExchangeName, defaultRoutingKey } from "../config/effective.ts";
import type { QueueDefinition } from "../config/queues.ts";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured, QueueNotFound } from "../errors.ts";
import type { Exchange, Queue } from "./broker.ts";

/** The settings that make the queues. */
export type TopologySettings = Pick<
  Settings,
  | "taskQueues"
  | "taskCreateMissingQueues"
  | "taskCreateMissingQueueType"
  | "taskCreateMissingQueueExchangeType"
  | "taskDefaultQueue"
  | "taskDefaultQueueType"
  | "taskDefaultExchange"
  | "taskDefaultExchangeType"
  | "taskDefaultRoutingKey"
  | "taskQueueMaxPriority"
>;

/** The queues of an app: which there are, and which of them a worker consumes. Never changes. */
export interface Topology {
  /** Those `taskQueues` defines, or the default queue alone; by name, in order. */
  readonly queues: ReadonlyMap<string, Queue>;
  /** Those to consume: `queues`, unless selected otherwise. */
  readonly consumed: ReadonlyMap<string, Queue>;
  /** Where tasks go that are not routed. Throws like `queueNamed`. */
  readonly defaultQueue: Queue;
  /**
   * The queue of this name or alias; made on demand when `taskQueues` does not define it.
   * Throws `QueueNotFound` when `taskCreateMissingQueues` is off.
   */
  queueNamed(name: string): Queue;
  /**
   * Consuming these alone (`-Q`); no names change nothing. Throws `ImproperlyConfigured`, in
   * Celery's words, for a queue that is not defined and may not be made.
   */
  select(names: readonly string[]): Topology;
  /** Consuming all but these (`-X`). Names nobody consumes are no mistake. */
  deselect(names: readonly string[]): Topology;
  /** With one queue more, consumed as well: a worker's direct queue, or one added at run time. */
  adding(queue: Queue): Topology;
}

/** How topologies that come from one another differ. */
interface Selection {
  readonly defined: ReadonlyMap<string, Queue>;
  readonly consumed: ReadonlyMap<string, Queue>;
}

/**
 * The queues these settings make. `uniqueId` names the queues of broadcasts, one for each worker;
 * give it to have names one knows.
 */
export function createTopology(settings: TopologySettings, uniqueId: () => string = randomUUID): Topology {
  const definitions = settings.taskQueues ?? [];
  const defined = new Map<string, Queue>();
  const aliases = new Map<string, Queue>();
  for (const definition of definitions) {
    const queue = queueOf(definition, settings, uniqueId);
    defined.set(queue.name, queue);
    const alias = definition.alias ?? (definition.broadcast ? definition.name : null);
    if (alias) aliases.set(alias, queue);
  }
  if (defined.size === 0) {
    const queue = defaultQueueOf(settings);
    defined.set(queue.name, queue);
  }
  const made = new Map<string, Queue>();
  const queueNamed = (name: string): Queue => {
    const known = aliases.get(name) ?? defined.get(name) ?? made.get(name);
    if (known) return known;
    if (!settings.taskCreateMissingQueues) {
      throw new QueueNotFound(
        `Queue ${JSON.stringify(name)} missing from task_queues: define it in taskQueues (there are ` +
          `${[...defined.keys()].join(", ")}), or turn taskCreateMissingQueues on`,
      );
    }
    const queue = missingQueue(name, settings);
    made.set(name, queue);
    return queue;
  };
  const withSelection = (selection: Selection): Topology => ({
    queues: selection.defined,
    consumed: selection.consumed,
    get defaultQueue() {
      return queueNamed(settings.taskDefaultQueue);
    },
    queueNamed: (name) => selection.defined.get(name) ?? queueNamed(name),
    select(names) {
      if (names.length === 0) return this;
      const queues = names.map((name) => selected(name, names, (wanted) => this.queueNamed(wanted)));
      return withSelection({ ...selection, consumed: byName(queues) });
    },
    deselect(names) {
      const without = new Set(names.map((name) => aliases.get(name)?.name ?? name));
      const queues = [...selection.consumed.values()].filter((queue) => !without.has(queue.name));
      return withSelection({ ...selection, consumed: byName(queues) });
    },
    adding(queue) {
      const complete = withMaxPriority(queue, settings.taskQueueMaxPriority);
      return withSelection({
        defined: new Map([...selection.defined, [queue.name, complete]]),
        consumed: new Map([...selection.consumed, [queue.name, complete]]),
      });
    },
  });
  return withSelection({ defined, consumed: defined });
}

const byName = (queues: readonly Queue[]): ReadonlyMap<string, Queue> =>
  new Map(queues.map((queue) => [queue.name, queue]));

function selected(name: string, names: readonly string[], queueNamed: (name: string) => Queue): Queue {
  try {
    return queueNamed(name);
  } catch (error) {
    if (!(error instanceof QueueNotFound)) throw error;
    const subset = `[${names.map((one) => `'${one}'`).join(", ")}]`;
    throw new ImproperlyConfigured(
      `Trying to select queue subset of ${subset}, but queue '${name}' isn't\ndefined in the \`task_queues\` setting.\n\n` +
        "If you want to automatically declare unknown queues you can\nenable the `task_create_missing_queues` setting.",
      { cause: error },
    );
  }
}

/** The queue that is there when `taskQueues` is not set (protocol 7.1). */
function defaultQueueOf(settings: TopologySettings): Queue {
  const quorum = settings.taskDefaultQueueType === "quorum" ? { "x-queue-type": "quorum" } : {};
  const queue = plainQueue(settings.taskDefaultQueue, defaultExchange(settings), defaultRoutingKey(settings), quorum);
  return withMaxPriority(queue, settings.taskQueueMaxPriority);
}

/** A queue nobody defined (inventory C39): an exchange and a key of its own name. */
function missingQueue(name: string, settings: TopologySettings): Queue {
  const quorum = settings.taskCreateMissingQueueType === "quorum" ? { "x-queue-type": "quorum" } : {};
  const type = settings.taskCreateMissingQueueExchangeType ?? "direct";
  return withMaxPriority(plainQueue(name, { name, type, durable: true }, name, quorum), settings.taskQueueMaxPriority);
}

function queueOf(definition: QueueDefinition, settings: TopologySettings, uniqueId: () => string): Queue {
  const { durable = true, exclusive = false, broadcast = false, name } = definition;
  const exchange = exchangeOf(definition, settings);
  const queue: Queue = {
    name: broadcast ? `bcast.${uniqueId()}` : name,
    exchange,
    routingKey: definition.routingKey || definition.bindingKey || (broadcast ? "" : name),
    durable: definition.queueDurable ?? durable,
    autoDelete: definition.autoDelete ?? broadcast,
    exclusive,
    arguments: argumentsOf(definition),
  };
  return withMaxPriority(queue, settings.taskQueueMaxPriority);
}

function exchangeOf(definition: QueueDefinition, settings: TopologySettings): Exchange {
  const { exchange, exchangeType, durable = true, exchangeDurable = durable, broadcast = false, name } = definition;
  if (typeof exchange === "object") {
    return { name: exchange.name, type: exchangeType ?? exchange.type ?? "direct", durable: exchange.durable ?? true };
  }
  if (broadcast) return { name: exchange || name, type: "fanout", durable: exchangeDurable };
  if (exchange) return { name: exchange, type: exchangeType ?? "direct", durable: exchangeDurable };
  const shared = defaultExchange(settings);
  if (exchangeType === undefined || exchangeType === shared.type) return shared;
  return { name, type: exchangeType, durable: exchangeDurable };
}

/** kombu's queue attributes as AMQP arguments; what `queueArguments` says itself stands. */
function argumentsOf(definition: QueueDefinition): Readonly<Record<string, unknown>> {
  const { expires, messageTtl, maxLength, maxLengthBytes, maxPriority, queueType, queueArguments } = definition;
  const found: Record<string, unknown> = {
    "x-expires": milliseconds(expires),
    "x-message-ttl": milliseconds(messageTtl),
    "x-max-length": maxLength,
    "x-max-length-bytes": maxLengthBytes,
    "x-max-priority": maxPriority,
    "x-queue-type": queueType === "classic" ? undefined : queueType,
    ...queueArguments,
  };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined && value !== null));
}

const milliseconds = (seconds: number | null | undefined): number | undefined =>
  seconds === null || seconds === undefined ? undefined : Math.round(seconds * 1000);

const defaultExchange = (settings: TopologySettings): Exchange => ({
  name: defaultExchangeName(settings),
  type: settings.taskDefaultExchangeType,
  durable: true,
});

const plainQueue = (
  name: string,
  exchange: Exchange,
  routingKey: string,
  queueArguments: Readonly<Record<string, unknown>>,
): Queue => ({
  name,
  exchange,
  routingKey,
  durable: true,
  autoDelete: false,
  exclusive: false,
  arguments: queueArguments,
});

function withMaxPriority(queue: Queue, maxPriority: number | null): Queue {
  if (maxPriority === null || "x-max-priority" in queue.arguments) return queue;
  return { ...queue, arguments: { ...queue.arguments, "x-max-priority": maxPriority } };
}

/** The queue that only one worker consumes (`worker_direct`, protocol 7.1): `<node name>.dq2`. */
export function workerDirectQueue(nodename: string): Queue {
  return plainQueue(`${nodename}.dq2`, { name: "C.dq2", type: "direct", durable: true }, nodename, {});
}

/** Whether the queue takes a copy of every message of a fanout exchange (kombu's `Broadcast`). */
export const isBroadcast = (queue: Queue): boolean =>
  queue.exchange.type === "fanout" && queue.name.startsWith("bcast.");
