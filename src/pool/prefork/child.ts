import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import { fileURLToPath } from "node:url";
import type { Job } from "../../execution/job.ts";
import type { Completed } from "../../execution/outcome.ts";
import { titleRoom } from "../../system/process-title.ts";
import { birthVariable, type ChildBirth, encodeToChild, type FromChild, FromChildReader, LineSplitter } from "./ipc.ts";

/** What a child tells its owner. */
export interface ChildEvents {
  readonly onReady: () => void;
  /** It could not start, and says why; its exit follows. */
  readonly onFailed: (message: string) => void;
  readonly onAccepted: (seq: number) => void;
  readonly onDone: (seq: number, outcome: Completed) => void;
  readonly onLog: (level: string, message: string, fields: Readonly<Record<string, unknown>>) => void;
  /** A line the task's code, or a program it started, has printed. */
  readonly onPrint: (line: string) => void;
  /** Once, when the process and its pipes have ended: nothing comes after it. */
  readonly onExit: (exitCode: number | null, signal: NodeJS.Signals | null) => void;
}

const childMain = fileURLToPath(new URL("./child-main.js", import.meta.url));

/**
 * One child process as its parent sees it. Frames written in one tick leave together. Its
 * standard output and error are pipes, so that what a task prints is kept even if it dies.
 */
export class Child {
  readonly birth: ChildBirth;
  readonly #process: ChildProcess;
  readonly #channel: Duplex;
  #outgoing = "";

  constructor(birth: ChildBirth, events: ChildEvents) {
    this.birth = birth;
    this.#process = spawn(process.execPath, [...childFlags, childMain, titleRoom], {
      cwd: birth.cwd,
      env: { ...process.env, [birthVariable]: JSON.stringify(birth) },
      stdio: ["ignore", "pipe", "pipe", "pipe"],
    });
    this.#channel = this.#process.stdio[3] as Duplex;
    this.#listen(events);
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  give(seq: number, job: Job): void {
    this.#write(encodeToChild({ kind: "run", seq, job }));
  }

  /** It finishes what it has and leaves. */
  dismiss(): void {
    this.#write(encodeToChild({ kind: "exit" }));
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  #write(frame: string): void {
    if (this.#outgoing === "") queueMicrotask(() => this.#flush());
    this.#outgoing += frame;
  }

  #flush(): void {
    const outgoing = this.#outgoing;
    this.#outgoing = "";
    if (this.#channel.writable) this.#channel.write(outgoing);
  }

  #listen(events: ChildEvents): void {
    const frames = new FromChildReader((frame) => this.#onFrame(frame, events));
    this.#channel.on("data", (chunk: Buffer) => frames.push(chunk));
    // A dying child's pipes may break while being written to; its exit tells the story.
    this.#channel.on("error", () => undefined);
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (!stream) continue;
      const lines = new LineSplitter((line) => events.onPrint(line.toString("utf8")));
      stream.on("data", (chunk: Buffer) => lines.push(chunk));
      stream.on("end", () => {
        const rest = lines.remainder;
        if (rest.length > 0) events.onPrint(rest.toString("utf8"));
      });
      stream.on("error", () => undefined);
    }
    let ended = false;
    const end = (exitCode: number | null, signal: NodeJS.Signals | null): void => {
      if (ended) return;
      ended = true;
      events.onExit(exitCode, signal);
    };
    this.#process.on("error", (error) => {
      events.onFailed(`the child process could not be started: ${error.message}`);
      end(null, null);
    });
    // `close` waits for the pipes: an outcome sent just before the exit is seen before it. A
    // grandchild may keep stdout open, so the exit is believed after a moment all the same.
    this.#process.on("exit", (exitCode, signal) => {
      const timer = setTimeout(() => end(exitCode, signal), 500);
      this.#process.once("close", () => {
        clearTimeout(timer);
        end(exitCode, signal);
      });
    });
  }

  #onFrame(frame: FromChild, events: ChildEvents): void {
    switch (frame.kind) {
      case "done":
        return events.onDone(frame.seq, frame.outcome);
      case "accepted":
        return events.onAccepted(frame.seq);
      case "log":
        return events.onLog(frame.level, frame.message, frame.fields);
      case "ready":
        return events.onReady();
      case "failed":
        return events.onFailed(frame.message);
    }
  }
}

/** A child runs one program: it needs no more V8 helper threads than it can use. */
const childFlags = ["--no-warnings=ExperimentalWarning"];
