import type { ResultRecord } from "../../backend/record.ts";
import type { Job } from "../../execution/job.ts";
import type { Completed } from "../../execution/outcome.ts";
import type { LogLevel } from "../../log.ts";
import { MessageOfBytes } from "../../protocol/message-of-bytes.ts";
import type { TaskMessage } from "../../protocol/task-message.ts";
import { parseWireJson, writeWireJson } from "../../protocol/wire-json.ts";
import type { ProcessReport } from "../../system/process-report.ts";
import { BufferPool } from "../../util/buffer-pool.ts";
import type { AbandonReason } from "../crew/member.ts";

/**
 * The language between the parent and one child, over a pair of sockets for each direction: lines, each with its kind
 * as first letter. What is large and already text follows its line and is neither escaped nor parsed
 * on the way: the body of a message as so many bytes, the document of a result as a line of its own.
 */
export type ToChild =
  | { readonly kind: "run"; readonly seq: number; readonly job: Job }
  | { readonly kind: "abandon"; readonly seq: number; readonly reason: AbandonReason }
  | { readonly kind: "report" }
  | { readonly kind: "exit" };

/** Child to parent: two in the life of a task, `accepted` and `done`. */
export type FromChild =
  /** With whether anybody in it listens to SIGUSR1. */
  | { readonly kind: "ready"; readonly listensToUsr1: boolean }
  /** It could not start; its exit follows. */
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "accepted"; readonly seq: number }
  | { readonly kind: "done"; readonly seq: number; readonly outcome: Completed }
  | { readonly kind: "abandoned"; readonly seq: number; readonly ended: boolean }
  /** The answer to the same question. */
  | { readonly kind: "report"; readonly report: ProcessReport }
  | {
      readonly kind: "log";
      readonly level: string;
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

/** What a child is told at birth, through its environment. */
export interface ChildBirth {
  readonly hostname: string;
  readonly index: number;
  readonly name: string;
  readonly appSpec: string;
  readonly cwd: string;
  readonly include: readonly string[];
  readonly loglevel: string;
  /** File the worker logs to; null for standard error. */
  readonly logfile: string | null;
  /** Level at which what tasks print is logged; null leaves it to the standard streams. */
  readonly redirect: LogLevel | null;
  /** Tasks it runs at once. */
  readonly slots: number;
  /** Whether it takes a token before it begins a job. */
  readonly claims: boolean;
  /** Settings given on the command line, which win over the app's own. */
  readonly overrides: Readonly<Record<string, unknown>>;
}

export const birthVariable = "TQ_CHILD";

/** The child's end of what it shares with its parent; the pipe of tokens is there only where there is one. */
export const childFds = { answers: 3, orders: 4, claims: 5 } as const;

const letters = {
  run: "r",
  exit: "x",
  abandon: "b",
  abandoned: "B",
  ready: "y",
  failed: "f",
  accepted: "a",
  done: "d",
  doneWithRecord: "D",
  log: "l",
  report: "s",
} as const;

/** Characters from which a body is written by itself, as bytes: as text it would be copied twice more. */
const largeBody = 8192;

/** Pieces to be written one after the other. */
export function encodeToChild(frame: ToChild): readonly (string | Buffer)[] {
  if (frame.kind === "exit") return [`${letters.exit}\n`];
  if (frame.kind === "report") return [`${letters.report}\n`];
  if (frame.kind === "abandon") return [`${letters.abandon}${print([frame.seq, frame.reason])}\n`];
  const { job } = frame;
  const { headers, properties, contentType, contentEncoding } = job.message;
  const bytes = MessageOfBytes.bytesOf(job.message);
  const body = bytes ?? job.message.body;
  const head = print([
    frame.seq,
    Buffer.byteLength(body),
    headers,
    properties,
    contentType,
    contentEncoding,
    job.address,
    job.queue,
    job.redelivered,
    job.hostname,
    job.timeLimit,
    job.softTimeLimit,
  ]);
  if (bytes !== undefined) return [`${letters.run}${head}\n`, bytes];
  if (body.length >= largeBody) return [`${letters.run}${head}\n`, Buffer.from(body)];
  return [`${letters.run}${head}\n${body}`];
}

export function encodeFromChild(frame: FromChild): string {
  switch (frame.kind) {
    case "accepted":
      return `${letters.accepted}${frame.seq}\n`;
    case "done": {
      const { outcome, seq } = frame;
      if (!("record" in outcome) || outcome.record === null) return `${letters.done}${print([seq, outcome])}\n`;
      const { body, ...record } = outcome.record;
      // A line break in the document itself (YAML) would end the line: such a one is escaped after all.
      if (body.includes("\n")) return `${letters.done}${print([seq, outcome])}\n`;
      return `${letters.doneWithRecord}${print([seq, { ...outcome, record: null }, record])}\n${body}\n`;
    }
    case "abandoned":
      return `${letters.abandoned}${print([frame.seq, frame.ended])}\n`;
    case "report":
      return `${letters.report}${print(frame.report)}\n`;
    case "ready":
      return `${letters.ready}${print(frame.listensToUsr1)}\n`;
    case "failed":
      return `${letters.failed}${print([frame.message])}\n`;
    case "log":
      return `${letters.log}${print([frame.level, frame.message, frame.fields])}\n`;
  }
}

/** Reads the frames a child gets out of a stream of bytes, and keeps none of those it is given. */
export class ToChildReader {
  readonly #onFrame: (frame: ToChild) => void;
  readonly #pool = new BufferPool();
  /** A line that has not ended yet. */
  #line: Buffer[] = [];
  #head: RunHead | undefined;
  /** The body that follows it, as far as it has come. */
  #body: Buffer = nothing;
  #filled = 0;

  constructor(onFrame: (frame: ToChild) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) at = this.#head === undefined ? this.#readLine(chunk, at) : this.#readBody(chunk, at);
  }

  /** The body of this job has been decoded: the next one may come to lie where it was. */
  forgetBody({ message }: Job): void {
    const body = MessageOfBytes.takeBytes(message);
    if (body !== undefined) this.#pool.giveBack(body);
  }

  #readLine(chunk: Buffer, start: number): number {
    const end = chunk.indexOf(10, start);
    if (end < 0) {
      this.#line.push(Buffer.from(chunk.subarray(start)));
      return chunk.length;
    }
    this.#onLine(this.#line.length === 0 ? chunk.subarray(start, end) : this.#wholeLine(chunk.subarray(start, end)));
    return end + 1;
  }

  #wholeLine(last: Buffer): Buffer {
    const line = Buffer.concat([...this.#line, last]);
    this.#line = [];
    return line;
  }

  #onLine(line: Buffer): void {
    const letter = String.fromCharCode(line[0] as number);
    if (letter === letters.exit) return this.#onFrame({ kind: "exit" });
    if (letter === letters.report) return this.#onFrame({ kind: "report" });
    if (letter === letters.run) return this.#begin(parseWireJson(line.toString("utf8", 1)) as RunHead);
    const [seq, reason] = JSON.parse(line.toString("utf8", 1)) as [number, AbandonReason];
    this.#onFrame({ kind: "abandon", seq, reason });
  }

  #begin(head: RunHead): void {
    this.#head = head;
    this.#body = head[1] >= largeBody ? this.#pool.take(head[1]) : Buffer.allocUnsafe(head[1]);
    this.#filled = 0;
    if (head[1] === 0) this.#end(head);
  }

  #readBody(chunk: Buffer, start: number): number {
    const copied = chunk.copy(this.#body, this.#filled, start);
    this.#filled += copied;
    if (this.#filled === this.#body.length) this.#end(this.#head as RunHead);
    return start + copied;
  }

  #end(head: RunHead): void {
    const body = this.#body;
    this.#head = undefined;
    this.#body = nothing;
    this.#onFrame({ kind: "run", seq: head[0], job: jobOf(head, body) });
  }
}

const nothing = Buffer.alloc(0);

/** Reads the frames a parent gets out of a stream of bytes. */
export class FromChildReader {
  readonly #lines: LineSplitter;

  constructor(onFrame: (frame: FromChild) => void) {
    let done: [number, Completed, Omit<ResultRecord, "body">] | undefined;
    this.#lines = new LineSplitter((line) => {
      if (done !== undefined) {
        const [seq, outcome, record] = done;
        done = undefined;
        onFrame({
          kind: "done",
          seq,
          outcome: { ...outcome, record: { ...record, body: line.toString("utf8") } } as Completed,
        });
        return;
      }
      const rest = line.toString("utf8", 1);
      switch (String.fromCharCode(line[0] as number)) {
        case letters.accepted:
          return onFrame({ kind: "accepted", seq: Number(rest) });
        case letters.doneWithRecord:
          done = parseWireJson(rest) as typeof done;
          return;
        case letters.done: {
          const [seq, outcome] = parseWireJson(rest) as [number, Completed];
          return onFrame({ kind: "done", seq, outcome });
        }
        case letters.log: {
          const [level, message, fields] = parseWireJson(rest) as [string, string, Record<string, unknown>];
          return onFrame({ kind: "log", level, message, fields });
        }
        case letters.abandoned: {
          const [seq, ended] = JSON.parse(rest) as [number, boolean];
          return onFrame({ kind: "abandoned", seq, ended });
        }
        case letters.report:
          return onFrame({ kind: "report", report: JSON.parse(rest) as ProcessReport });
        case letters.ready:
          return onFrame({ kind: "ready", listensToUsr1: JSON.parse(rest) as boolean });
        case letters.failed:
          return onFrame({ kind: "failed", message: (parseWireJson(rest) as [string])[0] });
      }
    });
  }

  push(chunk: Buffer): void {
    this.#lines.push(chunk);
  }
}

type RunHead = readonly [
  seq: number,
  /** Of the body. */
  bytes: number,
  headers: TaskMessage["headers"],
  properties: TaskMessage["properties"],
  contentType: string,
  contentEncoding: string,
  address: Job["address"],
  queue: string,
  redelivered: boolean,
  hostname: string,
  timeLimit: number | null,
  softTimeLimit: number | null,
];

function jobOf(head: RunHead, body: Buffer): Job {
  const [
    ,
    ,
    headers,
    properties,
    contentType,
    contentEncoding,
    address,
    queue,
    redelivered,
    hostname,
    timeLimit,
    softTimeLimit,
  ] = head;
  const parts = { headers, properties, contentType, contentEncoding };
  const message =
    body.length >= largeBody
      ? (new MessageOfBytes(parts, body) as unknown as TaskMessage)
      : { ...parts, body: body.toString() };
  return { message, address, queue, redelivered, hostname, timeLimit, softTimeLimit };
}

/** Headers may hold integers beyond 2^53, which the engine's printer refuses. */
function print(value: unknown): string {
  try {
    return JSON.stringify(value);
  } catch {
    return writeWireJson(value);
  }
}

/** Cuts a stream of bytes into lines. Each line is handed over without its break. */
export class LineSplitter {
  readonly #onLine: (line: Buffer) => void;
  #rest: Buffer[] = [];

  constructor(onLine: (line: Buffer) => void) {
    this.#onLine = onLine;
  }

  push(chunk: Buffer): void {
    let start = 0;
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, start)) {
      const piece = chunk.subarray(start, end);
      start = end + 1;
      if (this.#rest.length === 0) {
        this.#onLine(piece);
      } else {
        this.#rest.push(piece);
        const whole = Buffer.concat(this.#rest);
        this.#rest = [];
        this.#onLine(whole);
      }
    }
    if (start < chunk.length) this.#rest.push(chunk.subarray(start));
  }

  /** What came after the last line break. */
  get remainder(): Buffer {
    return Buffer.concat(this.#rest);
  }
}
