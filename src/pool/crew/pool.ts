import { PoolStartError } from "../../errors.ts";
import type { Job } from "../../execution/job.ts";
import type { Completed, Outcome } from "../../execution/outcome.ts";
import type { Logger, LogLevel } from "../../log.ts";
import type { ProcessReport } from "../../system/process-report.ts";
import type { MemberReport, Pool, PoolResult, Runner } from "../pool.ts";
import { HardLimit } from "./hard-limit.ts";
import type { MemberMaker } from "./member.ts";
import { type RecycleLimits, retiresSoon, shouldRetire } from "./recycle.ts";
import { type Entry, Slot } from "./slot.ts";

export interface CrewOptions {
  readonly kind: "prefork" | "threads";
  /** Name of a member, without its number. */
  readonly memberName: string;
  readonly make: MemberMaker;
  /** Number of members. */
  readonly width: number;
  /** Tasks a member runs at once. */
  readonly slots: number;
  /** Jobs a member may have in hand: more than slots saves round trips when tasks are short. */
  readonly batch: number;
  /** Whether it may have as many whatever its tasks are like; otherwise while they are short only. */
  readonly eager: boolean;
  readonly limits: RecycleLimits;
  /** Seconds a new member may take until it is ready. */
  readonly aliveTimeout: number;
  readonly logger: Logger;
  /** Just before a member is started. */
  readonly onCreate: (identity: { readonly index: number; readonly name: string }) => void;
  /** A line that a program started by a task has printed. */
  readonly onPrint: (line: string, processName: string, job: Job | undefined) => void;
  /** No member can be started any more: the worker has to stop, for this reason. */
  readonly onFatal: (error: PoolStartError) => void;
  /** The last member has gone. */
  readonly onEnd: () => void;
}

const mostFailedStarts = 3;
const mostDeathsBeforeStart = 3;
const exitPatienceMs = 5_000;
/** How long a member may take to say what it is doing. */
const reportPatienceMs = 1_000;
/** How long it may take to find out what holds one that does not say it. */
const stackPatienceMs = 3_000;
/** A member that has made no progress for this long while jobs wait behind a task is stuck with that task. */
const stuckMs = 20;
/** Seconds: a task that takes longer is worth a round trip of its own. */
const briskSeconds = 0.005;
/** How long an event loop may take to answer before it counts as blocked. */
const answerMs = 400;
/** How long a task that was told to stop may keep its member from being used. */
const ghostMs = 1_000;
/** How long a spare nobody needed after all is kept. */
const spareMs = 30_000;
/** What a new member takes to start until one was seen starting. */
const firstGuessOfStartMs = 500;

/**
 * Members — child processes or threads — that run jobs, and are replaced when they die or have
 * served long enough. Jobs a member had not begun go to another one; what it was running when it
 * died ends as `lost`. What waits behind a task is taken back from its member as soon as another one is
 * free, or when the task turns out to be long, so that handing out more than is begun costs no fairness.
 */
export class CrewPool implements Pool {
  readonly kind: string;
  readonly #options: CrewOptions;
  readonly #slots = new Set<Slot>();
  #waiting: Entry[] = [];
  #width: number;
  #seq = 0;
  #names = 0;
  /** Times in a row that starting failed. Members started side by side that fail side by side are one time. */
  #failedStarts = 0;
  #failedAt = 0;
  #exits = 0;
  #startMs = firstGuessOfStartMs;
  #stopping = false;
  #ended = false;
  #started: { readonly resolve: () => void; readonly reject: (error: Error) => void } | undefined;
  #idle: (() => void) | undefined;
  #watch: NodeJS.Timeout | undefined;
  #sharing: NodeJS.Immediate | undefined;
  #restarting: Promise<void> | undefined;

  constructor(options: CrewOptions) {
    this.kind = options.kind;
    this.#options = options;
    this.#width = options.width;
  }

  get size(): number {
    return this.#width * this.#options.batch;
  }

  /** Members that have ended since the start. */
  get ended(): number {
    return this.#exits;
  }

  get slots(): number {
    return this.#width * this.#options.slots;
  }

  get width(): number {
    return this.#width;
  }

  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#started = { resolve, reject };
      this.#fill();
    });
  }

  run(job: Job, onAccepted: (runner: Runner) => void): Promise<PoolResult> {
    return new Promise((resolve) => {
      this.#seq = (this.#seq + 1) >>> 0;
      const entry: Entry = {
        seq: this.#seq,
        job,
        onAccepted,
        resolve,
        accepted: false,
        deaths: 0,
        limit: undefined,
        ending: undefined,
      };
      if (this.#ended) this.#resolve(entry, notBegun(null, null), null);
      else this.#place(entry);
    });
  }

  recall(): readonly Job[] {
    const back = this.#waiting.splice(0);
    if (this.#batches) for (const slot of this.#slots) if (slot.state === "ready") back.push(...this.#takeBack(slot));
    for (const slot of this.#slots) slot.slow = false;
    return back.sort((a, b) => a.seq - b.seq).map(({ job }) => job);
  }

  terminate(taskId: string, signal: NodeJS.Signals): boolean {
    for (const slot of this.#slots) {
      for (const entry of slot.entries.values()) {
        if (entry.job.message.headers.id !== taskId || !entry.accepted) continue;
        this.#end(slot, entry, { kind: "terminated", signal }, signal);
        return true;
      }
    }
    return false;
  }

  async resize(width: number): Promise<void> {
    this.#width = Math.max(0, width);
    this.#fill();
    const surplus = this.#living().length - this.#width;
    const idleFirst = this.#living().sort((a, b) => a.occupied - b.occupied);
    for (const slot of idleFirst.slice(0, Math.max(0, surplus))) this.#retire(slot);
  }

  /** One after another, each when its successor is ready. Rejects, and keeps the old ones, when a successor cannot start. */
  restart(): Promise<void> {
    for (const slot of this.#slots) slot.stale = true;
    this.#restarting ??= this.#replaceStale().finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  stats(): Readonly<Record<string, unknown>> {
    return {
      implementation: `tq:${this.kind}`,
      "max-concurrency": this.#width,
      ...(this.#options.slots > 1 ? { "tasks-per-child": this.#options.slots } : {}),
      processes: this.#living().map((slot) => slot.member.pid),
      "max-tasks-per-child": this.#options.limits.maxTasks ?? "N/A",
      "put-guarded-by-semaphore": false,
      timeouts: [],
    };
  }

  report(): Promise<readonly MemberReport[]> {
    return Promise.all([...this.#slots].map((slot) => this.#reportOf(slot)));
  }

  async stop(signal: AbortSignal): Promise<void> {
    this.#stopping = true;
    this.#started?.resolve();
    await this.#drained(signal);
    for (const slot of [...this.#slots]) {
      if (slot.state === "starting" || slot.ghosts.size > 0) slot.member.kill("SIGKILL");
      else this.#retire(slot);
    }
    const deadline = setTimeout(() => {
      for (const slot of this.#slots) slot.member.kill("SIGKILL");
    }, exitPatienceMs);
    await new Promise<void>((resolve) => {
      this.#idle = () => {
        if (this.#slots.size === 0) resolve();
      };
      this.#idle();
    });
    clearTimeout(deadline);
    clearTimeout(this.#watch);
    clearImmediate(this.#sharing);
    this.#ended = true;
    for (const entry of this.#waiting.splice(0)) this.#resolve(entry, notBegun(null, null), null);
    this.#options.onEnd();
  }

  /** Waits until no job is left; when `signal` aborts, kills the members that still run one. */
  #drained(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const cut = (): void => {
        for (const slot of this.#slots) if (slot.occupied > 0) slot.member.kill("SIGKILL");
      };
      this.#idle = () => {
        // Nobody is started any more: what waits is given back once the last member has gone.
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

  async #reportOf(slot: Slot): Promise<MemberReport> {
    const { runner, role, member } = slot;
    const report = await new Promise<ProcessReport | null>((resolve) => {
      const timer = setTimeout(() => resolve(null), reportPatienceMs);
      void member.report().then((report) => {
        clearTimeout(timer);
        resolve(report);
      });
    });
    const stack = report ? null : await member.stack(AbortSignal.timeout(stackPatienceMs));
    return { runner, role, report, stack };
  }

  // ── handing out ────────────────────────────────────────────────────────────

  /** Jobs a member can be given now. */
  #room(slot: Slot): number {
    if (slot.state !== "ready" || slot.spare || slot.stuck) return 0;
    const { batch, slots, limits, eager } = this.#options;
    const most = slot.slow || !(eager || slot.brisk) ? slots : batch;
    const served = limits.maxTasks ? limits.maxTasks - slot.tasks : most;
    return Math.min(most, served) - slot.occupied;
  }

  /** Hands a job to the member with the least in hand, or lets it wait for the first free one. */
  #place(entry: Entry): void {
    let best: Slot | undefined;
    for (const slot of this.#slots) {
      if (this.#room(slot) <= 0) continue;
      if (!best || slot.occupied < best.occupied) best = slot;
      if (best.occupied === 0) break;
    }
    if (best) this.#give(best, entry);
    else this.#waiting.push(entry);
  }

  #give(slot: Slot, entry: Entry): void {
    slot.entries.set(entry.seq, entry);
    slot.member.give(entry.seq, entry.job);
    if (this.#batches) this.#keepWatch();
  }

  #refill(slot: Slot): void {
    for (let room = this.#room(slot); room > 0; room -= 1) {
      const entry = this.#waiting.shift();
      if (!entry) return;
      this.#give(slot, entry);
    }
  }

  get #batches(): boolean {
    return this.#options.batch > 1;
  }

  /** One look at a time: the next one sees what moved since the last. */
  #keepWatch(): void {
    this.#watch ??= setTimeout(() => this.#look(), stuckMs);
  }

  /** Takes back what waits behind a long task. Goes on for as long as anything waits in a member. */
  #look(): void {
    this.#watch = undefined;
    let backlog = false;
    const back: Entry[] = [];
    for (const slot of this.#slots) {
      if (slot.state !== "ready" || slot.entries.size === 0) continue;
      const waits = slot.hasBacklog;
      backlog ||= waits;
      if (slot.progress === slot.seenProgress && waits) {
        back.push(...this.#takeBack(slot));
        // With nothing left it is only slow: it gets one thing after another until it moves.
        slot.stuck = slot.entries.size > 0;
        slot.slow = !slot.stuck;
      }
      slot.seenProgress = slot.progress;
    }
    if (back.length > 0) this.#giveAgain(back);
    if (backlog) this.#keepWatch();
  }

  /** A member has room while something waits in the hand of another: once this turn has brought it nothing. */
  #share(): void {
    const { slots } = this.#options;
    if (!this.#batches || this.#sharing !== undefined) return;
    let waits = false;
    for (const slot of this.#slots) waits ||= slot.occupied > slots;
    if (!waits) return;
    this.#sharing = setImmediate(() => {
      this.#sharing = undefined;
      for (const slot of this.#slots) if (slot.occupied < slots) this.#helpOut(slot);
    });
  }

  /** Takes what has waited longest, from those with the most in hand first: one may have begun all it has by now. */
  #helpOut(idle: Slot): void {
    const donors = [...this.#slots]
      .filter((slot) => slot !== idle && slot.state === "ready" && slot.hasBacklog)
      .sort((a, b) => b.occupied - a.occupied);
    for (const donor of donors) {
      const wanted = Math.min(this.#room(idle), this.#options.slots - idle.occupied);
      if (wanted <= 0) return;
      for (const entry of this.#takeBack(donor, wanted)) this.#give(idle, entry);
    }
  }

  /** Out of a member's hands: what it has not begun, in the order in which it was given. */
  #takeBack(slot: Slot, most?: number): Entry[] {
    const back: Entry[] = [];
    for (const seq of slot.member.takeBack(most)) {
      const entry = slot.entries.get(seq);
      if (!entry) continue;
      slot.entries.delete(seq);
      back.push(entry);
    }
    return back;
  }

  /** At the head of the line: these came first. */
  #giveAgain(entries: readonly Entry[]): void {
    this.#waiting = [...entries, ...this.#waiting];
    for (const slot of this.#slots) this.#refill(slot);
  }

  // ── members ────────────────────────────────────────────────────────────────

  #living(): Slot[] {
    return [...this.#slots].filter((slot) => slot.living);
  }

  #spares(): Slot[] {
    return [...this.#slots].filter((slot) => slot.spare && (slot.state === "ready" || slot.state === "starting"));
  }

  #fill(): void {
    while (!this.#stopping && this.#living().length < this.#width) {
      const [spare] = this.#spares().sort((a, b) => (b.readyAt > 0 ? 1 : 0) - (a.readyAt > 0 ? 1 : 0));
      if (!spare) this.#spawn();
      else {
        spare.spare = false;
        this.#refill(spare);
      }
    }
    this.#announceStart();
  }

  #announceStart(): void {
    if (!this.#started || !this.#living().every((slot) => slot.state === "ready")) return;
    this.#started.resolve();
    this.#started = undefined;
  }

  /** Starts a successor ahead of time for each member that is about to leave. */
  #foresee(slot: Slot): void {
    if (this.#stopping || slot.spare || slot.expectsEnd) return;
    slot.expectsEnd = true;
    const expected = this.#living().filter((other) => other.expectsEnd).length;
    if (this.#spares().length >= expected) return;
    const spare = this.#spawn(true);
    spare.spareTimer = setTimeout(() => {
      if (spare.spare) this.#retire(spare);
    }, spareMs);
  }

  async #replaceStale(): Promise<void> {
    for (;;) {
      const [next] = this.#living()
        .filter((slot) => slot.stale)
        .sort((a, b) => a.occupied - b.occupied);
      if (!next || this.#stopping) return;
      const successor = this.#spares().find((slot) => !slot.stale) ?? this.#spawn(true);
      await successor.settled();
      if (successor.state !== "ready") {
        for (const slot of this.#slots) slot.stale = false;
        throw new PoolStartError(`no new child can be started: ${successor.failure ?? "it ended"}; the old ones go on`);
      }
      if (next.living) this.#retire(next);
    }
  }

  #spawn(spare = false): Slot {
    this.#names += 1;
    const { memberName, make, onCreate, logger, onPrint, aliveTimeout } = this.#options;
    const identity = { index: this.#names, name: `${memberName}-${this.#names}` };
    const slot = new Slot(identity.name);
    slot.spare = spare;
    onCreate(identity);
    slot.member = make(identity, {
      onReady: () => this.#onReady(slot),
      onFailed: (message) => {
        slot.failure = message;
      },
      onAccepted: (seq) => this.#onAccepted(slot, seq),
      onDone: (seq, outcome) => this.#onDone(slot, seq, outcome),
      onAbandoned: (seq, ended) => this.#onAbandoned(slot, seq, ended),
      onLog: (level, message, fields) =>
        logger[level as LogLevel]({ processName: slot.name, ...fields }, "%s", message),
      onPrint: (line) => onPrint(line, slot.name, slot.onlyRunning?.job),
      onExit: (exitCode, signal) => this.#onExit(slot, exitCode, signal),
    });
    // A slow machine is not a broken one: twice what the last one took, and twice as much after each failure.
    const patience = Math.max(aliveTimeout, (2 * this.#startMs) / 1000) * 2 ** this.#failedStarts;
    slot.aliveTimer = setTimeout(() => {
      logger.error(`Timed out waiting for ${slot.name} (pid ${slot.member.pid}) to get ready: replacing it`);
      slot.late = true;
      slot.failure = `it was not ready within ${patience.toFixed(1)} s: if its start takes that long, raise workerProcAliveTimeout`;
      slot.member.kill("SIGKILL");
    }, patience * 1000);
    this.#slots.add(slot);
    return slot;
  }

  #onReady(slot: Slot): void {
    clearTimeout(slot.aliveTimer);
    if (slot.state === "starting") slot.state = "ready";
    slot.readyAt = performance.now();
    this.#startMs = slot.readyAt - slot.bornAt;
    this.#failedStarts = 0;
    this.#warnOfLargeApp(slot);
    slot.settle();
    this.#announceStart();
    this.#refill(slot);
    if (slot.occupied < this.#options.slots) this.#share();
  }

  #warnOfLargeApp(slot: Slot): void {
    const { maxMemory } = this.#options.limits;
    if (!maxMemory) return;
    const rss = slot.member.memory();
    if (rss <= maxMemory * 1024) return;
    this.#options.logger.warn(
      `${slot.name} takes ${Math.round(rss / 1024)} KiB before its first task, more than the ${maxMemory} KiB it may have: it will be replaced after every task`,
    );
  }

  #retire(slot: Slot): void {
    if (slot.state === "dead" || slot.state === "retiring") return;
    slot.state = "retiring";
    const back = this.#batches ? this.#takeBack(slot) : [];
    slot.member.dismiss();
    this.#fill();
    if (back.length > 0) this.#giveAgain(back);
  }

  #moved(slot: Slot): void {
    slot.progress += 1;
    slot.stuck = false;
    slot.slow = false;
  }

  // ── what members tell ──────────────────────────────────────────────────────

  #onAccepted(slot: Slot, seq: number): void {
    this.#moved(slot);
    const entry = slot.entries.get(seq);
    if (!entry) return;
    entry.accepted = true;
    const { maxTasks } = this.#options.limits;
    if (maxTasks && slot.tasks + slot.entries.size >= maxTasks) this.#foresee(slot);
    const { timeLimit } = entry.job;
    if (timeLimit !== null) {
      entry.limit = new HardLimit(timeLimit, {
        warningMs: this.#startMs * 1.5,
        onSoon: () => this.#foresee(slot),
        onLimit: () => this.#end(slot, entry, { kind: "time-limit", seconds: timeLimit }, "SIGKILL"),
      });
    }
    entry.onAccepted(slot.runner);
  }

  #onDone(slot: Slot, seq: number, outcome: Completed): void {
    this.#moved(slot);
    slot.tasks += 1;
    slot.brisk = "runtime" in outcome && outcome.runtime < briskSeconds;
    const entry = slot.entries.get(seq);
    slot.entries.delete(seq);
    slot.ghosts.delete(seq);
    if (slot.state === "ready") this.#review(slot);
    else if (slot.doomed && slot.entries.size === 0) slot.member.kill("SIGKILL");
    if (entry) this.#resolve(entry, outcome, slot.runner);
    if (slot.occupied < this.#options.slots) this.#share();
    this.#idle?.();
  }

  /** After a task: has it served long enough, or nearly so? */
  #review(slot: Slot): void {
    const { limits } = this.#options;
    if (!limits.maxTasks && !limits.maxMemory) return this.#refill(slot);
    const rss = limits.maxMemory ? slot.member.memory() : 0;
    if (shouldRetire({ tasks: slot.tasks, rss }, limits)) return this.#retire(slot);
    const servedMs = performance.now() - slot.readyAt;
    if (retiresSoon({ tasks: slot.tasks, rss, servedMs, startMs: this.#startMs }, limits)) this.#foresee(slot);
    this.#refill(slot);
  }

  /**
   * Ends a running job by force. One alone in its process is killed with it. One of many is asked
   * to stop, and ends for everybody else at once; its member is given up only if the task does not
   * heed, and then only after the others in it have finished, unless its event loop is blocked.
   */
  #end(slot: Slot, entry: Entry, ending: Outcome, signal: NodeJS.Signals): void {
    if (entry.ending) return;
    entry.ending = ending;
    if (this.#options.slots === 1) return slot.member.kill(signal);
    slot.member.abandon(entry.seq, ending.kind === "time-limit" ? "time-limit" : "terminated");
    entry.answerTimer = setTimeout(() => {
      if (!slot.entries.has(entry.seq)) return;
      slot.sacrificed = true;
      slot.member.kill("SIGKILL");
    }, answerMs);
  }

  #onAbandoned(slot: Slot, seq: number, ended: boolean): void {
    const entry = slot.entries.get(seq);
    if (!entry?.ending) return;
    clearTimeout(entry.answerTimer);
    if (ended) {
      // It was faster: its own end is on the way.
      entry.ending = undefined;
      return;
    }
    slot.entries.delete(seq);
    slot.ghosts.add(seq);
    slot.ghostTimer ??= setTimeout(() => {
      slot.ghostTimer = undefined;
      if (slot.ghosts.size > 0) this.#giveUp(slot);
    }, ghostMs);
    this.#resolve(entry, entry.ending, slot.runner);
    this.#idle?.();
  }

  /** Gets nothing more, and is killed when the last of the others in it has ended. */
  #giveUp(slot: Slot): void {
    if (slot.state !== "ready") return;
    slot.state = "retiring";
    slot.doomed = true;
    const back = this.#takeBack(slot);
    this.#fill();
    if (back.length > 0) this.#giveAgain(back);
    if (slot.entries.size === 0) slot.member.kill("SIGKILL");
  }

  #onExit(slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    for (const timer of [slot.aliveTimer, slot.ghostTimer, slot.spareTimer]) clearTimeout(timer);
    const before = slot.state;
    slot.state = "dead";
    this.#exits += 1;
    this.#slots.delete(slot);
    slot.settle();
    // What lies in its pipe it cannot have begun, nor died of.
    const unbegun = this.#batches ? this.#takeBack(slot) : [];
    const entries = [...slot.entries.values()];
    const forced = entries.some((entry) => entry.ending !== undefined);
    for (const entry of entries) this.#bury(entry, slot, exitCode, signal);
    if (before === "starting") this.#onFailedStart(slot, exitCode, signal);
    else if (before === "ready" && !this.#stopping && !forced) this.#reportDeath(slot, exitCode, signal);
    this.#fill();
    if (unbegun.length > 0) this.#giveAgain(unbegun);
    this.#idle?.();
  }

  /** A job a member had in hand when it died: begun, it is lost; otherwise it may try another one. */
  #bury(entry: Entry, slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    slot.entries.delete(entry.seq);
    if (entry.ending) this.#resolve(entry, entry.ending, slot.runner);
    else if (entry.accepted) {
      const lost = { kind: "lost", accepted: true, exitCode, signal } as const;
      this.#resolve(entry, slot.sacrificed ? { ...lost, bystander: true } : lost, slot.runner);
    } else {
      entry.deaths += 1;
      const lost = notBegun(exitCode, signal);
      if (this.#stopping) this.#resolve(entry, lost, slot.runner);
      else if (entry.deaths < mostDeathsBeforeStart) this.#place(entry);
      else this.#resolve(entry, { ...lost, deaths: entry.deaths }, slot.runner);
    }
  }

  #reportDeath(slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    const how = signal === null ? `exitcode ${exitCode}` : `signal ${signal}`;
    const { pid, name } = slot.runner;
    this.#options.logger.error({ pid }, `Process '${name}' pid:${pid} exited with '${how}'`);
  }

  #onFailedStart(slot: Slot, exitCode: number | null, signal: NodeJS.Signals | null): void {
    // A successor that cannot start leaves the others at work; whoever needs it hears of it.
    if (this.#stopping) return;
    if (slot.spare) {
      this.#options.logger.error(`${slot.name}, meant to take over later, did not start: ${slot.failure ?? signal}`);
      return;
    }
    // Killed from outside, by the kernel for its memory or by somebody: it says nothing about an app that runs.
    const killed = slot.failure === undefined && signal !== null;
    if (killed && (!this.#started || [...this.#slots].some(({ state }) => state === "ready"))) {
      this.#reportDeath(slot, exitCode, signal);
      return;
    }
    const why = slot.failure ?? `it exited with ${signal ?? `code ${exitCode}`}`;
    const together = slot.bornAt < this.#failedAt;
    if (!together) {
      this.#failedStarts += 1;
      this.#failedAt = performance.now();
    }
    if (this.#failedStarts < mostFailedStarts) {
      if (!together && !slot.late) this.#options.logger.error(`${slot.name} did not start, and is replaced: ${why}`);
      return;
    }
    const what = this.kind === "threads" ? "thread" : "child process";
    const error = new PoolStartError(`no ${what} can be started: ${why}`);
    this.#stopping = true;
    for (const other of this.#slots) other.member.kill("SIGKILL");
    if (this.#started) this.#started.reject(error);
    else this.#options.onFatal(error);
    this.#started = undefined;
  }

  #resolve(entry: Entry, outcome: Outcome, runner: Runner | null): void {
    entry.limit?.stop();
    clearTimeout(entry.answerTimer);
    entry.resolve({ outcome, runner });
  }
}

const notBegun = (exitCode: number | null, signal: NodeJS.Signals | null) =>
  ({ kind: "lost", accepted: false, exitCode, signal }) as const satisfies Outcome;
