import type { Completed } from "../../execution/outcome.ts";
import type { Job } from "../../execution/job.ts";
import type { Message } from "../../protocol/message.ts";

/**
 * The language between the parent and one child, over a socket pair: lines of JSON. A job's
 * body follows its line as a line of its own, since base64 has no line breaks: it is neither
 * escaped nor parsed on the way.
 */
export type ToChild =
  | { readonly type: "run"; readonly seq: number; readonly job: JobHead }
  | { readonly type: "exit" };

/** A job without the body of its message. */
export type JobHead = Omit<Job, "message"> & { readonly message: Omit<Message, "body"> };

/** Child to parent: two in the life of a task are `accepted` and `done`. */
export type FromChild =
  | { readonly type: "ready"; readonly pid: number }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "accepted"; readonly seq: number }
  | { readonly type: "done"; readonly seq: number; readonly outcome: Completed }
  | { readonly type: "log"; readonly level: string; readonly message: string; readonly fields: Readonly<Record<string, unknown>> };

/** What a child is told at birth, through its environment. */
export interface ChildBirth {
  readonly hostname: string;
  readonly index: number;
  readonly name: string;
  readonly appSpec: string;
  readonly cwd: string;
  readonly include: readonly string[];
  readonly loglevel: string;
  /** Settings given on the command line, which win over the app's own. */
  readonly overrides: Readonly<Record<string, unknown>>;
}

export const birthVariable = "TQ_CHILD";

/** The two lines of a job. */
export function encodeRun(seq: number, job: Job): string {
  const { body, ...head } = job.message;
  return `${JSON.stringify({ type: "run", seq, job: { ...job, message: head } })}\n${body}\n`;
}

export function encodeLine(frame: ToChild | FromChild): string {
  return `${JSON.stringify(frame)}\n`;
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
