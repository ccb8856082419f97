import { readFileSync } from "node:fs";
import { join } from "node:path";
import { trace } from "@opentelemetry/api";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { createMemoryBroker } from "../../src/broker/memory/broker.ts";
import { tracing } from "../../src/task/tracing.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

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
const [producer, consumer] = [3, 4];

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
  const outer = await find("traced.outer", consumer as number);
  const published = await find("wire.add", producer as number);
  const inner = await find("wire.add", consumer as number);
  const failed = await find("wire.fail", consumer as number);
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
