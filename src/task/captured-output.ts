import nodeConsole from "node:console";
import { Writable } from "node:stream";
import type { Logger, LogLevel } from "../log.ts";
import { type CurrentRun, currentRun } from "./current.ts";

/** Whose log a line goes to that is printed in the course of a run, or of none; undefined lets it go where it went before. */
type LoggerOf = (run: CurrentRun | null) => Logger | undefined;

export interface CaptureOptions {
  /** Level of a line in the log. */
  readonly level: LogLevel;
  readonly loggerOf: LoggerOf;
  /** Default: both. */
  readonly streams?: readonly ("stdout" | "stderr")[];
}

/** What tasks print goes to their own logs, what is printed outside of any to `outside`. */
export const logsOfTasks =
  (outside?: Logger): LoggerOf =>
  (run) =>
    run === null ? outside : run.context().log;

/** What captures that have ended lie upon, by the getter they put in place: taken away when nothing lies on them any more. */
const ended = new WeakMap<() => Writable, PropertyDescriptor>();

/**
 * What is printed goes to a log, line by line (inventory B90 to B92). Replaces `process.stdout` and
 * `process.stderr`, which `console` writes to; dispose puts them back, in whatever order captures
 * end. A line without its end is logged when its task ends. What a logger itself prints is left alone.
 */
export function captureOutput(options: CaptureOptions): Disposable & { readonly flush: (run: CurrentRun) => void } {
  const streams = (options.streams ?? ["stdout", "stderr"]).map((name) => {
    const original = Object.getOwnPropertyDescriptor(process, name) as PropertyDescriptor;
    let captured: CapturedStream | undefined;
    const get = (): Writable => {
      if (ended.has(get)) return originalStream(original);
      captured ??= new CapturedStream(name === "stdout" ? 1 : 2, options, () => originalStream(original));
      return captured;
    };
    Object.defineProperty(process, name, { configurable: true, enumerable: true, get });
    rebindConsole(name);
    const end = (): void => {
      captured?.finish();
      ended.set(get, original);
      for (let top = Object.getOwnPropertyDescriptor(process, name)?.get; top; ) {
        const below = ended.get(top);
        if (below === undefined) break;
        Object.defineProperty(process, name, below);
        top = below.get;
      }
      rebindConsole(name);
    };
    return { end, captured: () => captured };
  });
  return {
    flush: (run) => {
      for (const stream of streams) stream.captured()?.finish(run);
    },
    [Symbol.dispose]() {
      for (const { end } of streams) end();
    },
  };
}

/** `console` keeps the stream it has first written to: it is to look again. */
const rebindConsole = (name: "stdout" | "stderr"): boolean => Reflect.set(nodeConsole, `_${name}`, undefined);

const originalStream = (descriptor: PropertyDescriptor): Writable =>
  (descriptor.get ? descriptor.get.call(process) : descriptor.value) as Writable;

/** One of the two streams, as far as whoever prints can tell. */
class CapturedStream extends Writable {
  readonly fd: number;
  readonly isTTY = false;
  readonly #options: CaptureOptions;
  readonly #original: () => Writable;
  /** Lines without their end yet, by the task that prints them; `null` is none. */
  readonly #begun = new Map<CurrentRun | null, string>();
  #logging = false;
  #ended = false;

  constructor(fd: number, options: CaptureOptions, original: () => Writable) {
    super({ decodeStrings: false });
    this.fd = fd;
    this.#options = options;
    this.#original = original;
  }

  override write(chunk: unknown, ...rest: unknown[]): boolean {
    const run = currentRun.getStore() ?? null;
    if (this.#ended || this.#logging || this.#options.loggerOf(run) === undefined) {
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

  /** Logs the line a task has left without its end; without a task, all of them, for nothing more is captured. */
  finish(run?: CurrentRun): void {
    if (run === undefined) {
      for (const one of [...this.#begun.keys()]) this.#finish(one);
      this.#ended = true;
    } else this.#finish(run);
  }

  #finish(run: CurrentRun | null): void {
    const open = this.#begun.get(run);
    if (open === undefined) return;
    this.#begun.delete(run);
    this.#log(run, open);
  }

  #log(run: CurrentRun | null, line: string): void {
    if (line.trim() === "") return;
    this.#logging = true;
    try {
      this.#options.loggerOf(run)?.[this.#options.level]("%s", line.endsWith("\r") ? line.slice(0, -1) : line);
    } finally {
      this.#logging = false;
    }
  }
}
