import { Writable } from "node:stream";
import type { Logger, LogLevel } from "../log.ts";
import { type CurrentRun, currentRun } from "../task/current.ts";

export interface CaptureOptions {
  /** Level of a line in the log. */
  readonly level: LogLevel;
  /** Logs what is printed outside any task; left out, that goes where it went before. */
  readonly logger?: Logger;
}

/**
 * What tasks print goes to the log, line by line, with the task's name and id (setting
 * `workerRedirectStdouts`). Replaces `process.stdout` and `process.stderr`, which `console` writes
 * to; dispose puts them back. A line without its end is logged when its task ends.
 */
export function captureOutput(options: CaptureOptions): Disposable & { readonly flush: (run: CurrentRun) => void } {
  const streams = (["stdout", "stderr"] as const).map((name) => {
    const original = Object.getOwnPropertyDescriptor(process, name) as PropertyDescriptor;
    let captured: CapturedStream | undefined;
    Object.defineProperty(process, name, {
      configurable: true,
      enumerable: true,
      get: () => {
        captured ??= new CapturedStream(name === "stdout" ? 1 : 2, options, () => originalStream(original));
        return captured;
      },
    });
    return { name, original, captured: () => captured };
  });
  return {
    flush: (run) => {
      for (const stream of streams) stream.captured()?.finish(run);
    },
    [Symbol.dispose]() {
      for (const { name, original } of streams) Object.defineProperty(process, name, original);
    },
  };
}

const originalStream = (descriptor: PropertyDescriptor): Writable =>
  (descriptor.get ? descriptor.get.call(process) : descriptor.value) as Writable;

/** One of the two streams, as far as tasks can tell. */
class CapturedStream extends Writable {
  readonly fd: number;
  readonly isTTY = false;
  readonly #options: CaptureOptions;
  readonly #original: () => Writable;
  /** Lines without their end yet, by the task that prints them; `null` is none. */
  readonly #begun = new Map<CurrentRun | null, string>();

  constructor(fd: number, options: CaptureOptions, original: () => Writable) {
    super({ decodeStrings: false });
    this.fd = fd;
    this.#options = options;
    this.#original = original;
  }

  override write(chunk: unknown, ...rest: unknown[]): boolean {
    const run = currentRun.getStore() ?? null;
    if (run === null && this.#options.logger === undefined) {
      return (this.#original().write as (...given: unknown[]) => boolean)(chunk, ...rest);
    }
    const done = rest.find((part) => typeof part === "function") as ((error?: Error | null) => void) | undefined;
    const encoding = typeof rest[0] === "string" ? (rest[0] as BufferEncoding) : "utf8";
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk as Uint8Array).toString(encoding);
    const lines = ((this.#begun.get(run) ?? "") + text).split("\n");
    const open = lines.pop() as string;
    if (open === "") this.#begun.delete(run);
    else this.#begun.set(run, open);
    for (const line of lines) this.#log(run, line);
    if (done) process.nextTick(done);
    return true;
  }

  /** Logs the line a task has left without its end. */
  finish(run: CurrentRun): void {
    const open = this.#begun.get(run);
    if (open === undefined) return;
    this.#begun.delete(run);
    this.#log(run, open);
  }

  #log(run: CurrentRun | null, line: string): void {
    if (line.trim() === "") return;
    const logger = run === null ? this.#options.logger : run.log();
    logger?.[this.#options.level]("%s", line.endsWith("\r") ? line.slice(0, -1) : line);
  }
}
