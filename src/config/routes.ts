/** The setting `taskRoutes` (inventory C36): its forms, and the one form the router reads. */
import { ImproperlyConfigured } from "../errors.ts";
import { toSnakeCase } from "./names.ts";
import { isRecord } from "./parse.ts";
import type { Rule } from "./setting.ts";

/**
 * Where to send a task, and with which options. Anything `applyAsync` takes may stand here;
 * Celery's snake case is accepted too.
 */
export interface Route {
  readonly queue?: string;
  readonly exchange?: string;
  readonly exchangeType?: string;
  readonly routingKey?: string;
  readonly priority?: number;
  readonly [option: string]: unknown;
}

/** A route as the wire spells options: `routing_key`, `exchange_type`. */
export type RouteOptions = Readonly<Record<string, unknown>>;

/**
 * Decides by itself. `options` are those of the call, under their wire names; `task` is the
 * registered task, when it is known here. Null or nothing leaves the decision to the next router.
 */
export type RouteFunction = (
  name: string,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  options: RouteOptions,
  task: unknown,
) => Route | string | null | undefined;

/**
 * A name, a glob (`feed.tasks.*`) or a regular expression, and the route of the tasks it fits.
 * An expression is tested as JavaScript does, anywhere in the name: begin it with `^` where
 * Python's `match` is meant.
 */
export type RoutePair = readonly [pattern: string | RegExp, route: Route | string];

export type RouteTable = Readonly<Record<string, Route | string>>;

/** What a user may write in `taskRoutes`. A text in place of a route is the name of a queue. */
export type TaskRoutes =
  | RouteTable
  | RouteFunction
  | RoutePair
  | readonly (RouteTable | RouteFunction | RoutePair | readonly RoutePair[])[];

/** One of the routers of `taskRoutes`, asked in order. */
export type RouteStep =
  | { readonly kind: "table"; readonly pairs: readonly (readonly [pattern: string | RegExp, route: RouteOptions])[] }
  | { readonly kind: "function"; readonly decide: RouteFunction };

/**
 * A route under its wire names; a text is a queue's name. Throws `ImproperlyConfigured` when it
 * is neither; `where` says of what it is the route.
 */
export function readRoute(route: unknown, where: string): RouteOptions {
  if (typeof route === "string" && route !== "") return Object.freeze({ queue: route });
  if (!isRecord(route)) {
    throw new ImproperlyConfigured(
      `the route of ${where} must be the name of a queue or an object such as { queue: "feeds" }, got: ${describe(route)}`,
    );
  }
  const options = Object.fromEntries(
    Object.entries(route)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => [toSnakeCase(key), value]),
  );
  for (const key of ["queue", "exchange", "exchange_type", "routing_key"]) {
    const value = Object.hasOwn(options, key) ? options[key] : undefined;
    if (value !== undefined && value !== null && typeof value !== "string") {
      throw new ImproperlyConfigured(`${key} in the route of ${where} must be a text, got: ${describe(value)}`);
    }
  }
  return Object.freeze(options);
}

/** `taskRoutes` in any of its forms, as a list of routers to ask in order. */
export const taskRoutes: Rule<readonly RouteStep[], TaskRoutes> = {
  expects: "a table of names and routes, [pattern, route] pairs, a router function, or a list of those",
  example: { "feed.tasks.*": { queue: "feeds" } },
  parse: (given) => {
    if (Array.isArray(given)) return Object.freeze(isPair(given) ? [pairsStep([given])] : listSteps(given));
    if (isRecord(given) || given instanceof Map || typeof given === "function") return Object.freeze([stepOf(given)]);
    if (typeof given === "string") throw classPath(given);
    return undefined;
  },
};

function listSteps(items: readonly unknown[]): RouteStep[] {
  const steps: RouteStep[] = [];
  let pairs: [string | RegExp, unknown][] = [];
  const closeTable = (): void => {
    if (pairs.length > 0) steps.push(pairsStep(pairs));
    pairs = [];
  };
  for (const item of items) {
    if (isPair(item)) {
      pairs.push(item);
      continue;
    }
    closeTable();
    steps.push(stepOf(item));
  }
  closeTable();
  return steps;
}

function stepOf(item: unknown): RouteStep {
  if (typeof item === "function") return Object.freeze({ kind: "function", decide: item as RouteFunction });
  if (item instanceof Map && [...item].every(isPair)) return pairsStep([...item]);
  if (isRecord(item)) return pairsStep(Object.entries(item));
  if (Array.isArray(item) && item.every(isPair)) return pairsStep(item);
  if (typeof item === "string") throw classPath(item);
  throw new ImproperlyConfigured(
    "taskRoutes must be made of tables of names and routes, [pattern, route] pairs with a text or a RegExp as pattern, " +
      `and functions, got: ${describe(item)}`,
  );
}

function pairsStep(pairs: readonly (readonly [string | RegExp, unknown])[]): RouteStep {
  return Object.freeze({
    kind: "table",
    pairs: Object.freeze(
      pairs.map(([pattern, route]) => Object.freeze([pattern, readRoute(route, `taskRoutes ${pattern}`)] as const)),
    ),
  });
}

function isPair(item: unknown): item is [string | RegExp, unknown] {
  return Array.isArray(item) && item.length === 2 && (typeof item[0] === "string" || item[0] instanceof RegExp);
}

const classPath = (path: string): ImproperlyConfigured =>
  new ImproperlyConfigured(
    `taskRoutes cannot load a router by name (${JSON.stringify(path)}): import the function and give it itself`,
  );

const describe = (value: unknown): string =>
  typeof value === "string" ? JSON.stringify(value) : Array.isArray(value) ? "an array" : String(value);
