import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Job } from "../../src/execution/job.ts";
import { shouldRetire } from "../../src/pool/crew/recycle.ts";
import {
  encodeFromChild,
  encodeToChild,
  type FromChild,
  FromChildReader,
  type ToChild,
  ToChildReader,
} from "../../src/pool/prefork/ipc.ts";
import { MessageOfBytes } from "../../src/protocol/message-of-bytes.ts";
import { createTaskHeaders } from "../../src/protocol/task-message.ts";

const job = (headers: Record<string, unknown> = {}, body = "W10="): Job => ({
  message: {
    headers: { ...createTaskHeaders({ task: "proj.add", id: "id-1" }), ...headers },
    properties: { correlation_id: "id-1", priority: 3 },
    contentType: "application/json",
    contentEncoding: "utf-8",
    body,
  },
  address: { exchange: "", routingKey: "celery" },
  queue: "celery",
  redelivered: true,
  hostname: "w@host",
  timeLimit: 5,
  softTimeLimit: null,
});

const ofBytes = (body: string) =>
  new MessageOfBytes(job().message, Buffer.from(body)) as unknown as ReturnType<typeof job>["message"];

const record = (body: string) => ({
  taskId: "id-1",
  state: "SUCCESS",
  contentType: "application/json",
  contentEncoding: "utf-8",
  body,
  binary: false,
  replyTo: "reply",
  correlationId: null,
});

/** A message as it comes out at the other end. */
const plain = (frame: ToChild): ToChild =>
  frame.kind === "run" ? { ...frame, job: { ...frame.job, message: { ...frame.job.message } } } : frame;

/** Sends the frames as bytes cut anywhere, as a socket may. */
function throughSocket(
  pieces: readonly (string | Buffer)[],
  cuts: readonly number[],
  push: (chunk: Buffer) => void,
): void {
  const bytes = Buffer.concat(pieces.map((piece) => Buffer.from(piece as string)));
  const places = [...new Set(cuts.map((cut) => cut % (bytes.length + 1)))].sort((a, b) => a - b);
  let from = 0;
  for (const to of [...places, bytes.length]) {
    push(bytes.subarray(from, to));
    from = to;
  }
}

describe("frames between parent and child", () => {
  const toChild: readonly ToChild[] = [
    { kind: "run", seq: 1, job: job() },
    { kind: "run", seq: 2, job: job({ tenant: "ümläut\n", big: 2n ** 70n, __proto__x: 1 }, "") },
    { kind: "run", seq: 3, job: job({}, "QUJD".repeat(5_000)) },
    { kind: "run", seq: 4, job: { ...job(), message: ofBytes("QUJD".repeat(2_000)) } },
    { kind: "report" },
    { kind: "exit" },
  ];
  const fromChild: readonly FromChild[] = [
    { kind: "ready", listensToUsr1: true },
    { kind: "report", report: { rss: 1, heap: 2, waitsFor: { Timeout: 1 } } },
    { kind: "accepted", seq: 7 },
    {
      kind: "done",
      seq: 7,
      outcome: { kind: "success", runtime: 0.5, result: "'ü'", record: record('{"result": "ü"}') },
    },
    {
      kind: "done",
      seq: 8,
      outcome: { kind: "success", runtime: 0, result: "", record: record("status: SUCCESS\nresult: 1\n") },
    },
    { kind: "done", seq: 9, outcome: { kind: "ignore", runtime: 0 } },
    { kind: "log", level: "warn", message: "two\nlines", fields: { taskId: "id-1", size: 2n ** 64n } },
    { kind: "failed", message: "cannot\nload" },
  ];

  test("arrive as they were, however the bytes were cut", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(40_000), { maxLength: 12 }), (cuts) => {
        const down: ToChild[] = [];
        const reader = new ToChildReader((frame) => down.push(frame));
        throughSocket(toChild.flatMap(encodeToChild), cuts, (chunk) => reader.push(chunk));
        expect(down).toEqual(toChild.map(plain));
        const up: FromChild[] = [];
        const parent = new FromChildReader((frame) => up.push(frame));
        throughSocket(fromChild.map(encodeFromChild), cuts, (chunk) => parent.push(chunk));
        expect(up).toEqual(fromChild);
      }),
      { numRuns: 200 },
    );
  });

  test("carry a body and a document untouched: neither is escaped", () => {
    expect(encodeToChild({ kind: "run", seq: 1, job: job({}, "QUJD") }).join("")).toMatch(/\nQUJD$/);
    const done = encodeFromChild({
      kind: "done",
      seq: 1,
      outcome: { kind: "success", runtime: 0, result: "1", record: record('{"a": "b"}') },
    });
    expect(done).toMatch(/\n\{"a": "b"\}\n$/);
  });
});

describe("a child retires", () => {
  test.each([
    [{ tasks: 5, rss: 0 }, { maxTasks: 5, maxMemory: null }, true],
    [{ tasks: 4, rss: 0 }, { maxTasks: 5, maxMemory: null }, false],
    [{ tasks: 1, rss: 1025 * 1024 }, { maxTasks: null, maxMemory: 1024 }, true],
    [{ tasks: 1, rss: 1024 * 1024 }, { maxTasks: null, maxMemory: 1024 }, false],
    [{ tasks: 1_000_000, rss: 2 ** 40 }, { maxTasks: null, maxMemory: null }, false],
    [{ tasks: 1_000_000, rss: 2 ** 40 }, { maxTasks: 0, maxMemory: 0 }, false],
  ])("%j under %j: %s", (done, limits, retires) => {
    expect(shouldRetire(done, limits)).toBe(retires);
  });
});
