import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createTopology } from "../../src/broker/topology.ts";
import { type RawSettings, resolveSettings } from "../../src/config/resolve.ts";
import { ImproperlyConfigured, QueueNotFound } from "../../src/errors.ts";
import { createRouter, type RoutedTask } from "../../src/task/router.ts";

const routerOf = (runtime: RawSettings = {}) => createRouter(resolveSettings({ runtime }));

function queueOf(
  runtime: RawSettings,
  name: string,
  options: Record<string, unknown> = {},
  task?: RoutedTask,
): string | undefined {
  return routerOf(runtime).route(options, name, [], {}, task).queue?.name;
}

/** Configurations and calls with the way Celery 5.6's own router and sender chose for them. */
const celerys = JSON.parse(readFileSync(new URL("../config/celery-routes.json", import.meta.url), "utf8")) as {
  conf: RawSettings;
  options: Record<string, unknown>;
  task: string;
  exchange: string;
  routingKey: string;
  type: string;
  queue: object | null;
}[];

test.each(celerys)("$conf sends $task with $options where Celery sends it", (one) => {
  const { queue, address } = routerOf(one.conf).route(one.options, one.task, [], {});
  expect(address).toEqual({ exchange: one.exchange, routingKey: one.routingKey, type: one.type });
  const declared = queue && {
    name: queue.name,
    arguments: queue.arguments,
    exchange: queue.exchange.name,
    exchangeType: queue.exchange.type,
    routingKey: queue.routingKey,
  };
  expect(declared).toEqual(one.queue);
});

test("a call that nothing routes goes straight to the default queue by the anonymous exchange", () => {
  const { queue, address, options } = routerOf().route({ countdown: 3 }, "a", [], {});
  expect(queue?.name).toBe("celery");
  expect(address).toEqual({ exchange: "", routingKey: "celery", type: "direct" });
  expect(options).toEqual({ countdown: 3 });
});

test("a table knows exact names before patterns, and patterns in their order", () => {
  const taskRoutes = {
    "feed.*": "feeds",
    "feed.tasks.*": "never",
    "feed.tasks.import": { queue: "imports" },
    "*": "rest",
  };
  expect(queueOf({ taskRoutes }, "feed.tasks.import")).toBe("imports");
  expect(queueOf({ taskRoutes }, "feed.tasks.other")).toBe("feeds");
  expect(queueOf({ taskRoutes }, "web.x")).toBe("rest");
});

test("pairs may hold expressions, and may stand in a list of lists as in Celery", () => {
  const pairs = [
    ["feed.tasks.*", { queue: "feeds" }],
    ["web.tasks.*", "web"],
    [/^(video|image)\.tasks\./, { queue: "media" }],
  ] as const;
  for (const taskRoutes of [pairs, [pairs]]) {
    expect(queueOf({ taskRoutes }, "feed.tasks.a")).toBe("feeds");
    expect(queueOf({ taskRoutes }, "web.tasks.a")).toBe("web");
    expect(queueOf({ taskRoutes }, "image.tasks.a")).toBe("media");
    expect(queueOf({ taskRoutes }, "other.image.tasks.a")).toBe("celery");
  }
  expect(queueOf({ taskRoutes: ["a.b", "one"] }, "a.b")).toBe("one");
});

test("an expression with a position gives the same answer every time", () => {
  const router = routerOf({ taskRoutes: [[/feed/g, "feeds"]] });
  const answers = [1, 2, 3].map(() => router.route({}, "a.feed.b", [], {}).queue?.name);
  expect(answers).toEqual(["feeds", "feeds", "feeds"]);
});

test("routers of a list are asked in order, the first that knows a way wins", () => {
  const asked: unknown[] = [];
  const taskRoutes = [
    (...given: unknown[]) => {
      asked.push(given);
      return given[0] === "first" ? "from-function" : null;
    },
    { first: "never", second: "from-table" },
    () => ({ queue: "last", routingKey: "k" }),
  ];
  expect(queueOf({ taskRoutes }, "first")).toBe("from-function");
  expect(queueOf({ taskRoutes }, "second")).toBe("from-table");
  expect(queueOf({ taskRoutes }, "third")).toBe("last");
  const task = { options: { priority: 3 } };
  createRouter(resolveSettings({ runtime: { taskRoutes } })).route(
    { eta: null, time_limit: 5 },
    "x",
    [1],
    { a: 2 },
    task,
  );
  expect(asked.at(-1)).toEqual(["x", [1], { a: 2 }, { priority: 3, time_limit: 5 }, task]);
});

test("a router function may return a text, an object, null or nothing", () => {
  expect(queueOf({ taskRoutes: () => "q" }, "a")).toBe("q");
  expect(queueOf({ taskRoutes: () => ({ queue: "q" }) }, "a")).toBe("q");
  expect(queueOf({ taskRoutes: () => undefined }, "a")).toBe("celery");
  expect(() => queueOf({ taskRoutes: () => 5 as never }, "proj.a")).toThrow(ImproperlyConfigured);
  expect(() => queueOf({ taskRoutes: () => 5 as never }, "proj.a")).toThrow("the route of task proj.a must be");
});

test("options of the call come before those of the task, those before the route, that before the default", () => {
  const taskRoutes = { a: { queue: "route", priority: 1, routing_key: "route" } };
  const task = { options: { queue: "task", exchange: null, routingKey: null, priority: 2 } };
  expect(queueOf({ taskRoutes }, "a", { queue: "call" }, task)).toBe("call");
  expect(queueOf({ taskRoutes }, "a", { queue: null }, task)).toBe("task");
  expect(queueOf({ taskRoutes }, "a")).toBe("route");
  expect(queueOf({ taskRoutes }, "b")).toBe("celery");
  const router = routerOf({ taskRoutes });
  expect(router.route({ priority: 0 }, "a", [], {}, task).options).toEqual({ priority: 0 });
  expect(router.route({}, "a", [], {}, task).options).toEqual({ priority: 2 });
  expect(router.route({}, "a", [], {}).options).toEqual({ priority: 1 });
});

test("other options of a route are added to those of the call", () => {
  const taskRoutes = { a: { queue: "q", priority: 4, timeLimit: 9, expires: null } };
  expect(routerOf({ taskRoutes }).route({ time_limit: 5 }, "a", [], {}).options).toEqual({
    priority: 4,
    time_limit: 5,
  });
});

test("a queue nobody defined is made, or refused", () => {
  expect(queueOf({ taskRoutes: { a: "new" } }, "a")).toBe("new");
  const strict = { taskRoutes: { a: "new" }, taskCreateMissingQueues: false };
  expect(() => queueOf(strict, "a")).toThrow(QueueNotFound);
  expect(() => queueOf(strict, "b", { queue: "other" })).toThrow('Queue "other" missing from task_queues');
  expect(queueOf(strict, "b")).toBe("celery");
});

test("with a direct exchange a key or an exchange alone changes nothing, both together do", () => {
  const router = routerOf();
  const anonymous = { exchange: "", routingKey: "celery", type: "direct" };
  expect(router.route({ routing_key: "k" }, "a", [], {}).address).toEqual(anonymous);
  expect(router.route({ exchange: "x" }, "a", [], {}).address).toEqual(anonymous);
  const both = router.route({ exchange: "x", routing_key: "k" }, "a", [], {});
  expect(both.address).toEqual({ exchange: "x", routingKey: "k", type: "direct" });
  expect(both.queue?.name).toBe("celery");
});

test("with any other exchange a call goes to the exchange, with the queue's key or its own", () => {
  const taskQueues = [{ name: "feeds", exchange: "media", exchangeType: "topic", routingKey: "feed.all" }] as const;
  const router = routerOf({ taskQueues, taskRoutes: { import: { queue: "feeds", routingKey: "feed.import" } } });
  expect(router.route({ queue: "feeds" }, "a", [], {}).address).toEqual({
    exchange: "media",
    routingKey: "feed.all",
    type: "topic",
  });
  expect(router.route({}, "import", [], {}).address).toEqual({
    exchange: "media",
    routingKey: "feed.import",
    type: "topic",
  });
  expect(router.route({ exchange: "x", exchange_type: "topic", routing_key: "a.b" }, "a", [], {}).address).toEqual({
    exchange: "x",
    routingKey: "a.b",
    type: "topic",
  });
  expect(() => router.route({ exchange_type: "headers" }, "a", [], {})).toThrow(ImproperlyConfigured);
});

test("a default exchange that is not direct is named", () => {
  const { address } = routerOf({
    taskDefaultExchange: "tasks",
    taskDefaultExchangeType: "topic",
    taskDefaultRoutingKey: "task.default",
  }).route({}, "a", [], {});
  expect(address).toEqual({ exchange: "tasks", routingKey: "task.default", type: "topic" });
});

test("a route to an exchange without a queue declares none", () => {
  const { queue, address } = routerOf({ taskRoutes: { a: { exchange: "x" } } }).route({}, "a", [], {});
  expect(queue).toBeNull();
  expect(address).toEqual({ exchange: "x", routingKey: "celery", type: "direct" });
});

test("a broadcast is published to its fanout exchange, and no queue is declared for it", () => {
  const { queue, address } = routerOf({ taskQueues: [{ name: "news", broadcast: true }] }).route(
    { queue: "news" },
    "a",
    [],
    {},
  );
  expect(queue).toBeNull();
  expect(address).toEqual({ exchange: "news", routingKey: "", type: "fanout" });
});

test("a queue may be given itself, and topology and router share what is made", () => {
  const settings = resolveSettings({});
  const topology = createTopology(settings);
  const router = createRouter(settings, topology);
  const queue = topology.queueNamed("mine");
  expect(router.route({ queue }, "a", [], {}).queue).toBe(queue);
  expect(router.route({ queue: "mine" }, "a", [], {}).queue).toBe(queue);
  expect(() => router.route({ queue: 5 }, "a", [], {})).toThrow("the option queue must be the name of a queue");
});

test("task names such as __proto__ are routed like any other", () => {
  expect(queueOf({ taskRoutes: { a: "q" } }, "__proto__")).toBe("celery");
  expect(queueOf({ taskRoutes: { a: "q" } }, "constructor")).toBe("celery");
});

test("an option called __proto__ decides nothing", () => {
  const options = JSON.parse('{"__proto__": {"queue": "evil", "priority": 9}}');
  const { queue, options: rest } = routerOf().route(options, "a", [], {});
  expect(queue?.name).toBe("celery");
  expect((rest as { priority?: number }).priority).toBeUndefined();
});
