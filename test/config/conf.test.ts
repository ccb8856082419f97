import { expect, expectTypeOf, test } from "vitest";
import { createConf } from "../../src/config/conf.ts";
import type { RouteStep } from "../../src/config/routes.ts";
import { ImproperlyConfigured } from "../../src/errors.ts";

test("settings are properties in both spellings, to read and to write", () => {
  const conf = createConf();
  expect(conf.taskDefaultQueue).toBe("celery");
  conf.task_default_queue = "mine";
  expect(conf.taskDefaultQueue).toBe("mine");
  conf.taskDefaultQueue = "other";
  expect(conf.task_default_queue).toBe("other");
  expect(conf.get("CELERY_DEFAULT_QUEUE")).toBe("other");
  expectTypeOf(conf.task_default_queue).toEqualTypeOf<string>();
  expectTypeOf(conf.workerConcurrency).toEqualTypeOf<number | null>();
  expectTypeOf(conf.taskRoutes).toEqualTypeOf<readonly RouteStep[] | null>();
});

test("the settings are one frozen object until something changes", () => {
  const conf = createConf({ initial: { taskDefaultQueue: "a" } });
  const before = conf.settings;
  expect(conf.settings).toBe(before);
  conf.update({ taskDefaultQueue: "b" });
  expect(before.taskDefaultQueue).toBe("a");
  expect(conf.settings.taskDefaultQueue).toBe("b");
  expect(Object.isFrozen(conf.settings)).toBe(true);
});

test("nothing is checked before the first look", () => {
  const conf = createConf({ initial: { workerConcurrency: -1 } });
  conf.update({ workerConcurrency: 0 });
  expect(() => conf.settings).toThrow(ImproperlyConfigured);
  conf.workerConcurrency = 2;
  expect(conf.settings.workerConcurrency).toBe(2);
});

test("an update counts more than a config source, flags more than an update, defaults less than all", () => {
  const conf = createConf({ environment: { brokerUrl: "redis://environment" } });
  conf.configFromObject({ worker_concurrency: 2, task_default_queue: "source", broker_url: "redis://source" });
  conf.addDefaults({ taskDefaultQueue: "defaults", resultExpires: 5 });
  conf.addDefaults(() => ({ result_expires: 6 }));
  conf.update({ workerConcurrency: 3 });
  conf.setFlags({ worker_concurrency: 4 });
  expect(conf.settings).toMatchObject({
    workerConcurrency: 4,
    taskDefaultQueue: "source",
    resultExpires: 6,
    brokerUrl: "redis://environment",
  });
});

test("separate updates may use old and new names, one may not", () => {
  const conf = createConf({ initial: { task_serializer: "yaml" } });
  conf.update({ CELERYD_CONCURRENCY: 3 });
  conf.update({ resultExtended: true });
  expect(conf.settings).toMatchObject({ taskSerializer: "yaml", workerConcurrency: 3, resultExtended: true });
  expect(() => conf.update({ CELERYD_CONCURRENCY: 3, task_serializer: "json" })).toThrow("Cannot mix");
});

test("a config source forgets what was set before, but not what the constructor was given", () => {
  const conf = createConf({ initial: { taskDefaultQueue: "constructor" } });
  conf.update({ workerConcurrency: 3 });
  conf.configFromObject({ resultExpires: 7 });
  expect(conf.settings).toMatchObject({ taskDefaultQueue: "constructor", workerConcurrency: null, resultExpires: 7 });
});

test("a source is a module, a class, an instance or a function, asked once and only when needed", () => {
  // biome-ignore lint/complexity/noStaticOnlyClass: a class is one of the forms a configuration may have
  class Base {
    static workerConcurrency = 2;
  }
  class Config extends Base {
    static _private = 1;
    static taskDefaultQueue = "class";
  }
  class Instance {
    result_expires = 9;
    get taskSerializer() {
      return "yaml";
    }
    helper() {}
  }
  const conf = createConf();
  conf.configFromObject(Config);
  expect(conf.settings).toMatchObject({ workerConcurrency: 2, taskDefaultQueue: "class" });
  expect(conf.resolution.warnings).toEqual([]);
  conf.configFromObject(new Instance());
  expect(conf.settings).toMatchObject({ resultExpires: 9, taskSerializer: "yaml", workerConcurrency: null });
  conf.configFromObject({ default: { taskDefaultQueue: "module" }, worker_concurrency: 5, __esModule: true });
  expect(conf.settings).toMatchObject({ taskDefaultQueue: "module", workerConcurrency: 5 });
  let asked = 0;
  conf.configFromObject(() => {
    asked += 1;
    return { taskDefaultQueue: "lazy" };
  });
  expect(asked).toBe(0);
  expect(conf.taskDefaultQueue).toBe("lazy");
  conf.update({ workerConcurrency: 1 });
  expect(conf.workerConcurrency).toBe(1);
  expect(asked).toBe(1);
});

test("with an upper-case namespace only upper-case names with the prefix count", () => {
  const conf = createConf();
  conf.configFromObject(
    {
      CELERY_BROKER_URL: "redis://django",
      CELERY_TASK_ALWAYS_EAGER: true,
      CELERY_IMPORTS: ["a"],
      CELERY_task_serializer: "yaml",
      taskDefaultQueue: "ignored",
      DEBUG: true,
    },
    { namespace: "CELERY" },
  );
  expect(conf.settings).toMatchObject({
    brokerUrl: "redis://django",
    taskAlwaysEager: true,
    imports: ["a"],
    taskSerializer: "json",
    taskDefaultQueue: "celery",
  });
  expect(conf.resolution.warnings).toEqual([]);
});

test("with a lower-case namespace names are as written after it", () => {
  const conf = createConf();
  conf.configFromObject({ tq_worker_concurrency: 3, tq_taskDefaultQueue: "q" }, { namespace: "tq" });
  expect(conf.settings).toMatchObject({ workerConcurrency: 3, taskDefaultQueue: "q" });
});

test("names that are no setting can be read back", () => {
  const conf = createConf({ initial: { my_own_thing: 5 } as object });
  expect(conf.get("my_own_thing")).toBe(5);
  expect((conf as unknown as Record<string, unknown>).my_own_thing).toBe(5);
  expect("my_own_thing" in conf).toBe(true);
  expect("nobodys_thing" in conf).toBe(false);
  expect("taskRoutes" in conf && "task_routes" in conf).toBe(true);
  expect(conf.get("nobodys_thing")).toBeUndefined();
});

test("it is known what was set, be it to the default", () => {
  const conf = createConf({ initial: { task_default_queue: "celery" } });
  expect(conf.isSet("taskDefaultQueue")).toBe(true);
  expect(conf.isSet("CELERY_DEFAULT_QUEUE")).toBe(true);
  expect(conf.isSet("taskSerializer")).toBe(false);
});

test("a configuration can be spread, and awaited without harm", async () => {
  const conf = createConf({ initial: { taskDefaultQueue: "x" } });
  expect({ ...conf }).toEqual(conf.settings);
  expect(await conf).toBe(conf);
});

test("controls cannot be overwritten by accident", () => {
  const conf = createConf();
  expect(() => {
    (conf as unknown as Record<string, unknown>).update = 1;
  }).toThrow(TypeError);
});

test("the table shows what was set under Celery's names, with secrets masked", () => {
  const conf = createConf({
    initial: {
      brokerUrl: ["redis://:secret@a/0", "redis://:secret@b"],
      resultBackend: "redis://me:secret@h/1",
      redisPassword: "secret",
      securityKey: "/etc/secret.pem",
      databaseUrl: "mysql://me:secret@h/x",
      brokerTransportOptions: { sentinelKwargs: { password: "secret" }, region: "eu" },
      taskDefaultRoutingKey: "key",
      taskRoutes: { "feed.*": { queue: "feeds" } },
      workerConcurrency: 2,
      my_api_token: "secret",
    } as object,
  });
  expect(conf.table()).toEqual({
    broker_url: ["redis://:**@a/0", "redis://:**@b"],
    result_backend: "redis://me:**@h/1",
    redis_password: "********",
    security_key: "********",
    database_url: "********",
    broker_transport_options: { sentinelKwargs: { password: "********" }, region: "eu" },
    task_default_routing_key: "********",
    task_routes: { "feed.*": { queue: "feeds" } },
    worker_concurrency: 2,
    my_api_token: "********",
  });
  expect(conf.table({ censored: false })).toMatchObject({ redis_password: "secret" });
  expect(conf.humanize()).not.toContain("secret");
});

test("the text has a line for each setting, all of them when asked", () => {
  const conf = createConf({ initial: { taskDefaultQueue: "a", taskRoutes: () => null } });
  expect(conf.humanize().split("\n").sort()).toEqual(['task_default_queue: "a"', "task_routes: <function taskRoutes>"]);
  const all = conf.humanize({ withDefaults: true });
  expect(all).toContain("result_expires: 86400");
  expect(all).toContain("result_backend_max_retries: inf");
  expect(all.split("\n").length).toBeGreaterThan(198);
});
