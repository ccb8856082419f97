import { readFileSync } from "node:fs";
import { join } from "node:path";
import { trace } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { createMemoryBroker } from "../../src/broker/memory/broker.ts";
import { tracing } from "../../src/task/tracing.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { startChild } from "../helpers/child.ts";
import { celeryBin, describeWith, freshRedis } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { pythonEnv, pythonFolder, startCeleryWorker, startWorker } from "../helpers/worker.ts";

interface SpanLine {
  readonly name: string;
  readonly kind: number;
  readonly status: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parent: string | null;
  readonly attributes: Readonly<Record<string, unknown>>;
}

/** By OpenTelemetry's numbers. */
const [producing, consuming] = [3, 4] as const;

test("without an SDK nothing is loaded, and messages carry no trace", async () => {
  expect(tracing()).toBeNull();
  const app = new Tq("quiet", { broker: "memory://untraced", backend: "memory://untraced" });
  const broker = createMemoryBroker("memory://untraced", { transportOptions: {}, maxBodySize: 1e6 } as never);
  await broker.connect();
  await app.sendTask("any.task");
  const message = await broker.peek("celery");
  expect(message?.headers).toMatchObject({ task: "any.task" });
  expect(Object.keys(message?.headers ?? {})).not.toContain("traceparent");
  await app.close();
  await broker.close();
  // Looking at the API, as this test does, is no SDK.
  expect(trace.getActiveSpan()).toBeUndefined();
});

test("a trace goes on from whoever sent the message through the worker to what its tasks send", async () => {
  const kind = brokerKinds[0] as (typeof brokerKinds)[number];
  await using broker = await kind.make();
  await using folder = await temporaryFolder();
  const file = folder.file("spans");
  const settings = { taskDefaultQueue: broker.queue };
  await using worker = startWorker({
    app: join(root, "test", "apps", "traced.ts"),
    env: { ...broker.env, TQ_SETTINGS: JSON.stringify(settings), SPAN_FILE: file },
    args: ["-c", "1"],
  });
  await worker.ready();
  await using app = new Tq("client", {
    broker: broker.env.TQ_BROKER_URL,
    backend: broker.env.TQ_RESULT_BACKEND,
    ...settings,
  });
  // As Celery's instrumentation for Python writes it: beside the headers of the task.
  const [traceId, parent] = ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"];
  const headers = { traceparent: `00-${traceId}-${parent}-01` };
  const result = await app.sendTask<string>("traced.outer", [], { headers });
  expect(await result.get({ timeout: 20 })).toBe(traceId);
  await app.sendTask("wire.fail", ["broken"], { headers });
  const spans = (): SpanLine[] =>
    readFileSync(file, "utf8")
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
  const find = (task: string, kindOfSpan: number): Promise<SpanLine> =>
    until(() => spans().find((span) => span.attributes["celery.task_name"] === task && span.kind === kindOfSpan), {
      message: `a span of ${task}`,
    });
  const outer = await find("traced.outer", consuming);
  const published = await find("wire.add", producing);
  const inner = await find("wire.add", consuming);
  const failed = await find("wire.fail", consuming);
  expect([outer, published, inner, failed].map((span) => span.traceId)).toEqual(Array(4).fill(traceId));
  expect([outer.parent, published.parent, inner.parent, failed.parent]).toEqual([
    parent,
    outer.spanId,
    published.spanId,
    parent,
  ]);
  expect(outer).toMatchObject({
    name: `process ${broker.queue}`,
    attributes: {
      "messaging.system": "celery",
      "messaging.operation.name": "process",
      "messaging.operation.type": "process",
      "messaging.destination.name": broker.queue,
      "messaging.message.id": result.id,
      "celery.state": "SUCCESS",
    },
  });
  expect(published).toMatchObject({
    name: `publish ${broker.queue}`,
    attributes: { "messaging.operation.type": "send" },
  });
  expect(failed).toMatchObject({ status: 2, attributes: { "error.type": "ValueError", "celery.state": "FAILURE" } });
});

describeWith(["redis-server", "celery"], "traces with Celery's own instrumentation", () => {
  test("one trace goes from a Python producer through a tq worker to a Python worker", async () => {
    await using redis = await freshRedis();
    await using folder = await temporaryFolder();
    const file = folder.file("spans");
    const env = { TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: `${redis.url}/1`, SPAN_FILE: file };
    await using python = startCeleryWorker({ app: "traced", env, args: ["-P", "solo", "-Q", "for-python"] });
    await using worker = startWorker({
      app: join(root, "test", "apps", "traced.ts"),
      env,
      args: ["-c", "1", "-Q", "for-tq"],
    });
    await Promise.all([worker.ready(), python.ready({ timeout: 60 })]);
    await using producer = startChild(join(celeryBin(), "python"), ["traced.py", "for-tq"], {
      cwd: pythonFolder,
      env: pythonEnv(env),
    });
    expect(await producer.exited, producer.output).toMatchObject({ code: 0 });
    const find = (name: string) =>
      until(
        () =>
          readFileSync(file, "utf8")
            .split("\n")
            .filter(Boolean)
            .map((line) => JSON.parse(line) as SpanLine)
            .find((span) => span.name === name),
        { timeout: 20, message: name },
      );
    const sent = await find("apply_async/traced.across");
    const processed = await find("process for-tq");
    const published = await find("publish for-python");
    const ran = await find("run/wire.mul");
    expect([sent.kind, processed.kind, published.kind, ran.kind]).toEqual([producing, consuming, producing, consuming]);
    expect([sent.parent, processed.parent, published.parent, ran.parent]).toEqual([
      null,
      sent.spanId,
      processed.spanId,
      published.spanId,
    ]);
    expect(new Set([sent, processed, published, ran].map(({ traceId }) => traceId)).size).toBe(1);
  });
});
