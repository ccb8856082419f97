import type { Address, Exchange, Queue } from "../broker/broker.ts";
import { createTopology, isBroadcast, type Topology, type TopologySettings } from "../broker/topology.ts";
import { defaultExchangeName, defaultRoutingKey } from "../config/effective.ts";
import { type RouteFunction, type RouteOptions, type RouteStep, readRoute } from "../config/routes.ts";
import type { Settings } from "../config/settings.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { globToRegExp } from "../util/glob.ts";

export type RouterSettings = TopologySettings & Pick<Settings, "taskRoutes">;

/** What of a registered task decides where its calls go. Null and undefined say nothing. */
export interface RoutedTask {
  readonly options: {
    readonly queue?: string | null;
    readonly exchange?: string | null;
    readonly exchangeType?: string | null;
    readonly routingKey?: string | null;
    readonly priority?: number | null;
  };
}

/** Where one call goes. */
export interface ResolvedRoute {
  /** To be declared before publishing; null when there is none to declare, as for a broadcast. */
  readonly queue: Queue | null;
  readonly address: Address;
  /**
   * The options of the call, under their wire names, with what task and route add to them;
   * without those of routing, which `queue` and `address` have answered.
   */
  readonly options: RouteOptions;
}

/** Decides where calls go (inventory C36 to C40). Pure. */
export interface Router {
  /**
   * `options` are those of the call under their wire names (`routing_key`); `queue` may be a
   * `Queue` as well as a name. Options of the call come before those of the task, those before
   * the route `taskRoutes` finds, that before the defaults. Throws `QueueNotFound` for a queue
   * that may not be made, `ImproperlyConfigured` when a router function returns no route.
   */
  route(
    options: RouteOptions,
    taskName: string,
    args: readonly unknown[],
    kwargs: Readonly<Record<string, unknown>>,
    task?: RoutedTask,
  ): ResolvedRoute;
}

/** The router of these settings. It makes its queues with `topology`. */
export function createRouter(settings: RouterSettings, topology: Topology = createTopology(settings)): Router {
  const steps = (settings.taskRoutes ?? []).map(lookupOf);
  return {
    route(options, taskName, args, kwargs, task) {
      const call: Record<string, unknown> = {};
      if (task !== undefined) addTaskOptions(call, task);
      addPresent(call, options);
      const found = firstRoute(steps, taskName, args, kwargs, call, task);
      const wanted = call.queue ?? found?.queue;
      const exchange = call.exchange ?? found?.exchange;
      const key = call.routing_key ?? found?.routing_key;
      const type = call.exchange_type ?? found?.exchange_type;
      const queue = queueWanted(wanted, exchange, found !== null, settings, topology);
      const address = addressOf(queue, textOf(exchange), textOf(key), typeOf(type), settings);
      const rest: Record<string, unknown> = {};
      if (found !== null) addPresent(rest, found, answered);
      addPresent(rest, call, answered);
      return { queue: queue === null || isBroadcast(queue) ? null : queue, address, options: rest };
    },
  };
}

/** The options of routing: what a resolved route answers, and so leaves out of its options. */
const answered: ReadonlySet<string> = new Set(["queue", "exchange", "exchange_type", "routing_key"]);

/** A task's own word on routing, under wire names. */
function addTaskOptions(target: Record<string, unknown>, task: RoutedTask): void {
  const { queue, exchange, exchangeType, routingKey, priority } = task.options;
  if (queue) target.queue = queue;
  if (exchange) target.exchange = exchange;
  if (exchangeType) target.exchange_type = exchangeType;
  if (routingKey) target.routing_key = routingKey;
  if (priority !== null && priority !== undefined) target.priority = priority;
}

/**
 * Adds what is neither null nor undefined. Runs for each call, so it makes nothing but the
 * entries. An option called `__proto__`, which only a message can bring, is left out.
 */
function addPresent(target: Record<string, unknown>, source: RouteOptions, without?: ReadonlySet<string>): void {
  for (const key of Object.keys(source)) {
    const value = source[key];
    if (value === null || value === undefined || without?.has(key) || key === "__proto__") continue;
    target[key] = value;
  }
}

type Lookup = (...call: Parameters<RouteFunction>) => RouteOptions | null | undefined;

/** One step of `taskRoutes` as a function; a table asks its exact names first, then its patterns in order. */
function lookupOf(step: RouteStep): Lookup {
  if (step.kind === "function") {
    return (name, ...call) => {
      const route = step.decide(name, ...call);
      return route === null || route === undefined ? null : readRoute(route, `task ${name}`);
    };
  }
  const exact = new Map<string, RouteOptions>();
  const patterns: (readonly [RegExp, RouteOptions])[] = [];
  for (const [pattern, route] of step.pairs) {
    if (typeof pattern !== "string") patterns.push([withoutPosition(pattern), route]);
    else if (pattern.includes("*")) patterns.push([globToRegExp(pattern), route]);
    else exact.set(pattern, route);
  }
  return (name) => exact.get(name) ?? patterns.find(([pattern]) => pattern.test(name))?.[1];
}

/** Expressions with the flags `g` or `y` would remember where they last matched. */
const withoutPosition = (pattern: RegExp): RegExp => new RegExp(pattern.source, pattern.flags.replace(/[gy]/g, ""));

function firstRoute(steps: readonly Lookup[], ...call: Parameters<RouteFunction>): RouteOptions | null {
  for (const lookup of steps) {
    const route = lookup(...call);
    if (route !== null && route !== undefined) return route;
  }
  return null;
}

/**
 * The queue a call goes through. The default queue when nothing names one, also when an exchange
 * is named by the call alone: Celery then declares it, though nothing goes there.
 */
function queueWanted(
  wanted: unknown,
  exchange: unknown,
  isRouted: boolean,
  settings: RouterSettings,
  topology: Topology,
): Queue | null {
  if (typeof wanted === "string" && wanted !== "") return topology.queueNamed(wanted);
  if (isQueue(wanted)) return wanted;
  if (wanted !== undefined && wanted !== "") {
    throw new ImproperlyConfigured(`the option queue must be the name of a queue, got: ${String(wanted)}`);
  }
  return isRouted && exchange !== undefined ? null : topology.queueNamed(settings.taskDefaultQueue);
}

const isQueue = (value: unknown): value is Queue =>
  typeof value === "object" && value !== null && "name" in value && "exchange" in value && "arguments" in value;

/**
 * Protocol 1.4, celery/app/amqp.py#send_task_message: with a direct exchange and without both an
 * exchange and a key of its own, a call goes straight to the queue, by the anonymous exchange;
 * else to the named exchange, with the queue's key unless it has one.
 */
function addressOf(
  queue: Queue | null,
  exchange: string | null,
  routingKey: string | null,
  type: Exchange["type"] | null,
  settings: RouterSettings,
): Address {
  const kind = type ?? queue?.exchange.type ?? "direct";
  if (queue !== null && (exchange === null || routingKey === null) && kind === "direct") {
    return { exchange: "", routingKey: queue.name, type: "direct" };
  }
  return {
    exchange: exchange ?? queue?.exchange.name ?? defaultExchangeName(settings),
    routingKey: routingKey ?? queue?.routingKey ?? defaultRoutingKey(settings),
    type: kind,
  };
}

const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);

function typeOf(value: unknown): Exchange["type"] | null {
  if (value === undefined || value === "direct" || value === "topic" || value === "fanout") return value ?? null;
  throw new ImproperlyConfigured(`the option exchange_type must be direct, topic or fanout, got: ${String(value)}`);
}
