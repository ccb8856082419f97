/**
 * Where things are kept in Redis (protocol 6.2). Kombu's keys, under kombu's option names:
 *
 *     <queue>                    list   messages of priority step 0, newest at the left
 *     <queue>\x06\x16<step>      list   those of the other steps
 *     _kombu.binding.<exchange>  set    routing_key \x06\x16 pattern \x06\x16 queue
 *     unacked                    hash   tag → [envelope, exchange, routing_key]
 *     unacked_index              zset   tag, by the time it was taken
 *     unacked_mutex              string who restores just now
 *
 * and tq's own, which Celery never looks at:
 *
 *     tq:consumers               zset   consumer id, by the time its lease ends
 *     tq:tended                  hash   since when, and when last, somebody looked after all this
 *     tq:held:<consumer id>      zset   tags it holds, in the order it took them
 *     tq:parked                  zset   tag \n list it goes back to, by the time it is due
 *     tq:dead                    hash   dead letter's id → envelope, byte for byte
 *     tq:dead:about              hash   dead letter's id → {queue, reason, at, node}
 *     tq:dead:index              zset   dead letter's id, by time
 *     tq:shelf …                        the same three for what others may run
 *     tq:hand-over:<id>          string a step that was made without a message to show it; for ten minutes
 *     tq:revokes                 zset   what was revoked, by the time it was
 *
 * `global_keyprefix` stands before every one of them and before every channel (protocol 6.8).
 */
export interface RedisKeys {
  readonly prefix: string;
  readonly separator: string;
  readonly steps: readonly number[];
  readonly unacked: string;
  readonly unackedIndex: string;
  readonly unackedMutex: string;
  readonly consumers: string;
  readonly tended: string;
  readonly heldPrefix: string;
  readonly parked: string;
  readonly dead: GraveKeys;
  readonly shelf: GraveKeys;
  readonly revokes: string;
  readonly handOverPrefix: string;
  /** Before every fanout channel, `/{db}.` included. */
  readonly channelPrefix: string;
  /** Whether the routing key is part of a channel's name. */
  readonly fanoutPatterns: boolean;
}

/** Where rejected messages lie, what is said about each, and their order. */
export interface GraveKeys {
  readonly dead: string;
  readonly about: string;
  readonly index: string;
}

const graveKeys = (dead: string): GraveKeys => ({ dead, about: `${dead}:about`, index: `${dead}:index` });

/** Reads the names out of `broker_transport_options`; `db` is part of the names of channels, which Redis shares between databases. */
export function redisKeys(options: Readonly<Record<string, unknown>>, db: number): RedisKeys {
  const text = (name: string, otherwise: string): string => {
    const value = options[name];
    return typeof value === "string" && value !== "" ? value : otherwise;
  };
  const prefix = text("global_keyprefix", "");
  const steps = Array.isArray(options.priority_steps) ? options.priority_steps.map(Number).filter(Number.isFinite) : [];
  return {
    prefix,
    separator: text("sep", "\x06\x16"),
    steps: steps.length > 0 ? [...new Set(steps)].sort((a, b) => a - b) : [0, 3, 6, 9],
    unacked: prefix + text("unacked_key", "unacked"),
    unackedIndex: prefix + text("unacked_index_key", "unacked_index"),
    unackedMutex: prefix + text("unacked_mutex_key", "unacked_mutex"),
    handOverPrefix: `${prefix}tq:hand-over:`,
    consumers: `${prefix}tq:consumers`,
    tended: `${prefix}tq:tended`,
    heldPrefix: `${prefix}tq:held:`,
    parked: `${prefix}tq:parked`,
    dead: graveKeys(`${prefix}tq:dead`),
    shelf: graveKeys(`${prefix}tq:shelf`),
    revokes: `${prefix}tq:revokes`,
    channelPrefix: prefix + channelPrefix(options.fanout_prefix, db),
    fanoutPatterns: options.fanout_patterns !== false,
  };
}

/** kombu `transport/redis.py`: true is the default prefix, false none, a text itself (with `{db}` filled in). */
function channelPrefix(option: unknown, db: number): string {
  if (option === false || option === null) return "";
  return (typeof option === "string" ? option : "/{db}.").replaceAll("{db}", String(db));
}

/** The step a priority belongs to: the largest one not above it; priorities count from 0 to 9 (protocol 6.3). */
export function priorityStep(keys: RedisKeys, priority: unknown): number {
  const wanted = Math.min(9, Math.max(0, Number(priority) || 0));
  return keys.steps.findLast((step) => step <= wanted) ?? (keys.steps[0] as number);
}

/** The list a message of this priority waits in. Only step 0 has the bare name, even when the steps begin elsewhere. */
export function listKey(keys: RedisKeys, queue: string, priority: unknown): string {
  return stepKey(keys, queue, priorityStep(keys, priority));
}

const stepKey = (keys: RedisKeys, queue: string, step: number): string => keys.prefix + queue + stepSuffix(keys, step);

const stepSuffix = (keys: RedisKeys, step: number): string => (step === 0 ? "" : `${keys.separator}${step}`);

/** What stands behind a queue's name in the list of this priority. */
export const listSuffix = (keys: RedisKeys, priority: unknown): string =>
  stepSuffix(keys, priorityStep(keys, priority));

/** All lists of a queue, first served first. */
export function queueLists(keys: RedisKeys, queue: string): string[] {
  return keys.steps.map((step) => stepKey(keys, queue, step));
}

/** The lists of many queues in the order they are looked at: step by step, the queues in turn within each (protocol 6.5). */
export function takeOrder(keys: RedisKeys, queues: readonly string[]): string[] {
  return keys.steps.flatMap((step) => queues.map((queue) => stepKey(keys, queue, step)));
}

/** The set that holds the bindings of an exchange. */
export const bindingKey = (keys: RedisKeys, exchange: string): string => `${keys.prefix}_kombu.binding.${exchange}`;

/** Where kombu 5.7 notes which bindings outlive its sweep of those of expiring queues: ours would be swept without. */
export const permanentBindingKey = (keys: RedisKeys, exchange: string): string =>
  `${keys.prefix}_kombu.binding_permanent.${exchange}`;

/** A binding as kombu writes it. `pattern` is the regular expression of a topic key, else empty. */
export const bindingMember = (keys: RedisKeys, routingKey: string, pattern: string, queue: string): string =>
  [routingKey, pattern, queue].join(keys.separator);

/** The channel a fanout message is published on (protocol 6.6). */
export function fanoutChannel(keys: RedisKeys, exchange: string, routingKey: string): string {
  const suffix = keys.fanoutPatterns && routingKey !== "" ? `/${routingKey}` : "";
  return `${keys.channelPrefix}${exchange}${suffix}`;
}

/** The pattern a fanout queue listens to: `#` of its binding becomes `*`. */
export const fanoutPattern = (keys: RedisKeys, exchange: string, routingKey: string): string =>
  fanoutChannel(keys, exchange, routingKey.replaceAll("#", "*"));
