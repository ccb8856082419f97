/** The setting `taskQueues` (inventory C38, C43): queues as users define them. */
import { ImproperlyConfigured } from "../errors.ts";
import { closestName, toCamelCase } from "./names.ts";
import { bool, dict, integer, isRecord, name, nullable, oneOf, seconds } from "./parse.ts";
import type { Rule } from "./setting.ts";

export type ExchangeType = "direct" | "topic" | "fanout";

export interface ExchangeDefinition {
  readonly name: string;
  readonly type?: ExchangeType;
  readonly durable?: boolean;
}

/** A queue, and how it is bound. What is left out follows `taskDefault…`. Snake case is accepted too. */
export interface QueueDefinition {
  readonly name: string;
  /**
   * Default: `taskDefaultExchange`; with an `exchangeType` of its own an exchange named after the
   * queue, as two types cannot share an exchange.
   */
  readonly exchange?: string | ExchangeDefinition;
  readonly exchangeType?: ExchangeType;
  /** Default: the name of the queue. `bindingKey` is another word for it. */
  readonly routingKey?: string;
  readonly bindingKey?: string;
  /** Of queue and exchange, unless said for one alone. Default true. */
  readonly durable?: boolean;
  readonly queueDurable?: boolean;
  readonly exchangeDurable?: boolean;
  readonly autoDelete?: boolean;
  readonly exclusive?: boolean;
  /** Seconds unused after which the broker removes the queue (`x-expires`). */
  readonly expires?: number | null;
  /** Seconds after which a message is dropped (`x-message-ttl`). */
  readonly messageTtl?: number | null;
  readonly maxLength?: number | null;
  readonly maxLengthBytes?: number | null;
  /** `x-max-priority`; default `taskQueueMaxPriority`. */
  readonly maxPriority?: number | null;
  /** `x-queue-type`. */
  readonly queueType?: "classic" | "quorum" | null;
  /** Further arguments under AMQP's names. */
  readonly queueArguments?: Readonly<Record<string, unknown>> | null;
  /** Another name to select it by. */
  readonly alias?: string | null;
  /**
   * Every worker gets each message: a fanout exchange of this name and a queue of its own for
   * every worker, removed with it (kombu's `Broadcast`).
   */
  readonly broadcast?: boolean;
}

/** A queue in a record, whose key is its name. */
export type NamedQueueDefinition = Omit<QueueDefinition, "name"> & { readonly name?: string };

/** What a user may write in `taskQueues`; a text stands for a queue of that name. */
export type TaskQueues = readonly (QueueDefinition | string)[] | Readonly<Record<string, NamedQueueDefinition | null>>;

const exchangeType: Rule<ExchangeType> = oneOf("direct", "topic", "fanout");

/** The fields of a definition, each with its rule. */
const fields: { readonly [Field in keyof Required<QueueDefinition>]: Rule<unknown> } = {
  name,
  exchange: { expects: "an exchange's name, or { name, type, durable }", parse: readExchange },
  exchangeType,
  routingKey: { expects: "a text", parse: (given) => (typeof given === "string" ? given : undefined) },
  bindingKey: { expects: "a text", parse: (given) => (typeof given === "string" ? given : undefined) },
  durable: bool,
  queueDurable: bool,
  exchangeDurable: bool,
  autoDelete: bool,
  exclusive: bool,
  expires: nullable(seconds),
  messageTtl: nullable(seconds),
  maxLength: nullable(integer(0)),
  maxLengthBytes: nullable(integer(0)),
  maxPriority: nullable(integer(0, 255)),
  queueType: nullable(oneOf("classic", "quorum")),
  queueArguments: nullable(argumentsRule()),
  alias: nullable(name),
  broadcast: bool,
};

/** Attributes of kombu's queues which nothing here acts on yet: refused, so that nobody relies on them. */
const unsupported = new Set(["bindings", "bindingArguments", "consumerArguments", "noAck", "exchangeArguments"]);

function argumentsRule(): Rule<Readonly<Record<string, unknown>>> {
  return {
    expects: 'an object such as { "x-max-priority": 10 }',
    parse: (given) => (isRecord(given) ? dict.parse(given) : undefined),
  };
}

function readExchange(given: unknown): string | ExchangeDefinition | undefined {
  if (typeof given === "string") return given;
  if (!isRecord(given) || typeof given.name !== "string") return undefined;
  const type = given.type === undefined ? "direct" : exchangeType.parse(given.type);
  if (type === undefined) return undefined;
  return Object.freeze({ name: given.name, type, durable: bool.parse(given.durable ?? true) ?? true });
}

/** One definition, checked. Throws `ImproperlyConfigured` naming the queue, the field and what would do. */
export function readQueue(given: unknown, queueName?: string): QueueDefinition {
  const named = typeof given === "string" ? { name: given } : (given ?? {});
  if (!isRecord(named)) {
    throw new ImproperlyConfigured(
      `a queue in taskQueues must be a name or an object such as { name: "hipri", maxPriority: 10 }, got: ${String(given)}`,
    );
  }
  const read: Record<string, unknown> = { name: queueName };
  const where = `queue ${JSON.stringify(queueName ?? named.name ?? "(without name)")} in taskQueues`;
  for (const [spelled, value] of Object.entries(named)) {
    const field = toCamelCase(spelled);
    if (value === undefined) continue;
    if (unsupported.has(field)) {
      throw new ImproperlyConfigured(
        `${spelled} of ${where} is not supported yet: a queue has one binding, with its exchange and routingKey`,
      );
    }
    if (!Object.hasOwn(fields, field)) {
      const meant = closestName(field, Object.keys(fields));
      throw new ImproperlyConfigured(
        `${where} has no field ${spelled}${meant === null ? "" : `: did you mean ${meant}?`} ` +
          `Its fields are ${Object.keys(fields).join(", ")}`,
      );
    }
    const rule = fields[field as keyof QueueDefinition];
    const parsed = rule.parse(value);
    if (parsed === undefined) {
      throw new ImproperlyConfigured(`${spelled} of ${where} must be ${rule.expects}, got: ${JSON.stringify(value)}`);
    }
    read[field] = parsed;
  }
  if (typeof read.name !== "string") {
    throw new ImproperlyConfigured('a queue in taskQueues has no name: write { name: "hipri" }');
  }
  return Object.freeze(read) as unknown as QueueDefinition;
}

/** `taskQueues` in either of its forms, as a list of checked definitions. */
export const taskQueues: Rule<readonly QueueDefinition[], TaskQueues> = {
  expects: "a list of queues, or an object of names and queues",
  example: [{ name: "hipri", maxPriority: 10 }],
  parse: (given) => {
    const queues = Array.isArray(given)
      ? given.map((item) => readQueue(item))
      : isRecord(given)
        ? Object.entries(given).map(([key, item]) => readQueue(item, key))
        : undefined;
    const names = new Set<string>();
    for (const queue of queues ?? []) {
      if (names.has(queue.name)) {
        throw new ImproperlyConfigured(
          `taskQueues defines queue ${JSON.stringify(queue.name)} twice: keep one of them`,
        );
      }
      names.add(queue.name);
    }
    return queues && Object.freeze(queues);
  },
};
