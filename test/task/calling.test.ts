import { describe, expect, test } from "vitest";
import {
  BrokerConnectionError,
  chain,
  ImproperlyConfigured,
  InvalidTaskError,
  MessageTooLarge,
  type OperationalError,
  QueueNotFound,
  type Tq,
  ValidationError,
} from "../../src/index.ts";
import type { Message } from "../../src/protocol/message.ts";
import { Publisher, publishDelay } from "../../src/task/publisher.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

/** What was published, as the broker has it; nothing consumes. */
function published(app: Tq): { readonly message: Message; readonly exchange: string; readonly key: string }[] {
  const sent: { message: Message; exchange: string; key: string }[] = [];
  const open = app.broker.bind(app);
  app.broker = async () => {
    const broker = await open();
    return Object.assign(Object.create(broker) as typeof broker, {
      declare: async () => undefined,
      publish: async (message: Message, { exchange, routingKey }: { exchange: string; routingKey: string }) => {
        sent.push({ message, exchange, key: routingKey });
      },
    });
  };
  return sent;
}

const settings = {
  taskSerializer: "yaml",
  taskCompression: "zlib",
  taskDefaultPriority: 1,
  taskDefaultDeliveryMode: 2,
  taskDefaultQueue: "of-settings",
} as const;
const ofTask = {
  serializer: "msgpack",
  compression: "brotli",
  priority: 2,
  deliveryMode: 1,
  queue: "of-task",
  expires: 100,
  shadowName: () => "of-task",
} as const;
const ofCall = {
  serializer: "json",
  compression: "bzip2",
  priority: 3,
  deliveryMode: 2,
  queue: "of-call",
  expires: 200,
  shadow: "of-call",
} as const;

describe("the options of a call", () => {
  test("come before those of the task, those before the settings", async () => {
    const app = stage(settings);
    const sent = published(app);
    const plain = app.task("app.plain", () => 1);
    const own = app.task("app.own", ofTask, () => 1);
    const began = Date.now();
    await plain.delay();
    await own.delay();
    await own.applyAsync([], ofCall);
    const secondsLeft = (value: unknown): number | null =>
      value === null ? null : Math.round((new Date(String(value)).getTime() - began) / 100_000) * 100;
    const seen = sent.map(({ message: { headers, properties, contentType }, key }) => [
      contentType,
      headers.compression,
      properties.priority,
      properties.delivery_mode,
      key,
      secondsLeft(headers.expires),
      headers.shadow,
    ]);
    expect(seen).toEqual([
      ["application/x-yaml", "application/x-gzip", 1, 2, "of-settings", null, null],
      ["application/x-msgpack", "application/x-brotli", 2, 1, "of-task", 100, "of-task"],
      ["application/json", "application/x-bz2", 3, 2, "of-call", 200, "of-call"],
    ]);
  });

  test("each find their place in the message", async () => {
    const app = stage();
    const sent = published(app);
    const add = app.task("app.add", (x: number, y: number) => x + y);
    const eta = new Date(Date.now() + 60_000);
    const { id } = await add.applyAsync([1], {
      kwargs: { y: 2 },
      taskId: "any text",
      eta,
      expires: new Date(eta.getTime() + 1000),
      timeLimit: 30,
      softTimeLimit: 20,
      headers: { tenant: "acme" },
      argsrepr: "(<secret>)",
      kwargsrepr: "{<secret>}",
      ignoreResult: true,
      replyTo: "answers",
      correlationId: "c1",
      rootId: "root",
      parentId: "parent",
      groupId: "group",
      groupIndex: 4,
      stamps: { batch: [7] },
      exchange: "ex",
      routingKey: "rk",
    });
    expect(id).toBe("any text");
    const [one] = sent;
    expect([one?.exchange, one?.key]).toEqual(["ex", "rk"]);
    const iso = (date: Date): string => date.toISOString().replace("Z", "000+00:00");
    expect(one?.message.headers).toMatchObject({
      lang: "js",
      task: "app.add",
      id: "any text",
      eta: iso(eta),
      expires: iso(new Date(eta.getTime() + 1000)),
      timelimit: [30, 20],
      tenant: "acme",
      argsrepr: "(<secret>)",
      kwargsrepr: "{<secret>}",
      ignore_result: true,
      root_id: "root",
      parent_id: "parent",
      group: "group",
      group_index: 4,
      stamped_headers: ["batch"],
      stamps: { batch: [7] },
    });
    const { expiration, ...properties } = { ...one?.message.properties } as Record<string, unknown>;
    expect(properties).toEqual({ correlation_id: "c1", reply_to: "answers", delivery_mode: 2, priority: 0 });
    // The broker may drop it once it has expired; milliseconds.
    expect(Number(expiration)).toBeGreaterThan(59_000);
    expect(Number(expiration)).toBeLessThanOrEqual(61_000);
  });

  test("a countdown wins over an eta, none of either is now, and a message may have a time to live of its own", async () => {
    const app = stage();
    const sent = published(app);
    const noop = app.task("app.noop", () => 1);
    await noop.applyAsync([], { countdown: 60, eta: new Date(0) });
    await noop.applyAsync([], { countdown: 0 });
    await noop.applyAsync([], { expiration: 1.5 });
    await noop.applyAsync([], { expires: -5 });
    const [later, now, living, late] = sent.map(({ message }) => message);
    expect(new Date(String(later?.headers.eta)).getTime()).toBeGreaterThan(Date.now() + 50_000);
    expect(now?.headers.eta).toBeNull();
    expect(living?.properties.expiration).toBe("1500");
    expect(late?.properties.expiration).toBe("0");
  });

  test("of this process alone stay out of messages, also of those of a chain", async () => {
    const app = stage();
    const add = app.task("app.add", (x: number, y: number) => x + y);
    work(app);
    const { signal } = new AbortController();
    await using producer = app.producer();
    const result = await chain(add.s(1, 2), add.s(3)).applyAsync([], { signal, producer });
    expect(await result.get({ timeout: 5 })).toBe(6);
  });

  test("name a queue that has to exist where missing ones are not made", async () => {
    const app = stage({ taskCreateMissingQueues: false });
    const noop = app.task("app.noop", () => 1);
    await noop.applyAsync([], { queue: "celery" });
    await expect(noop.applyAsync([], { queue: "missing" })).rejects.toThrow(QueueNotFound);
  });
});

describe("a call that cannot be made", () => {
  const cases: readonly (readonly [string, (app: Tq) => unknown, new (...args: never[]) => Error, string])[] = [
    ["arguments that do not fit", (app) => two(app).applyAsync([1] as never), InvalidTaskError, "missing"],
    ["arguments that are no list", (app) => app.sendTask("x", 5 as never), InvalidTaskError, "must be an array"],
    [
      "keywords that are a list",
      (app) => app.sendTask("x", [], { kwargs: [] as never }),
      InvalidTaskError,
      "an object",
    ],
    [
      "a countdown out of range",
      (app) => app.sendTask("x", [], { countdown: -(2 ** 32) }),
      ImproperlyConfigured,
      "countdown is out of range",
    ],
    [
      "expires out of range",
      (app) => app.sendTask("x", [], { expires: -(2 ** 32) }),
      ImproperlyConfigured,
      "expires is out of range",
    ],
    ["an eta that is no time", (app) => app.sendTask("x", [], { eta: "soon" }), ImproperlyConfigured, "eta must be"],
    [
      "a soft limit over the hard one",
      (app) => app.sendTask("x", [], { timeLimit: 1, softTimeLimit: 2 }),
      ImproperlyConfigured,
      "less than or equal",
    ],
    [
      "an unknown serializer",
      (app) => app.sendTask("x", [], { serializer: "xml" }),
      ImproperlyConfigured,
      "unknown serializer",
    ],
    [
      "an unknown compression",
      (app) => app.sendTask("x", [], { compression: "rar" }),
      ImproperlyConfigured,
      "unknown compression",
    ],
    ["too large a message", (app) => app.sendTask("x", ["y".repeat(3000)]), MessageTooLarge, "workerMaxBodySize"],
    ["arguments against their schema", (app) => checked(app).delay(7 as never), ValidationError, "not seven"],
  ];
  const two = (app: Tq) => app.task("app.two", (x: number, y: number) => x + y);
  const noSeven = {
    "~standard": {
      version: 1,
      vendor: "test",
      validate: (value: unknown) => (value === 7 ? { issues: [{ message: "not seven" }] } : { value: value as number }),
    },
  } as const;
  const checked = (app: Tq) => app.task("app.checked", { args: [noSeven] }, (n: number) => n);

  test.each(cases)("for %s is refused, and nothing is sent", async (_what, call, error, text) => {
    const app = stage({ workerMaxBodySize: 2000 });
    const sent = published(app);
    const thrown = await (async () => await call(app))().catch((caught: unknown) => caught);
    expect(thrown).toBeInstanceOf(error);
    expect((thrown as Error).message).toContain(text);
    expect(sent).toEqual([]);
  });
});

describe("a broker that cannot be reached", () => {
  const policy = { maxRetries: 2, intervalStart: 0, intervalStep: 0.001, intervalMax: 0.001 };

  function away(options = {}) {
    const app = stage(options);
    let tries = 0;
    app.broker = async () => {
      tries += 1;
      throw new BrokerConnectionError("connection refused");
    };
    const noop = app.task("app.noop", () => 1);
    return { noop, tries: () => tries };
  }

  test("is tried four times in less than half a second unless the policy says otherwise, then it is told", () => {
    const given = { retry: true, maxRetries: 3, intervalStart: 0, intervalStep: 0.2, intervalMax: 0.2 };
    const waits = [1, 2, 3, 4].map((attempt) => publishDelay(attempt, given));
    expect(waits).toEqual([0, 0.2, 0.2, null]);
    expect(publishDelay(1, { ...given, retry: false })).toBeNull();
    expect(publishDelay(1000, { ...given, maxRetries: null })).toBe(0.2);
  });

  test("makes the call fail with OperationalError, which says how often it was tried, and why", async () => {
    const { noop, tries } = away();
    const error = await noop.applyAsync([], { retryPolicy: policy }).catch((caught: unknown) => caught);
    expect(error).toBeInstanceOf(noop.OperationalError);
    expect(error).toMatchObject({ name: "OperationalError", cause: expect.any(BrokerConnectionError) });
    expect((error as OperationalError).message).toContain("could not be published after 3 tries: connection refused");
    expect(tries()).toBe(3);
  });

  test("is tried as the settings say, and once without retry, by the call or by the settings", async () => {
    const bySettings = away({ taskPublishRetryPolicy: { ...policy, maxRetries: 1 } });
    await expect(bySettings.noop.delay()).rejects.toThrow("after 2 tries");
    const [byCall, never] = [away(), away({ taskPublishRetry: false })];
    await expect(byCall.noop.applyAsync([], { retry: false })).rejects.toThrow("after 1 try:");
    await expect(never.noop.delay()).rejects.toThrow("after 1 try:");
    // The call's own policy is laid over the one of the settings, key by key.
    const merged = away({ taskPublishRetryPolicy: policy });
    await expect(merged.noop.applyAsync([], { retryPolicy: { maxRetries: 0 } })).rejects.toThrow("after 1 try:");
  });

  test("is tried for ever where maxRetries is null, until a signal says stop", async () => {
    const { noop, tries } = away();
    const stop = new AbortController();
    const call = noop.applyAsync([], { retryPolicy: { ...policy, maxRetries: null }, signal: stop.signal });
    await until(() => tries() > 10);
    const reason = new Error("enough");
    stop.abort(reason);
    await expect(call).rejects.toBe(reason);
  });

  test("other errors are told at once, unless retryErrors lists them", async () => {
    class Throttled extends Error {}
    let tries = 0;
    const publisher = new Publisher(async () => {
      tries += 1;
      throw new Throttled("slow down");
    });
    const plain = { retry: true, ...policy };
    await expect(publisher.publish([], [], plain)).rejects.toThrow(Throttled);
    expect(tries).toBe(1);
    await expect(publisher.publish([], [], { ...plain, retryErrors: [Throttled] })).rejects.toThrow(Throttled);
    expect(tries).toBe(4);
  });
});
