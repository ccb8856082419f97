import { type ChildProcess, spawn } from "node:child_process";
import type { Duplex } from "node:stream";
import type { Job } from "../../execution/job.ts";
import type { Guard } from "../../system/guard.ts";
import { program } from "../../system/installation.ts";
import type { ProcessReport } from "../../system/process-report.ts";
import { titleRoom } from "../../system/process-title.ts";
import { debuggable, inspectorFlags } from "../../system/remote-debugger.ts";
import { residentMemory } from "../../system/resident-memory.ts";
import type { AbandonReason, Member, MemberEvents } from "../crew/member.ts";
import { ChildStack } from "./child-stack.ts";
import type { Claims } from "./claims.ts";
import {
  birthVariable,
  type ChildBirth,
  childFds,
  encodeToChild,
  type FromChild,
  FromChildReader,
  LineSplitter,
} from "./ipc.ts";

const childMain = program("pool/prefork/child-main");

export interface ChildParts {
  /** Makes sure it does not outlive this process. */
  readonly guard: Guard;
  /** Given to a child that may have more in hand than it runs at once. */
  readonly claims?: Claims;
}

/**
 * One child process as its parent sees it. Frames written in one tick leave together. Its
 * standard output and error are pipes, so that what a program a task started prints is kept even if it dies.
 */
export class Child implements Member {
  readonly #process: ChildProcess;
  /** What it is given. A channel of its own: writing to a child that has died ends it, and what that had said before is read all the same. */
  readonly #orders: Duplex;
  readonly #claims: Claims | undefined;
  readonly #stack: ChildStack | undefined;
  /** Whether the signal for its inspector would go to somebody in it. */
  #listensToUsr1 = false;
  /** Texts, and the large bodies between them. */
  #outgoing: (string | Buffer)[] = [];
  #offered: number[] = [];
  #askers: ((report: ProcessReport) => void)[] = [];

  constructor(birth: ChildBirth, events: MemberEvents, { guard, claims }: ChildParts) {
    const piped = birth.redirect !== null;
    const inspector = inspectorFlags(process.env, birth.index, piped);
    this.#claims = claims;
    this.#process = spawn(process.execPath, [...inspector, childMain, titleRoom], {
      cwd: birth.cwd,
      env: { ...process.env, [birthVariable]: JSON.stringify(birth) },
      stdio: [
        "ignore",
        piped ? "pipe" : "inherit",
        piped ? "pipe" : "inherit",
        "pipe",
        "pipe",
        ...(claims ? [claims.fd] : []),
      ],
    });
    if (piped && inspector.length > 0)
      this.#stack = new ChildStack(this.#process, { allowsDebuggers: debuggable(process.env) });
    this.#orders = this.#process.stdio[childFds.orders] as Duplex;
    if (this.#process.pid !== undefined) guard.watch(this.#process.pid);
    this.#listen(events, guard);
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  give(seq: number, job: Job): void {
    if (this.#claims) this.#offered.push(seq);
    this.#write(encodeToChild({ kind: "run", seq, job }));
  }

  takeBack(most?: number): readonly number[] {
    if (!this.#claims) return [];
    this.#flush();
    return this.#claims.takeBack(most);
  }

  abandon(seq: number, reason: AbandonReason): void {
    this.#write(encodeToChild({ kind: "abandon", seq, reason }));
  }

  report(): Promise<ProcessReport> {
    return new Promise((resolve) => {
      this.#askers.push(resolve);
      this.#write(encodeToChild({ kind: "report" }));
    });
  }

  async stack(signal: AbortSignal): Promise<readonly string[] | null> {
    return this.#stack === undefined || this.#listensToUsr1 ? null : await this.#stack.take(signal);
  }

  dismiss(): void {
    this.#write(encodeToChild({ kind: "exit" }));
  }

  kill(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  memory(): number {
    return residentMemory(this.pid);
  }

  #write(frame: readonly (string | Buffer)[]): void {
    const outgoing = this.#outgoing;
    if (outgoing.length === 0) queueMicrotask(() => this.#flush());
    for (const piece of frame) {
      const last = outgoing.at(-1);
      if (typeof piece === "string" && typeof last === "string") outgoing[outgoing.length - 1] = last + piece;
      else outgoing.push(piece);
    }
  }

  #flush(): void {
    const outgoing = this.#outgoing;
    if (outgoing.length === 0) return;
    this.#outgoing = [];
    if (this.#offered.length > 0) this.#claims?.offer(this.#offered.splice(0));
    if (!this.#orders.writable) return;
    if (outgoing.length > 1) this.#orders.cork();
    for (const piece of outgoing) this.#orders.write(piece);
    if (outgoing.length > 1) this.#orders.uncork();
  }

  #listen(events: MemberEvents, guard: Guard): void {
    const frames = new FromChildReader((frame) => this.#onFrame(frame, events));
    const { stdout, stderr, stdio } = this.#process;
    const answers = stdio[childFds.answers] as Duplex;
    answers.on("data", (chunk: Buffer) => frames.push(chunk));
    // A dying child's pipes may break while being written to; its exit tells the story.
    for (const channel of [answers, this.#orders]) channel.on("error", () => undefined);
    for (const stream of [stdout, stderr]) {
      if (!stream) continue;
      const lines = new LineSplitter((bytes) => {
        const line = bytes.toString("utf8");
        if (stream !== stderr || !this.#stack?.concerns(line)) events.onPrint(line);
      });
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
      this.#claims?.close();
    };
    this.#process.on("error", (error) => {
      events.onFailed(`the child process could not be started: ${error.message}`);
      end(null, null);
    });
    // `close` waits for the pipes: an outcome sent just before the exit is seen before it. A
    // grandchild may keep stdout open, so the exit is believed after a moment all the same.
    this.#process.on("exit", (exitCode, signal) => {
      if (this.#process.pid !== undefined) guard.forget(this.#process.pid);
      const timer = setTimeout(() => end(exitCode, signal), 500);
      this.#process.once("close", () => {
        clearTimeout(timer);
        end(exitCode, signal);
      });
    });
  }

  #onFrame(frame: FromChild, events: MemberEvents): void {
    switch (frame.kind) {
      case "done":
        return events.onDone(frame.seq, frame.outcome);
      case "accepted":
        return events.onAccepted(frame.seq);
      case "abandoned":
        return events.onAbandoned(frame.seq, frame.ended);
      case "log":
        return events.onLog(frame.level, frame.message, frame.fields);
      case "report":
        return this.#askers.shift()?.(frame.report);
      case "ready":
        this.#listensToUsr1 = frame.listensToUsr1;
        return events.onReady();
      case "failed":
        return events.onFailed(frame.message);
    }
  }
}
