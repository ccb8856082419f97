"""The wire tasks in a process that traces, by OpenTelemetry's own instrumentation of Celery.

Each span goes into the file SPAN_FILE, a line of JSON for each, as test/apps/traced.ts writes them.
As a worker: `celery -A traced worker`; as a producer: `python traced.py QUEUE` calls traced.across.
"""

import json
import os
import sys

from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from wire import app, append


class FileExporter(SpanExporter):
    def export(self, spans):
        for span in spans:
            line = {
                "name": span.name,
                "kind": span.kind.value,
                "status": span.status.status_code.value,
                "attributes": {key: str(value) for key, value in (span.attributes or {}).items()},
                "traceId": trace.format_trace_id(span.context.trace_id),
                "spanId": trace.format_span_id(span.context.span_id),
                "parent": trace.format_span_id(span.parent.span_id) if span.parent else None,
            }
            append(os.environ["SPAN_FILE"], json.dumps(line))
        return SpanExportResult.SUCCESS


provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
trace.set_tracer_provider(provider)
CeleryInstrumentor().instrument()


@app.task(name="traced.across")
def across():
    """Runs on tq's side; here it is only known, so that the span of its call ends."""


if __name__ == "__main__":
    print(across.apply_async(queue=sys.argv[1]).id)
