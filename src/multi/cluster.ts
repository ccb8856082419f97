import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import { commandLine, type Node } from "./node.ts";
import { removeStalePidfile, stateOf } from "./node-state.ts";
import { prepareNodes } from "./prepare.ts";
import { type ReloadOutcome, reloadNode } from "./reload.ts";
import { type Report, waitingFor } from "./report.ts";
import { type StartOptions, type StartOutcome, startNode } from "./start.ts";
import { nextGone, signalTarget, type Target, targetsOf, type Unreachable } from "./stop.ts";

/** How the commands of a cluster do what they do. */
export interface ClusterOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Whether to wait for nodes to be ready. */
  readonly wait: boolean;
  /** Seconds to wait for a node that starts. */
  readonly startTimeout: number;
  /** Seconds to wait for a node that stops; Infinity for as long as it takes. */
  readonly stopTimeout: number;
}

/** Nodes started at one time: enough to keep the processors busy, few enough to leave memory for the rest. */
const mostAtOnce = 16;

/** Seconds a killed process has to disappear. */
const killPatience = 5;

/**
 * All nodes of one command line: starts, signals and stops their processes and says so. Nothing is
 * remembered but in pidfiles. Every command resolves to an exit code: 0 when each node is as asked.
 */
export class Cluster {
  readonly #nodes: readonly Node[];
  readonly #report: Report;
  readonly #options: ClusterOptions;

  constructor(nodes: readonly Node[], report: Report, options: ClusterOptions) {
    this.#nodes = nodes;
    this.#report = report;
    this.#options = options;
  }

  /** Starts the nodes side by side, and tells of each when it is ready. */
  async start(): Promise<number> {
    const report = this.#report;
    report.note("> Starting nodes...");
    prepareNodes(this.#nodes);
    const starting = this.#startAll(this.#nodes);
    let exitCode = EX_OK;
    for (const [index, node] of this.#nodes.entries()) {
      report.part(`\t> ${node.name}: `);
      if (!this.#tell(node, await (starting[index] as Promise<StartOutcome>))) exitCode = EX_FAILURE;
    }
    return exitCode;
  }

  /** Sends the signal and does not wait for its effect. */
  async stop(signal: NodeJS.Signals): Promise<number> {
    return await this.#stop(this.#nodes, signal, { wait: false, onDown: (nodes) => this.#sayDown(nodes) });
  }

  async stopwait(signal: NodeJS.Signals): Promise<number> {
    return await this.#stop(this.#nodes, signal, { wait: true, onDown: (nodes) => this.#sayDown(nodes) });
  }

  /** Starts each node again as soon as it is down. */
  async restart(signal: NodeJS.Signals): Promise<number> {
    prepareNodes(this.#nodes);
    let exitCode = EX_OK;
    const onDown = async function* (this: Cluster, nodes: readonly Node[]): AsyncGenerator<void> {
      const starting = this.#startAll(nodes);
      for (const [index, node] of nodes.entries()) {
        this.#report.part(this.#report.heading(`> Restarting node ${node.name}: `));
        if (!this.#tell(node, await (starting[index] as Promise<StartOutcome>))) exitCode = EX_FAILURE;
        yield;
      }
    }.bind(this);
    const stopped = await this.#stop(this.#nodes, signal, { wait: true, onDown });
    return stopped === EX_OK ? exitCode : stopped;
  }

  /** Replaces one node after the other; stops at the first that does not come up, so that the rest stays as it is. */
  async reload(): Promise<number> {
    const report = this.#report;
    prepareNodes(this.#nodes);
    report.note(report.heading("> Reloading nodes..."));
    for (const node of this.#nodes) {
      report.part(`\t> ${node.name}: `);
      const outcome = await reloadNode(node, {
        ...this.#startOptions(),
        wait: true,
        drainTimeout: this.#options.stopTimeout,
        onDrain: (_, pid) => report.part(`TERM -> ${pid}`),
        onDot: () => report.part("."),
      });
      if (!this.#tellReload(node, outcome)) {
        const rest = this.#nodes.slice(this.#nodes.indexOf(node) + 1);
        if (rest.length > 0) report.note(`> Not reloaded: ${rest.map(({ name }) => name).join(", ")}`);
        return EX_FAILURE;
      }
    }
    return EX_OK;
  }

  /** SIGKILL to each node and all its processes; waits until they are gone and clears their pidfiles away. */
  async kill(): Promise<number> {
    const targets: Target[] = [];
    let exitCode = EX_OK;
    for (const node of this.#nodes) {
      const found = targetsOf(node);
      if (found.unreachable) exitCode = Math.max(exitCode, this.#sayUnreachable(node, found.unreachable));
      for (const target of found.targets) {
        this.#report.note(`Sending KILL to node ${node.name} (${target.process.pid})`);
        if (this.#signal(target, "SIGKILL")) targets.push(target);
        else exitCode = EX_FAILURE;
      }
    }
    const deadline = performance.now() + killPatience * 1000;
    for (let left: readonly Target[] = targets; left.length > 0; ) {
      const gone = await nextGone(left, { deadline, onDot: () => undefined });
      if (gone.length === 0) return EX_FAILURE;
      left = left.filter((target) => !gone.includes(target));
    }
    return exitCode;
  }

  /** Sends a signal that nodes do not end of. */
  async signal(signal: NodeJS.Signals): Promise<number> {
    let exitCode = EX_OK;
    for (const node of this.#nodes) {
      const { targets, unreachable } = targetsOf(node);
      if (unreachable) {
        this.#sayUnreachable(node, unreachable);
        exitCode = EX_FAILURE;
      }
      for (const target of targets) {
        this.#report.note(`\t> ${node.name}: ${shortName(signal)} -> ${target.process.pid}`);
        if (!this.#signal(target, signal)) exitCode = EX_FAILURE;
      }
    }
    return exitCode;
  }

  /** Says of each node whether it runs; 3 when one does not, as `status` of an init script. */
  async status(): Promise<number> {
    let exitCode = EX_OK;
    for (const node of this.#nodes) {
      const state = stateOf(node);
      if (state.kind === "running") {
        this.#report.answer(`${node.name}: ${this.#report.ok} (pid ${state.pid})`);
        continue;
      }
      exitCode = 3;
      const stale = state.kind === "stale" ? ` (but its pidfile ${node.pidfile} is there)` : "";
      const foreign = state.kind === "foreign" ? ` (its pidfile names ${state.pid}: ${state.command})` : "";
      this.#report.answer(
        `${node.name}: ${state.kind === "starting" ? "starting" : `${this.#report.down}${stale}${foreign}`}`,
      );
    }
    return exitCode;
  }

  // ── start ──────────────────────────────────────────────────────────────────

  #startOptions(): StartOptions {
    return {
      env: this.#options.env,
      wait: this.#options.wait,
      timeout: this.#options.startTimeout,
      onBusy: (node, pid) => this.#report.detail(`  waiting for another tq multi (pid ${pid}) at work on ${node.name}`),
    };
  }

  /** Starts the nodes, a few at a time; each promise is for one of them, and none rejects unheard. */
  #startAll(nodes: readonly Node[]): readonly Promise<StartOutcome>[] {
    const started: Promise<StartOutcome>[] = [];
    for (const [index, node] of nodes.entries()) {
      const turn = started[index - mostAtOnce]?.then(
        () => undefined,
        () => undefined,
      );
      const start = (async () => {
        await turn;
        this.#report.detail(`  ${commandLine(node, { detach: !node.isOurs })}`);
        return await startNode(node, this.#startOptions());
      })();
      start.catch(() => undefined); // heard when its line is printed
      started.push(start);
    }
    return started;
  }

  /** Whether the node is as it was asked to be. */
  #tell(node: Node, outcome: StartOutcome): boolean {
    const report = this.#report;
    switch (outcome.kind) {
      case "ready":
      case "spawned":
        report.note(report.ok);
        return true;
      case "already-running":
        report.note(report.warning(`ALREADY RUNNING (pid ${outcome.pid ?? "not written yet"})`));
        return true;
      case "foreign":
        report.problem(
          node.name,
          `FAILED: the pidfile ${node.pidfile} belongs to process ${outcome.pid} (${outcome.command})`,
        );
        return false;
      case "late":
        report.problem(
          node.name,
          `NOT READY after ${this.#options.startTimeout} s; ${node.isOurs ? `process ${outcome.pid} goes on starting, ` : ""}see ${node.logfile ?? "its log"}`,
        );
        return false;
      case "ended":
        report.failure(node.name, outcome);
        return false;
    }
  }

  #tellReload(node: Node, outcome: ReloadOutcome): boolean {
    const report = this.#report;
    switch (outcome.kind) {
      case "started":
        return this.#tell(node, outcome.start);
      case "replaced":
        report.note(` ${report.ok} (pid ${outcome.by})`);
        return true;
      case "draining":
        report.problem(
          node.name,
          ` STILL RUNNING after ${this.#options.stopTimeout} s (pid ${outcome.pid}); pid ${outcome.by} works beside it`,
        );
        return false;
      case "kept":
        this.#tell(node, outcome.start);
        report.note(`\t  process ${outcome.pid} goes on as before`);
        return false;
    }
  }

  // ── stop ───────────────────────────────────────────────────────────────────

  /** Celery's `shutdown_nodes`: what is down is told first, then the signals go out, then it is waited. */
  async #stop(
    nodes: readonly Node[],
    signal: NodeJS.Signals,
    { wait, onDown }: { readonly wait: boolean; readonly onDown: (nodes: readonly Node[]) => AsyncGenerator<void> },
  ): Promise<number> {
    const report = this.#report;
    const found = nodes.map((node) => ({ node, ...targetsOf(node) }));
    let exitCode = EX_OK;
    const down: Node[] = [];
    for (const { node, unreachable } of found) {
      if (!unreachable) continue;
      if (unreachable.kind === "down") down.push(node);
      else if (this.#sayUnreachable(node, unreachable) === EX_OK) down.push(node);
      else exitCode = EX_FAILURE;
    }
    for await (const _ of onDown(down));

    let left = found.flatMap(({ targets }) => targets);
    if (left.length === 0) return exitCode;
    report.note(report.heading("> Stopping nodes..."));
    const vanished: Target[] = [];
    for (const target of left) {
      report.note(`\t> ${target.node.name}: ${shortName(signal)} -> ${target.process.pid}`);
      try {
        if (signalTarget(target, signal)) continue;
        report.note(`Could not signal ${target.node.name} (${target.process.pid}): No such process`);
        removeStalePidfile(target.pidfile, target.process.pid);
        vanished.push(target);
      } catch (error) {
        report.problem(target.node.name, `Could not signal ${target.process.pid}: ${(error as Error).message}`);
        exitCode = EX_FAILURE;
        left = left.filter((other) => other !== target);
      }
    }
    left = left.filter((target) => !vanished.includes(target));
    for await (const _ of onDown(downAmong(vanished, left)));
    return wait ? Math.max(exitCode, await this.#awaitAll(left, onDown)) : exitCode;
  }

  async #awaitAll(
    targets: readonly Target[],
    onDown: (nodes: readonly Node[]) => AsyncGenerator<void>,
  ): Promise<number> {
    const report = this.#report;
    const deadline = performance.now() + this.#options.stopTimeout * 1000;
    const pids = new Map<Target, number | null>(targets.map((target) => [target, target.process.pid]));
    const sayWaiting = (): void => report.part(report.heading(waitingFor([...pids.values()])));
    if (pids.size > 0) sayWaiting();
    while (pids.size > 0) {
      const gone = await nextGone([...pids.keys()], { deadline, onDot: () => report.part(".") });
      if (gone.length === 0) {
        report.note("");
        for (const { node, process } of pids.keys()) {
          report.problem(
            node.name,
            `> ${node.name}: STILL RUNNING after ${this.#options.stopTimeout} s (pid ${process.pid})`,
          );
        }
        return EX_FAILURE;
      }
      const down = onDown(
        downAmong(
          gone,
          [...pids.keys()].filter((target) => !gone.includes(target)),
        ),
      );
      for (const target of gone) {
        report.note("");
        report.note(`\t> ${target.node.name}: ${report.ok}`);
        await down.next();
        // Celery counts the node once more, as one without a process.
        pids.set(target, null);
        sayWaiting();
        pids.delete(target);
      }
      for await (const _ of down);
    }
    report.note("");
    return EX_OK;
  }

  async *#sayDown(nodes: readonly Node[]): AsyncGenerator<void> {
    for (const { name } of nodes) {
      this.#report.note(`> ${name}: ${this.#report.down}`);
      yield;
    }
  }

  /** Whether the signal has gone out; says so when not. */
  #signal(target: Target, signal: NodeJS.Signals): boolean {
    const { node, process } = target;
    try {
      if (signalTarget(target, signal)) return true;
      this.#report.note(`Could not signal ${node.name} (${process.pid}): No such process`);
    } catch (error) {
      this.#report.problem(node.name, `Could not signal ${node.name} (${process.pid}): ${(error as Error).message}`);
    }
    return false;
  }

  #sayUnreachable(node: Node, unreachable: Unreachable): number {
    switch (unreachable.kind) {
      case "down":
        this.#report.note(`> ${node.name}: ${this.#report.down}`);
        return EX_OK;
      case "stale":
        this.#report.note(`Could not signal ${node.name} (${unreachable.pid}): No such process`);
        return EX_OK;
      case "foreign":
        this.#report.problem(
          node.name,
          `Could not signal ${node.name} (${unreachable.pid}): it is another process (${unreachable.command})`,
        );
        return EX_FAILURE;
    }
  }
}

/** Nodes of which no process is left. */
function downAmong(gone: readonly Target[], left: readonly Target[]): Node[] {
  return [...new Set(gone.map(({ node }) => node))].filter((node) => left.every((target) => target.node !== node));
}

/** `SIGTERM` → `TERM`. */
const shortName = (signal: NodeJS.Signals): string => signal.replace(/^SIG/, "");
