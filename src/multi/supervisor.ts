import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { formatLocalTime } from "../log.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import { Guard } from "../system/guard.ts";
import { identityOf, isGone } from "../system/process-identity.ts";
import { type Exit, killGroup, type Launched, launch, type Readiness } from "./launch.ts";
import type { Node } from "./node.ts";
import { removeStalePidfile, stateOf } from "./node-state.ts";
import { keepAside, putBack, removeAside } from "./reload.ts";
import { describeExit, lastWords } from "./report.ts";
import { afterExit, type RestartPolicy } from "./restart-policy.ts";
import { signalTarget } from "./stop.ts";

export interface SupervisorOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Nodes outlive the supervisor, which finds them again by their pidfiles. */
  readonly keepNodes: boolean;
  readonly policy: RestartPolicy;
  /** Seconds a new process of a reload may take to be ready. */
  readonly startTimeout: number;
  /** Seconds nodes have to end before they are told to give up what they run, and soon after that killed. */
  readonly stopTimeout: number;
  /** A line a node has printed. */
  readonly onLine: (node: Node, line: string, stream: "stdout" | "stderr") => void;
  /** What the supervisor itself has to say. */
  readonly say: (line: string) => void;
  /** Called once, when every node is ready. */
  readonly onReady: () => void;
}

/** Seconds between being told to give up and being killed. */
const coldPatience = 3;

/** A process that is kept an eye on: started here, or found running. */
interface Watched {
  readonly pid: number;
  readonly exited: Promise<Exit>;
  readonly readiness: Promise<Readiness>;
  signal(signal: NodeJS.Signals): void;
  killGroup(): void;
  /** Lets it go on alone. */
  release(): void;
}

/** One node and how it is doing. */
interface Kept {
  readonly node: Node;
  /** Null between an end and the next start. */
  current: Watched | null;
  /** When it said that it is ready; `performance.now()`. */
  readyAt: number | null;
  failures: number;
  /** A new process is being started in the place of `current`. */
  isReplaced: boolean;
  restart: NodeJS.Timeout | undefined;
  isOver: boolean;
}

/** Seconds nodes have to hear that their supervisor was killed. */
const hearSeconds = 3;

/**
 * Keeps nodes running in the foreground: starts them, starts again what ends by itself, gives up
 * on what does not stay up, replaces them one by one on request, and ends when they have ended.
 */
export class Supervisor {
  readonly #kept: readonly Kept[];
  readonly #options: SupervisorOptions;
  /** Every process there is, those that are on their way out included. */
  readonly #processes = new Set<Watched>();
  /** Those that listen to every signal. */
  readonly #ready = new Set<Watched>();
  readonly #done: Promise<number>;
  /**
   * Ends what is left when this process is killed. A node ends with its supervisor by itself; but one whose
   * only process is held by a task cannot hear of it.
   */
  readonly #guard: Guard | undefined;
  #finish: (exitCode: number) => void = () => undefined;
  #exitCode = EX_OK;
  #isStopping = false;
  #isReloading = false;
  #wasReady = false;
  #deadlines: NodeJS.Timeout[] = [];

  constructor(nodes: readonly Node[], options: SupervisorOptions) {
    this.#kept = nodes.map((node) => ({
      node,
      current: null,
      readyAt: null,
      failures: 0,
      isReplaced: false,
      restart: undefined,
      isOver: false,
    }));
    this.#options = options;
    this.#guard = options.keepNodes ? undefined : new Guard(hearSeconds);
    this.#done = new Promise((resolve) => {
      this.#finish = resolve;
    });
  }

  /** Resolves to the exit code when no node is left: 0 when all ended as they were asked to. */
  async run(): Promise<number> {
    for (const kept of this.#kept) this.#bringUp(kept);
    try {
      return await this.#done;
    } finally {
      for (const timer of this.#deadlines) clearTimeout(timer);
      this.#guard?.close();
    }
  }

  /** Passes a signal on that nodes do not end of: to those that are ready, since any other would, or open a debugger. */
  forward(signal: NodeJS.Signals): void {
    for (const watched of this.#ready) watched.signal(signal);
  }

  /** Has the nodes end by this signal and then ends itself; nodes that are to be kept are left alone. */
  stop(signal: NodeJS.Signals): void {
    const isFirst = !this.#isStopping;
    this.#isStopping = true;
    for (const kept of this.#kept) {
      clearTimeout(kept.restart);
      if (kept.current === null && !kept.isReplaced) kept.isOver = true;
    }
    if (this.#options.keepNodes) {
      for (const watched of this.#processes) watched.release();
      this.#say(`Leaving ${this.#processes.size} processes running.`);
      this.#finish(EX_OK);
      return;
    }
    this.#signalAll(signal);
    if (isFirst) {
      this.#say(`Stopping: ${signal} to ${this.#processes.size} processes.`);
      this.#setDeadlines();
    }
    this.#endWhenOver();
  }

  /** New processes for all nodes, one after the other, each ready before the old one is told to end. */
  async reload(): Promise<void> {
    if (this.#isStopping || this.#isReloading) return;
    this.#isReloading = true;
    try {
      this.#say("Reloading, one node after the other.");
      for (const kept of this.#kept) {
        if (this.#isStopping) return;
        if (!(await this.#replace(kept))) {
          this.#say(`${kept.node.name}: the new process did not come up; the reload ends here.`, "ERROR");
          return;
        }
      }
      this.#say("Reloaded.");
    } finally {
      this.#isReloading = false;
    }
  }

  // ── starting ───────────────────────────────────────────────────────────────

  #bringUp(kept: Kept): void {
    const { node } = kept;
    let watched: Watched;
    try {
      watched = this.#adopt(node) ?? this.#launch(node, null);
    } catch (error) {
      this.#fail(kept, `could not be started: ${(error as Error).message}`, []);
      return;
    }
    this.#watch(kept, watched);
  }

  #watch(kept: Kept, watched: Watched): void {
    kept.current = watched;
    kept.readyAt = null;
    let words: readonly string[] = [];
    const ready = watched.readiness.then((readiness) => {
      if (readiness.kind === "ended") words = lastWords(readiness.reason, readiness.log);
      else if (kept.current === watched) this.#noteReady(kept);
    });
    void watched.exited.then(async (exit) => {
      await ready;
      if (kept.current !== watched) return; // replaced meanwhile
      kept.current = null;
      if (this.#isStopping) return this.#noteEnd(kept, exit);
      if (kept.isReplaced) return; // whoever replaces it sees to it
      this.#fail(kept, describeExit(exit).replace(/^Child /, ""), words);
    });
  }

  #launch(node: Node, replaces: number | null): Watched {
    const state = node.pidfile === "" ? null : stateOf(node);
    if (state?.kind === "stale") removeStalePidfile(node.pidfile, state.pid);
    const { env, keepNodes } = this.#options;
    const launched = launch(node, { bound: !keepNodes, output: keepNodes ? "log" : "pipe", env, replaces });
    this.#print(node, launched);
    return this.#register(launched, (exit) => {
      // What a killed node had started knows nobody any more.
      if (exit.signal !== null) launched.killGroup();
    });
  }

  /** A node that was left running by a supervisor before this one. */
  #adopt(node: Node): Watched | undefined {
    if (!this.#options.keepNodes) return undefined;
    const state = stateOf(node);
    if (state.kind !== "running") return undefined;
    const target = { node, pidfile: node.pidfile, process: identityOf(state.pid) };
    const stopped = new AbortController();
    const exited = (async (): Promise<Exit> => {
      while (!isGone(target.process)) await delay(200, undefined, { signal: stopped.signal });
      return { code: null, signal: null };
    })();
    exited.catch(() => undefined); // let go of
    this.#say(`${node.name} is running already (pid ${state.pid}).`);
    return this.#register(
      {
        pid: state.pid,
        exited,
        readiness: Promise.resolve({ kind: "ready" }),
        signal: (signal) => void signalTarget(target, signal),
        killGroup: () => void killGroup(state.pid),
        release: () => stopped.abort(),
      },
      () => undefined,
    );
  }

  #register(watched: Watched, onExit: (exit: Exit) => void): Watched {
    this.#processes.add(watched);
    const { pid } = watched;
    if (pid > 0) this.#guard?.watch(-pid);
    void watched.readiness.then(({ kind }) => {
      if (kind === "ready" && this.#processes.has(watched)) this.#ready.add(watched);
    });
    watched.exited.then(
      (exit) => {
        this.#processes.delete(watched);
        this.#ready.delete(watched);
        this.#guard?.forget(-pid);
        onExit(exit);
        this.#endWhenOver();
      },
      () => undefined,
    );
    return watched;
  }

  #signalAll(signal: NodeJS.Signals): void {
    for (const watched of this.#processes) watched.signal(signal);
  }

  #print(node: Node, launched: Launched): void {
    const read = (input: Readable | null, stream: "stdout" | "stderr"): void => {
      if (input) createInterface({ input }).on("line", (line) => this.#options.onLine(node, line, stream));
    };
    read(launched.stdout, "stdout");
    read(launched.stderr, "stderr");
  }

  // ── what happens to nodes ──────────────────────────────────────────────────

  #noteReady(kept: Kept): void {
    kept.readyAt = performance.now();
    this.#say(`${kept.node.name} is ready (pid ${kept.current?.pid}).`);
    if (this.#wasReady || !this.#kept.every(({ readyAt }) => readyAt !== null)) return;
    this.#wasReady = true;
    this.#options.onReady();
  }

  #fail(kept: Kept, how: string, words: readonly string[]): void {
    const { node } = kept;
    const readyFor = kept.readyAt === null ? null : (performance.now() - kept.readyAt) / 1000;
    const decision = afterExit({ failures: kept.failures, readyFor }, this.#options.policy);
    kept.failures = decision.failures;
    const when = readyFor === null ? "before it was ready" : `after ${readyFor.toFixed(0)} s`;
    this.#quote(node, words);
    if (decision.kind === "give-up") {
      this.#say(
        `${node.name} ${how} ${when}. Giving up on it: it has ended ${decision.failures} times in a row. Correct what it says above, and start again.`,
        "ERROR",
      );
      kept.isOver = true;
      this.#exitCode = EX_FAILURE;
      this.#endWhenOver();
      return;
    }
    this.#say(
      `${node.name} ${how} ${when}; restart ${decision.failures} of ${this.#options.policy.maxRestarts} in ${decision.delay.toFixed(1)} s.`,
      "WARNING",
    );
    kept.restart = setTimeout(() => this.#bringUp(kept), decision.delay * 1000);
  }

  #noteEnd(kept: Kept, exit: Exit): void {
    kept.isOver = true;
    if (exit.code !== EX_OK) this.#exitCode = EX_FAILURE;
    this.#say(`${kept.node.name} ${describeExit(exit).replace(/^Child /, "")}.`);
    this.#endWhenOver();
  }

  #endWhenOver(): void {
    if (this.#processes.size === 0 && this.#kept.every(({ isOver }) => isOver)) this.#finish(this.#exitCode);
  }

  #setDeadlines(): void {
    const { stopTimeout } = this.#options;
    if (!Number.isFinite(stopTimeout)) return;
    this.#deadlines = [
      setTimeout(() => {
        this.#say(`Still running after ${stopTimeout} s: SIGQUIT.`, "WARNING");
        this.#signalAll("SIGQUIT");
      }, stopTimeout * 1000),
      setTimeout(
        () => {
          for (const watched of this.#processes) watched.killGroup();
        },
        (stopTimeout + coldPatience) * 1000,
      ),
    ];
  }

  // ── reload ─────────────────────────────────────────────────────────────────

  /** Whether the node works with a new process, or needs none. */
  async #replace(kept: Kept): Promise<boolean> {
    const { node, current } = kept;
    if (kept.isOver) return true;
    if (current === null) {
      // It waits for its restart: that is a new process as well.
      clearTimeout(kept.restart);
      this.#bringUp(kept);
      return true;
    }
    const hasPidfile = node.pidfile !== "";
    kept.isReplaced = true;
    let next: Watched | undefined;
    let isUp = false;
    try {
      if (hasPidfile) keepAside(node, current.pid);
      next = this.#launch(node, hasPidfile ? current.pid : null);
      isUp = await this.#comesUp(node, next);
    } finally {
      kept.isReplaced = false;
      if (!isUp) {
        if (next !== undefined) await end(next);
        if (hasPidfile) kept.current === current ? putBack(node) : removeAside(node);
      }
    }
    if (!isUp || next === undefined) {
      if (kept.current === null) {
        if (this.#isStopping) kept.isOver = true;
        else this.#fail(kept, "ended while it was replaced", []);
        this.#endWhenOver();
      }
      return false;
    }
    this.#watch(kept, next);
    kept.failures = 0;
    current.signal("SIGTERM");
    await current.exited;
    if (hasPidfile) removeAside(node);
    return true;
  }

  async #comesUp(node: Node, next: Watched): Promise<boolean> {
    const time = new AbortController();
    const up = delay(this.#options.startTimeout * 1000, undefined, { signal: time.signal }).catch(() => undefined);
    const readiness = await Promise.race([next.readiness, up]);
    time.abort();
    if (readiness?.kind === "ended") {
      this.#quote(node, lastWords(readiness.reason, readiness.log));
    }
    return readiness?.kind === "ready";
  }

  /** What a node said last, where it was not shown line by line already. */
  #quote(node: Node, words: readonly string[]): void {
    if (node.logfile !== null) for (const word of words) this.#say(`${node.name} | ${word}`, "ERROR");
  }

  #say(text: string, level: "INFO" | "WARNING" | "ERROR" = "INFO"): void {
    const now = new Date();
    const time = `${formatLocalTime(now)},${String(now.getMilliseconds()).padStart(3, "0")}`;
    this.#options.say(`[${time}: ${level}/Supervisor] ${text}`);
  }
}

async function end(watched: Watched): Promise<void> {
  watched.signal("SIGTERM");
  const timer = setTimeout(() => watched.killGroup(), 5_000);
  await watched.exited;
  clearTimeout(timer);
}
