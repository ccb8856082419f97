import { Piscina } from "piscina";
import type { Job } from "../execution/job.ts";
import type { Completed } from "../execution/outcome.ts";
import { program } from "../system/installation.ts";
import type { ProcessReport } from "../system/process-report.ts";
import { threadStack } from "../system/thread-stack.ts";
import type { AbandonReason, Member, MemberEvents } from "./crew/member.ts";

/** What a thread is told at birth. */
export interface ThreadBirth {
  readonly hostname: string;
  readonly name: string;
  readonly appSpec: string;
  readonly cwd: string;
  readonly include: readonly string[];
  readonly loglevel: string;
  readonly logfile: string | null;
  readonly redirect: string | null;
  readonly slots: number;
  readonly overrides: Readonly<Record<string, unknown>>;
}

/** One job, as a thread gets it. */
export type ThreadOrder =
  | { readonly kind: "run"; readonly seq: number; readonly job: Job }
  | { readonly kind: "abandon"; readonly seq: number; readonly reason: AbandonReason }
  | { readonly kind: "report" }
  | { readonly kind: "exit" };

/** What it returns for one. */
export type ThreadAnswer = Completed | ProcessReport | boolean;

/** What a thread says beside the outcomes it returns. */
export type FromThread =
  | { readonly kind: "ready" }
  | { readonly kind: "failed"; readonly message: string }
  | { readonly kind: "accepted"; readonly seq: number }
  | {
      readonly kind: "log";
      readonly level: string;
      readonly message: string;
      readonly fields: Readonly<Record<string, unknown>>;
    };

const threadMain = program("pool/thread-main");

/** Orders that are no jobs — give that up, leave — need room beside them. */
const roomForOrders = 8;

/**
 * One thread as the pool sees it: a Piscina of one, so that threads come, go and are killed one by
 * one. Killing a thread ends also code that never yields.
 */
export class Thread implements Member {
  readonly pid = process.pid;
  readonly #piscina: Piscina<ThreadOrder, ThreadAnswer>;
  readonly #events: MemberEvents;
  /** Given, and not known to have begun. What a thread says and what it returns do not keep to one order. */
  readonly #unaccepted = new Set<number>();
  readonly #threadId: number;
  #left = false;

  constructor(birth: ThreadBirth, events: MemberEvents) {
    this.#events = events;
    this.#piscina = new Piscina({
      filename: threadMain,
      minThreads: 1,
      maxThreads: 1,
      idleTimeout: Number.POSITIVE_INFINITY,
      concurrentTasksPerWorker: birth.slots + roomForOrders,
      // A thread that sleeps on shared memory between jobs would let its connections starve.
      atomics: "disabled",
      recordTiming: false,
      workerData: birth,
    });
    const [worker] = this.#piscina.threads;
    this.#threadId = worker?.threadId ?? -1;
    // One that has ended is not started anew here, but by the pool.
    this.#piscina.options.minThreads = 0;
    this.#piscina.on("message", (message: FromThread) => this.#onMessage(message));
    this.#piscina.on("error", (error: Error) => events.onFailed(error.stack ?? error.message));
    worker?.once("exit", (code) => this.#onExit(code));
  }

  give(seq: number, job: Job): void {
    this.#unaccepted.add(seq);
    this.#piscina.run({ kind: "run", seq, job }).then(
      (returned) => {
        const outcome = returned as Completed;
        if (outcome.kind !== "invalid") this.#onAccepted(seq);
        this.#unaccepted.delete(seq);
        this.#events.onDone(seq, outcome);
      },
      () => undefined, // the thread has ended, which it tells by itself
    );
  }

  takeBack(): readonly number[] {
    return [];
  }

  abandon(seq: number, reason: AbandonReason): void {
    this.#piscina.run({ kind: "abandon", seq, reason }).then(
      (abandoned) => this.#events.onAbandoned(seq, abandoned !== true),
      () => undefined,
    );
  }

  report(): Promise<ProcessReport> {
    return this.#piscina.run({ kind: "report" }).then(
      (report) => report as ProcessReport,
      () => new Promise(() => undefined), // it has ended
    );
  }

  stack(signal: AbortSignal): Promise<readonly string[] | null> {
    return threadStack(this.#threadId, signal);
  }

  dismiss(): void {
    this.#piscina.run({ kind: "exit" }).then(
      () => this.#destroy(),
      () => undefined,
    );
  }

  kill(): void {
    this.#destroy();
  }

  memory(): number {
    return 0;
  }

  #destroy(): void {
    this.#piscina.destroy().catch(() => undefined);
  }

  #onMessage(message: FromThread): void {
    switch (message.kind) {
      case "ready":
        return this.#events.onReady();
      case "failed":
        return this.#events.onFailed(message.message);
      case "accepted":
        return this.#onAccepted(message.seq);
      case "log":
        return this.#events.onLog(message.level, message.message, message.fields);
    }
  }

  #onAccepted(seq: number): void {
    if (this.#unaccepted.delete(seq)) this.#events.onAccepted(seq);
  }

  #onExit(code: number): void {
    if (this.#left) return;
    this.#left = true;
    this.#destroy();
    this.#events.onExit(code, null);
  }
}
