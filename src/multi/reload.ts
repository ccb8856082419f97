import { copyFileSync, constants as fsConstants, linkSync, renameSync, unlinkSync } from "node:fs";
import { readPidfile } from "../system/pidfile.ts";
import { identityOf } from "../system/process-identity.ts";
import { launch } from "./launch.ts";
import { lockNode } from "./lock.ts";
import type { Node } from "./node.ts";
import { type NodeState, retiredPidfile, stateOf } from "./node-state.ts";
import { outcomeOf, type StartOptions, type StartOutcome, startNode } from "./start.ts";
import { nextGone, signalTarget, type Target, targetsOf } from "./stop.ts";

/** What became of one node's reload. */
export type ReloadOutcome =
  /** It did not run, and was started. */
  | { readonly kind: "started"; readonly start: StartOutcome }
  /** The new process did not come up: the old one goes on as if nothing had been. */
  | { readonly kind: "kept"; readonly pid: number; readonly start: StartOutcome }
  | { readonly kind: "replaced"; readonly pid: number; readonly by: number }
  /** The new process works, and the old one has not ended within the time. */
  | { readonly kind: "draining"; readonly pid: number; readonly by: number };

export interface ReloadOptions extends StartOptions {
  /** Seconds the old process has to finish what it runs; Infinity for as long as it takes. */
  readonly drainTimeout: number;
  /** Called when the new process works and the old one is told to end. */
  readonly onDrain: (node: Node, pid: number) => void;
  readonly onDot: () => void;
}

/**
 * Replaces a node's process by a new one without a gap: the new one is up and ready before the
 * old one is told to end, so that at any time somebody takes tasks. Both bear the node's name for
 * that long; the pidfile is the new one's from its start on, and the old one's is kept beside it.
 */
export async function reloadNode(node: Node, options: ReloadOptions): Promise<ReloadOutcome> {
  const outcome = await withLock(node, options, async () => {
    for (;;) {
      await finishBrokenReload(node, options);
      const { targets } = targetsOf(node);
      const [target] = targets;
      if (target === undefined) return undefined;
      // With two of them the process that a reload cut off before had started has taken the name just now.
      if (targets.length === 1) return await replace(node, target, options);
      if (!(await drainRetired(node, options))) return { kind: "draining" as const, ...pidsOf(targets) };
    }
  });
  return outcome ?? { kind: "started", start: await startNode(node, options) };
}

const pidsOf = (targets: readonly Target[]): { readonly pid: number; readonly by: number } => ({
  pid: targets[1]?.process.pid as number,
  by: targets[0]?.process.pid as number,
});

async function replace(node: Node, old: Target, options: ReloadOptions): Promise<ReloadOutcome> {
  const { pid } = old.process;
  const retired = retiredPidfile(node);
  keepAside(node, pid);
  const launched = launch(node, { bound: false, output: "log", env: options.env, replaces: pid });
  let start: StartOutcome;
  try {
    start = await outcomeOf(node, launched, { ...options, wait: true });
    if (start.kind === "late") {
      // Not ready in time: better the old one than two.
      launched.signal("SIGTERM");
      await Promise.race([launched.exited, new Promise((resolve) => setTimeout(resolve, 5_000).unref())]);
      launched.killGroup();
      await launched.exited;
    }
  } finally {
    launched.release();
  }
  let by = start.kind === "ready" ? start.pid : null;
  if (by === null) {
    // The process that a reload cut off before had started may have taken the name first: then it is the new one.
    const current = stateOf(node);
    if (current.kind === "running" && current.pid !== pid) by = current.pid;
  }
  if (by === null) {
    putBack(node);
    return { kind: "kept", pid, start };
  }
  options.onDrain(node, pid);
  const retiree = { ...old, pidfile: retired };
  signalTarget(retiree, "SIGTERM");
  const gone = await nextGone([retiree], {
    deadline: performance.now() + options.drainTimeout * 1000,
    onDot: options.onDot,
  });
  if (gone.length === 0) return { kind: "draining", pid, by };
  removeAside(node);
  return { kind: "replaced", pid, by };
}

/** What a reload that was cut off has left to be done. */
export type Remnant =
  | "nothing"
  /** A file without a process. */
  | "remove"
  /** The new process is gone: the old one gets its name again. */
  | "put-back"
  /** Both run: the old one has to end. */
  | "drain";

/**
 * Decides by the states of the two pidfiles. Two names of one process are left: the new process may have been started
 * and take the first name in the next moment, and the second is all that leads to the old one then.
 */
export function remnantOf(retired: NodeState, current: NodeState): Remnant {
  if (retired.kind === "down") return "nothing";
  if (retired.kind !== "running") return "remove";
  if (current.kind === "running") return current.pid === retired.pid ? "nothing" : "drain";
  return "put-back";
}

async function finishBrokenReload(node: Node, options: ReloadOptions): Promise<void> {
  switch (remnantOf(stateOf(node, retiredPidfile(node)), stateOf(node))) {
    case "nothing":
      return;
    case "remove":
      return removeAside(node);
    case "put-back":
      return putBack(node);
    case "drain":
      await drainRetired(node, options);
  }
}

/** Ends the old process; false when it has not ended in time, and is still to be found by its file. */
async function drainRetired(node: Node, options: ReloadOptions): Promise<boolean> {
  const pidfile = retiredPidfile(node);
  const state = stateOf(node, pidfile);
  if (state.kind === "running") {
    const target: Target = { node, pidfile, process: identityOf(state.pid) };
    options.onDrain(node, state.pid);
    signalTarget(target, "SIGTERM");
    const deadline = performance.now() + options.drainTimeout * 1000;
    if ((await nextGone([target], { deadline, onDot: options.onDot })).length === 0) return false;
  }
  removeAside(node);
  return true;
}

async function withLock<Result>(node: Node, options: ReloadOptions, work: () => Promise<Result>): Promise<Result> {
  using _lock = await lockNode(node, { timeout: options.timeout, onWait: (pid) => options.onBusy(node, pid) });
  return await work();
}

/**
 * Gives the pidfile of the old process a second name, which stays when the new process takes the first. One it has
 * already, from a reload that was cut off, is left: the first may be another's by now.
 */
export function keepAside(node: Node, pid: number): void {
  if (readPidfile(retiredPidfile(node)).pid === pid) return;
  removeAside(node);
  try {
    linkSync(node.pidfile, retiredPidfile(node));
  } catch {
    // A file system without links: a copy tells as much.
    copyFileSync(node.pidfile, retiredPidfile(node), fsConstants.COPYFILE_EXCL);
  }
}

/** The old process's pidfile has the first name again. */
export function putBack(node: Node): void {
  renameSync(retiredPidfile(node), node.pidfile);
  // Two names of one file are left as they are by a rename.
  removeAside(node);
}

export function removeAside(node: Node): void {
  try {
    unlinkSync(retiredPidfile(node));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}
