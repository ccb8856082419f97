import { expect, test } from "vitest";
import { settingsFromArguments } from "../../src/config/arguments.ts";
import { effectiveBrokerUrls, effectiveResultBackend } from "../../src/config/effective.ts";
import { resolve, resolveSettings, settingsFromEnvironment } from "../../src/config/resolve.ts";
import { defaultSettings } from "../../src/config/settings.ts";
import { verifiedTls } from "../../src/config/tls.ts";
import { ImproperlyConfigured } from "../../src/errors.ts";

/** The message of the error a piece of configuration is refused with. */
function refusal(runtime: Record<string, unknown>): string {
  try {
    resolve({ runtime });
  } catch (error) {
    expect(error).toBeInstanceOf(ImproperlyConfigured);
    return (error as Error).message;
  }
  throw new Error(`accepted: ${JSON.stringify(runtime)}`);
}

test("without configuration everything is as by default", () => {
  expect(resolveSettings({})).toEqual(defaultSettings);
});

test("camel case, snake case and the names before Celery 4 mean the same", () => {
  for (const runtime of [{ taskAlwaysEager: "yes" }, { task_always_eager: 1 }, { CELERY_ALWAYS_EAGER: true }]) {
    expect(resolveSettings({ runtime }).taskAlwaysEager).toBe(true);
  }
  expect(resolveSettings({ source: { BROKER_URL: "memory://", CELERYD_CONCURRENCY: "3" } })).toMatchObject({
    brokerUrl: "memory://",
    workerConcurrency: 3,
  });
});

test("a stronger layer wins, whatever the spelling, and leaves the rest alone", () => {
  const settings = resolveSettings({
    flags: { workerConcurrency: 5 },
    environment: { brokerUrl: "redis://environment" },
    runtime: { worker_concurrency: 4, taskDefaultQueue: "runtime", brokerUrl: "redis://runtime" },
    source: { CELERYD_CONCURRENCY: 2, BROKER_URL: "redis://source", CELERY_TIMEZONE: "Europe/Berlin" },
    defaults: { timezone: "UTC", resultExtended: true },
  });
  expect(settings).toMatchObject({
    workerConcurrency: 5,
    taskDefaultQueue: "runtime",
    brokerUrl: "redis://environment",
    timezone: "Europe/Berlin",
    resultExtended: true,
  });
});

test("undefined says nothing, null does", () => {
  const settings = resolveSettings({
    defaults: { resultExpires: 60, taskDefaultQueue: "a" },
    runtime: { resultExpires: null, taskDefaultQueue: undefined },
  });
  expect(settings.resultExpires).toBeNull();
  expect(settings.taskDefaultQueue).toBe("a");
});

test("settings are frozen, and what the user gave is neither frozen nor shared", () => {
  const given = { brokerTransportOptions: { visibilityTimeout: 60 }, acceptContent: ["json", "yaml"] };
  const settings = resolveSettings({ runtime: given });
  expect(Object.isFrozen(settings)).toBe(true);
  expect(Object.isFrozen(settings.brokerTransportOptions)).toBe(true);
  expect(Object.isFrozen(settings.acceptContent)).toBe(true);
  given.brokerTransportOptions.visibilityTimeout = 1;
  given.acceptContent.push("pickle");
  expect(settings.brokerTransportOptions).toEqual({ visibility_timeout: 60 });
  expect(settings.acceptContent).toEqual(["json", "yaml"]);
});

test("a wrong value is refused by key, rule, value, place and way out", () => {
  expect(refusal({ worker_concurrency: "many" })).toBe(
    'workerConcurrency (worker_concurrency) must be a whole number, 1 or more, or null, got "many" from the app: ' +
      "leave it out for the default, null",
  );
  expect(refusal({ taskDefaultRateLimit: "10/day" })).toContain('set it to something like "100/m"');
});

test.each([
  [{ workerConcurrency: 0 }, "1 or more"],
  [{ resultExpires: -1 }, "0 or more"],
  [{ acceptContent: 7 }, "a list of texts"],
  [{ taskSerializer: null }, "not empty"],
  [{ timezone: "Mars/Olympus" }, "IANA"],
  [{ taskProtocol: 3 }, "1 or 2"],
  [{ brokerTransportOptions: "x=1" }, "an object"],
  [{ brokerUrl: [] }, "a list of URLs"],
  [{ brokerUrl: "sqs://x" }, "there is no broker for sqs://"],
  [{ resultBackend: "mongodb://x" }, "there is no result backend for mongodb://"],
  [{ taskDefaultExchangeType: "headers" }, "headers exchanges are not supported"],
  [{ taskPublishRetryPolicy: { max_retries: -1 } }, "maxRetries"],
  [{ taskRoutes: "proj.Router" }, "import the function and give it itself"],
  [{ taskRoutes: { "a.b": 5 } }, "the route of taskRoutes a.b"],
  [{ taskRoutes: [5] }, "[pattern, route] pairs"],
  [{ taskQueues: [{ maxPriority: 1 }] }, "has no name"],
  [{ taskQueues: [{ name: "a", maxPrioritee: 1 }] }, "did you mean maxPriority?"],
  [{ taskQueues: { a: { expires: "soon" } } }, 'expires of queue "a"'],
  [{ taskQueues: ["a", { name: "a" }] }, "twice"],
  [{ taskQueues: [{ name: "a", bindings: [] }] }, "not supported yet"],
  [{ brokerUseSsl: { cert_reqs: "perhaps" } }, "cert_reqs"],
  [{ workerUnknownTasks: "ignore" }, "deadletter, discard"],
  [{ workerMaxBodySize: "huge" }, "bytes"],
  [{ workerRedirectStdoutsLevel: "LOUD" }, "DEBUG, INFO"],
] as const)("%j is refused", (runtime, hint) => {
  expect(refusal(runtime)).toContain(hint);
  expect(refusal(runtime)).toContain(Object.keys(runtime)[0]);
});

test("several wrong values are told at once", () => {
  const message = refusal({ workerConcurrency: -1, resultExpires: "x" });
  expect(message).toMatch(/^2 settings cannot be used:/);
  expect(message).toContain("workerConcurrency");
  expect(message).toContain("resultExpires");
});

test("no refusal shows a secret", () => {
  expect(refusal({ brokerUrl: "redis://:s3cret@h/zero" })).not.toContain("s3cret");
  expect(refusal({ redisPassword: ["s3cret"] })).not.toContain("s3cret");
  expect(refusal({ brokerUrl: ["redis://:s3cret@h", 5] })).not.toContain("s3cret");
});

test("mixing new names with old ones is refused, with the renames of the minority", () => {
  expect(() =>
    resolve({ source: { task_serializer: "json", result_serializer: "json", CELERYD_CONCURRENCY: 1 } }),
  ).toThrow(
    /^Cannot mix new and old setting keys in the config source[\s\S]*\n {2}CELERYD_CONCURRENCY +-> worker_concurrency$/,
  );
  expect(() =>
    resolve({ source: { task_serializer: "json", BROKER_URL: "memory://", CELERYD_CONCURRENCY: 1 } }),
  ).toThrow(
    /^Cannot mix new setting names with old setting names[\s\S]*\n {2}task_serializer +-> CELERY_TASK_SERIALIZER\n/,
  );
});

test("a setting that stands there by both names is no mixture, and the new name counts", () => {
  const source = { result_expires: 60, CELERY_TASK_RESULT_EXPIRES: 30 };
  expect(resolveSettings({ source }).resultExpires).toBe(60);
});

test("different layers may use different names", () => {
  expect(() => resolve({ source: { BROKER_URL: "memory://" }, runtime: { task_serializer: "json" } })).not.toThrow();
});

test("an unknown name is kept, and told with what may have been meant", () => {
  const { unknown, warnings } = resolve({
    runtime: { task_default_que: "a", colour: "red", taskAckLate: true },
    source: { DEBUG: true, helper: () => 1, CELERY_ALWAYS_EAGR: true },
  });
  expect({ ...unknown }).toMatchObject({ task_default_que: "a", colour: "red", DEBUG: true });
  expect(warnings).toEqual([
    'unknown setting "CELERY_ALWAYS_EAGR": did you mean CELERY_ALWAYS_EAGER?',
    'unknown setting "task_default_que": did you mean task_default_queue?',
    'unknown setting "colour": tq does not read it',
    'unknown setting "taskAckLate": did you mean taskAcksLate?',
  ]);
});

test("a name such as __proto__ is an unknown name and nothing else", () => {
  const { settings, unknown } = resolve({
    runtime: JSON.parse('{"__proto__": {"taskAlwaysEager": true}, "constructor": 1}'),
  });
  expect(settings.taskAlwaysEager).toBe(false);
  expect(Object.keys(unknown).sort()).toEqual(["__proto__", "constructor"]);
});

test("a setting without effect yet says so when it is changed, and only then", () => {
  const { notices } = resolve({
    runtime: { worker_timer: "my.Timer", workerAgent: null, beatSchedule: {}, taskSerializer: "yaml" },
  });
  expect(notices).toHaveLength(1);
  expect(notices[0]).toMatch(/^worker_timer is not honoured yet by tq \d+\.\d+\.\d+: /);
});

test("a setting Celery has and never reads says so, and what to do instead", () => {
  const { notices } = resolve({ runtime: { result_compression: "gzip" } });
  expect(notices).toEqual([
    expect.stringMatching(
      /^result_compression changes nothing: no result store of Celery's reads it.*resultSerializer/,
    ),
  ]);
});

test("the environment speaks for tq first, then for Celery; empty variables say nothing", () => {
  expect(
    settingsFromEnvironment({
      TQ_BROKER_URL: "redis://tq",
      CELERY_BROKER_URL: "redis://celery",
      CELERY_RESULT_BACKEND: "rpc://",
      TQ_BROKER_READ_URL: "",
      PATH: "/bin",
    }),
  ).toEqual({ brokerUrl: "redis://tq", resultBackend: "rpc://" });
});

test("key=value words of a command line become settings", () => {
  const words = [
    "worker.prefetch_multiplier=1",
    ".concurrency=(int)3",
    "task_always_eager=on",
    'beat.schedule=(dict){"a": {}}',
    "accept_content=json,yaml",
    "result_expires=none",
  ];
  expect(resolveSettings({ flags: settingsFromArguments(words) })).toMatchObject({
    workerPrefetchMultiplier: 1,
    workerConcurrency: 3,
    taskAlwaysEager: true,
    beatSchedule: { a: {} },
    acceptContent: ["json", "yaml"],
    resultExpires: null,
  });
  for (const word of ["nonsense", "=1", "a=(list)[", "a=(wat)1"]) {
    expect(() => settingsFromArguments([word])).toThrow("Unable to parse extra configuration from command line.");
  }
});

test("with nothing set, messages and results live in one embedded file", () => {
  expect(effectiveBrokerUrls(defaultSettings)).toEqual(["sqlite://./.tq/tq.db"]);
  expect(effectiveResultBackend(defaultSettings)).toBe("sqlite://./.tq/tq.db");
});

test("with a broker and no result backend, results are not kept", () => {
  expect(effectiveResultBackend(resolveSettings({ runtime: { brokerUrl: "redis://" } }))).toBe("disabled://");
  expect(effectiveResultBackend(resolveSettings({ runtime: { brokerHost: "h" } }))).toBe("disabled://");
  expect(effectiveResultBackend(resolveSettings({ runtime: { brokerUrl: "redis://", resultBackend: "rpc" } }))).toBe(
    "rpc",
  );
});

test("reading and writing may have brokers of their own", () => {
  const settings = resolveSettings({ runtime: { brokerUrl: "redis://a;redis://b", brokerWriteUrl: ["redis://c"] } });
  expect(effectiveBrokerUrls(settings, "read")).toEqual(["redis://a", "redis://b"]);
  expect(effectiveBrokerUrls(settings, "write")).toEqual(["redis://c"]);
  expect(effectiveBrokerUrls(settings)).toEqual(["redis://a", "redis://b"]);
});

test("a broker in parts becomes a URL", () => {
  const runtime = {
    brokerTransport: "redis",
    brokerHost: "h",
    brokerPort: 6380,
    brokerUser: "me",
    brokerPassword: "p@ss",
    brokerVhost: "/3",
  };
  expect(effectiveBrokerUrls(resolveSettings({ runtime }))).toEqual(["redis://me:p%40ss@h:6380/3"]);
  expect(effectiveBrokerUrls(resolveSettings({ runtime: { brokerHost: "h", brokerVhost: "/" } }))).toEqual([
    "amqp://h/%2F",
  ]);
  expect(effectiveBrokerUrls(resolveSettings({ runtime: { brokerTransport: "memory" } }))).toEqual(["memory://"]);
});

test("options in the form the program reads", () => {
  expect(
    resolveSettings({
      runtime: {
        brokerUseSsl: true,
        redisBackendUseSsl: { ssl_cert_reqs: "CERT_NONE" },
        taskPublishRetryPolicy: { max_retries: null, intervalMax: "5" },
        workerMaxMemoryPerChild: "200MiB",
        workerMaxBodySize: "1 MiB",
        taskDefaultDeliveryMode: "transient",
        resultBackendMaxRetries: "inf",
        workerRedirectStdoutsLevel: "error",
      },
    }),
  ).toMatchObject({
    brokerUseSsl: verifiedTls,
    redisBackendUseSsl: { ...verifiedTls, rejectUnauthorized: false, checkHostname: false },
    taskPublishRetryPolicy: { maxRetries: null, intervalStart: 0, intervalStep: 0.2, intervalMax: 5 },
    workerMaxMemoryPerChild: 204_800,
    workerMaxBodySize: 1_048_576,
    taskDefaultDeliveryMode: 1,
    resultBackendMaxRetries: Number.POSITIVE_INFINITY,
    workerRedirectStdoutsLevel: "ERROR",
  });
});
