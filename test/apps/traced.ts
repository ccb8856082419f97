import { appendFileSync } from "node:fs";
import { context, propagation, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { BasicTracerProvider, type ReadableSpan, SimpleSpanProcessor } from "@opentelemetry/sdk-trace-base";
import { createWire } from "./wire-tasks.ts";

/** Writes each span into the file SPAN_FILE, a line of JSON for each. */
const exporter = {
  export(spans: readonly ReadableSpan[], done: (result: { code: number }) => void): void {
    for (const span of spans) {
      const { traceId, spanId } = span.spanContext();
      const parent = span.parentSpanContext?.spanId ?? null;
      const { name, kind, attributes, status } = span;
      const line = JSON.stringify({ name, kind, attributes, status: status.code, traceId, spanId, parent });
      appendFileSync(process.env.SPAN_FILE ?? "", `${line}\n`);
    }
    done({ code: 0 });
  },
  shutdown: async (): Promise<void> => undefined,
};

context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
propagation.setGlobalPropagator(new W3CTraceContextPropagator());
trace.setGlobalTracerProvider(new BasicTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] }));

/** The wire tasks, in a process that traces. */
export const { app } = createWire(process.env);

export const outer = app.task("traced.outer", async () => {
  await app.sendTask("wire.add", [1, 2]);
  return trace.getActiveSpan()?.spanContext().traceId;
});

/** Called from Python, and calls what runs there. */
export const across = app.task("traced.across", async () => {
  await app.sendTask("wire.mul", [6, 7], { queue: "for-python" });
  return trace.getActiveSpan()?.spanContext().traceId;
});
