import { readFileSync } from "node:fs";
import { PoolStartError } from "../../errors.ts";
import type { Job } from "../../execution/job.ts";
import type { Completed, Outcome } from "../../execution/outcome.ts";
import type { Logger, LogLevel } from "../../log.ts";
import { longestTimerMs } from "../../util/longest-timer.ts";
import type { Pool, PoolResult, Runner } from "../pool.ts";
import { Child } from "./child.ts";
import type { ChildBirth } from "./ipc.ts";
import { type RecycleLimits, shouldRetire } from "./recycle.ts";

export interface PreforkOptions {
  /** Number of children. */
  readonly size: number;
  /** Jobs a child may have in hand: 1 is fair, more saves round trips when tasks are short. */
  readonly batch: number;
  readonly limits: RecycleLimits;
  /** Seconds a new child may take until it is ready. */
  readonly aliveTimeout: number;
  readonly birth: Omit<ChildBirth, "index" | "name">;
  readonly logger: Logger;
  /** A line a task, or a program it started, has printed. */
  readonly onPrint: (line: string, processName: string) => void;
  /** No child can be started any more: the worker has to stop, for this reason. */
  readonly onFatal: (error: PoolStartError) => void;
}

/** A job on its way through the pool. */
interface Entry {
  readonly seq: number;
  readonly job: Job;
  readonly onAccepted: (runner: Runner) => void;
  readonly resolve: (result: PoolResult) => void;
  accepted: boolean;
  /** Children that died with this job in hand before it began. */
  deaths: number;
  hardTimer: NodeJS.Timeout | undefined;
  ending: Outcome | undefined;
}

/** A child with what it has in hand, the running job first. */
interface Slot {
  readonly child: Child;
  readonly runner: Runner;
  readonly entries: Map<number, Entry>;
  state: "starting" | "ready" | "retiring" | "dead";
  tasks: number;
  aliveTimer: NodeJS.Timeout | undefined;
  failure: string | undefined;
}

const mostFailedStarts = 3;
const mostDeathsBeforeStart = 3;

/**
 * Child processes, one job at a time each (or a few in hand, with `batch`). A child that dies
 * is replaced; jobs it had not begun go to another one, the one it was running ends as `lost`.
 */
export class PreforkPool implements Pool {
  readonly kind = "prefork";
  readonly #options: PreforkOptions;
  readonly #slots = new Set<Slot>();
  readonly #waiting: Entry[] = [];
  #target: number;
  #seq = 0;
  #names = 0;
  #failedStarts = 0;
  #stopping = false;
  #started: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #idle: (() => void) | undefined;

  constructor(options: PreforkOptions) {
    this.#options = options;
    this.#target = options.size;
  }

  get size(): number {
    return this.#target * this.#options.batch;
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#started = { resolve, reject };
      this.#fill();
    });
  }

  run(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    return new Promise((resolve) => {
      this.#seq += 1;
      const entry: Entry = {
        seq: this.#seq,
        job,
        onAccepted,
        resolve,
        accepted: false,
        deaths: 0,
        hardTimer: undefined,
        ending: undefined,
      };
      this.#place(entry);
    });
  }

  terminate(taskId: string, signal: NodeJS.Signals): boolean {
    for (const slot of this.#slots) {
      for (const entry of slot.entries.values()) {
        if (entry.job.message.headers.id !== taskId || !entry.accepted) continue;
        entry.ending = { kind: "terminated", signal };
        slot.child.kill(signal);
        return true;
      }
    }
    return false;
  }

  async resize(size: number): Promise<void> {
    this.#target = Math.max(0, size);
    this.#fill();
    const surplus = this.#living().length - this.#target;
    const idleFirst = this.#living().sort((a, b) => a.entries.size - b.entries.size);
    for (const slot of idleFirst.slice(0, Math.max(0, surplus))) this.#retire(slot);
  }

  async restart(): Promise<void> {
    for (const slot of this.#living()) this.#retire(slot);
    this.#fill();
  }

  stats(): Readonly<Record<string, unknown>> {
    return {
      implementation: "tq:prefork",
      "max-concurrency": this.#target,
      processes: this.#living().map((slot) => slot.runner.pid),
      "max-tasks-per-child": this.#options.limits.maxTasks ?? "N/A",
      "put-guarded-by-semaphore": false,
      timeouts: [],
    };
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#started?.resolve();
    await this.#drained(signal);
    const living = [...this.#slots];
    for (const slot of living) slot.state === "starting" ? slot.child.kill("SIGKILL") : this.#retire(slot);
    const deadline = setTimeout(() => {
      for (const slot of this.#slots) slot.child.kill("SIGKILL");
    }, exitPatienceMs);
    await new Promise<void>((resolve) => {
      this.#idle = () => {
        if (this.#slots.size === 0) resolve();
      };
      this.#idle();
    });
    clearTimeout(deadline);
  }

  /** Waits until no job is left; when `signal` aborts, kills the children that still run one. */
  #drained(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cut = (): void => {
        for (const slot of this.#slots) {
          if (slot.entries.size > 0) slot.child.kill("SIGKILL");
        }
      };
      this.#idle = () => {
        // Nobody is started any more: what waits is given back once the last child has gone.
        if (this.#waiting.length > 0 && this.#slots.size > 0 && !signal.aborted) return;
        if ([...this.#slots].some((slot) => slot.entries.size > 0)) return;
        signal.removeEventListener("abort", cut);
        for (const entry of this.#waiting.splice(0)) this.#resolve(entry, notBegun(null, null), null);
        resolve();
      };
      if (signal.aborted) cut();
      else signal.addEventListener("abort", cut, { once: true });
      this.#idle();
    });
  }

  /** Hands a job to the child with the least in hand, or lets it wait for the first free one. */
  #place(entry: Entry): void {
    let best: Slot | undefined;
    for (const slot of this.#slots) {
      if (slot.state !== "ready" || slot.entries.size >= this.#options.batch) continue;
      if (!best || slot.entries.size < best.entries.size) best = slot;
      if (best.entries.size === 0) break;
    }
    if (best) this.#give(best, entry);
    else this.#waiting.push(entry);
  }

  #give(slot: Slot, entry: Entry): void {
    slot.entries.set(entry.seq, entry);
    slot.child.give(entry.seq, entry.job);
  }

  #refill(slot: Slot): void {
    while (slot.state === "ready" && slot.entries.size < this.#options.batch) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      this.#give(slot, entry);
    }
  }

  #living(): Slot[] {
    return [...this.#slots].filter((slot) => slot.state === "starting" || slot.state === "ready");
  }

  #fill(): void {
    while (!this.#stopping && this.#living().length < this.#target) this.#spawn();
    this.#announceStart();
  }

  #announceStart(): void {
    const ready = this.#living().every((slot) => slot.state === "ready");
    if (ready && this.#started) {
      this.#started.resolve();
      this.#started = undefined;
    }
  }

  #spawn(): void {
    this.#names += 1;
    const name = `ForkPoolWorker-${this.#names}`;
    const birth: ChildBirth = { ...this.#options.birth, index: this.#names, name };
    const child = new Child(birth, {
      onReady: () => this.#onReady(slot),
      onFailed: (message) => {
        slot.failure = message;
      },
      onAccepted: (seq) => this.#onAccepted(slot, seq),
      onDone: (seq, outcome) => this.#onDone(slot, seq, outcome),
      onLog: (level, message, fields) =>
        this.#options.logger[level as LogLevel]({ processName: name, ...fields }, message),
      onPrint: (line) => this.#options.onPrint(line, name),
      onExit: (exitCode, signal) => this.#onExit(slot, exitCode, signal),
    });
    // Each failed start is given twice the time of the one before: a slow machine is not a broken one.
    const patience = this.#options.aliveTimeout * 2 ** this.#failedStarts;
    const slot: Slot = {
      child,
      runner: { pid: child.pid, name },
      entries: new Map(),
      state: "starting",
      tasks: 0,
      aliveTimer: setTimeout(() => {
        this.#options.logger.error(`Timed out waiting for ${name} (pid ${child.pid}) to get ready: replacing it`);
        slot.failure = `it was not ready within ${patience} s (workerProcAliveTimeout)`;
        child.kill("SIGKILL");
      }, patience * 1000),
      failure: undefined,
    };
    this.#slots.add(slot);
  }

  #onReady(slot: Slot): void {
    clearTimeout(slot.aliveTimer);
    slot.state = slot.state === "starting" ? "ready" : slot.state;
    this.#failedStarts = 0;
    this.#announceStart();
    this.#refill(slot);
  }

  #onAccepted(slot: Slot, seq: number): void {
    const entry = slot.entries.get(seq);
    if (!entry) return;
    entry.accepted = true;
    const { timeLimit } = entry.job;
    if (timeLimit !== null) {
      entry.hardTimer = setTimeout(
        () => {
          entry.ending = { kind: "time-limit", seconds: timeLimit };
          slot.child.kill("SIGKILL");
        },
        Math.min(timeLimit * 1000, longestTimerMs),
      );
    }
    entry.onAccepted(slot.runner);
  }

  #onDone(slot: Slot, seq: number, outcome: Completed): void {
    const entry = slot.entries.get(seq);
    if (!entry) return;
    slot.entries.delete(seq);
    slot.tasks += 1;
    if (slot.state === "ready" && shouldRetire({ tasks: slot.tasks, rss: this.#memoryOf(slot) }, this.#options.limits))
      this.#retire(slot);
    else this.#refill(slot);
    this.#resolve(entry, outcome, slot.runner);
    this.#idle?.();
  }

  #retire(slot: Slot): void {
    if (slot.state === "dead" || slot.state === "retiring") return;
    slot.state = "retiring";
    slot.child.dismiss();
    this.#fill();
  }

  #onExit(slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    clearTimeout(slot.aliveTimer);
    const before = slot.state;
    slot.state = "dead";
    this.#slots.delete(slot);
    const [running, ...behind] = slot.entries.values();
    if (running) this.#bury(running, slot, exitCode, signal);
    for (const entry of behind) this.#place(entry);
    if (before === "starting") this.#onFailedStart(slot, exitCode, signal);
    else if (before === "ready" && !this.#stopping) this.#reportDeath(slot, running, exitCode, signal);
    this.#fill();
    this.#idle?.();
  }

  /** The job a child had in hand first when it died: begun, it is lost; otherwise it may try another child. */
  #bury(entry: Entry, slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    slot.entries.delete(entry.seq);
    if (entry.ending) this.#resolve(entry, entry.ending, slot.runner);
    else if (entry.accepted) this.#resolve(entry, { kind: "lost", accepted: true, exitCode, signal }, slot.runner);
    else {
      entry.deaths += 1;
      const lost = notBegun(exitCode, signal);
      if (this.#stopping) this.#resolve(entry, lost, slot.runner);
      else if (entry.deaths < mostDeathsBeforeStart) this.#place(entry);
      else this.#resolve(entry, { ...lost, deaths: entry.deaths }, slot.runner);
    }
  }

  #reportDeath(slot: Slot, running: Entry | undefined, exitCode: number | null, signal: NodeJS.Signals | null): void {
    if (running?.ending) return;
    const how = signal === null ? `exitcode ${exitCode}` : `signal ${signal}`;
    this.#options.logger.error(
      { pid: slot.runner.pid },
      `Process '${slot.runner.name}' pid:${slot.runner.pid} exited with '${how}'`,
    );
  }

  #onFailedStart(slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    if (this.#stopping) return;
    // Killed from outside, by the kernel for its memory or by somebody: it says nothing about an app that has run.
    if (slot.failure === undefined && signal !== null && !this.#started) {
      this.#reportDeath(slot, undefined, exitCode, signal);
      return;
    }
    this.#failedStarts += 1;
    const why = slot.failure ?? `it exited with ${signal ?? `code ${exitCode}`}`;
    if (this.#failedStarts < mostFailedStarts && slot.failure?.startsWith("it was not ready")) return;
    const error = new PoolStartError(`no child process can be started: ${why}`);
    this.#stopping = true;
    for (const other of this.#slots) other.child.kill("SIGKILL");
    if (this.#started) this.#started.reject(error);
    else this.#options.onFatal(error);
    this.#started = undefined;
  }

  #resolve(entry: Entry, outcome: Outcome, runner: Runner | null): void {
    clearTimeout(entry.hardTimer);
    entry.resolve({ outcome, runner });
  }

  /** Bytes of resident memory; only looked at when there is a limit to it. */
  #memoryOf(slot: Slot): number {
    if (!this.#options.limits.maxMemory) return 0;
    try {
      const pages = Number(readFileSync(`/proc/${slot.runner.pid}/statm`, "utf8").split(" ")[1]);
      return pages * pageSize;
    } catch {
      return 0;
    }
  }
}

const pageSize = 4096;
const exitPatienceMs = 5_000;

const notBegun = (exitCode: number | null, signal: NodeJS.Signals | null) =>
  ({ kind: "lost", accepted: false, exitCode, signal }) as const satisfies Outcome;
