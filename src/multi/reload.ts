import { copyFileSync, constants as fsConstants, linkSync, renameSync, unlinkSync } from "node:fs";
import { identityOf } from "../system/process-identity.ts";
import { launch } from "./launch.ts";
import { lockNode } from "./lock.ts";
import type { Node } from "./node.ts";
import { retiredPidfile, stateOf } from "./node-state.ts";
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
  await finishBrokenReload(node, options);
  const old = await withLock(node, options, async () => {
    const [target] = targetsOf(node).targets;
    return target === undefined ? undefined : await replace(node, target, options);
  });
  if (old === undefined) return { kind: "started", start: await startNode(node, options) };
  return old;
}

async function replace(node: Node, old: Target, options: ReloadOptions): Promise<ReloadOutcome> {
  const { pid } = old.process;
  const retired = retiredPidfile(node);
  keepAside(node);
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

/** A reload that was cut off has left its old process running beside the new one, or nothing but a file. */
async function finishBrokenReload(node: Node, options: ReloadOptions): Promise<void> {
  await withLock(node, options, async () => {
    const retired = retiredPidfile(node);
    const state = stateOf(node, retired);
    if (state.kind === "down") return;
    const current = stateOf(node);
    if (state.kind !== "running") removeAside(node);
    else if (current.kind !== "running") putBack(node);
    else if (current.pid === state.pid) removeAside(node);
    else {
      const target: Target = { node, pidfile: retired, process: identityOf(state.pid) };
      options.onDrain(node, state.pid);
      signalTarget(target, "SIGTERM");
      await nextGone([target], { deadline: performance.now() + options.drainTimeout * 1000, onDot: options.onDot });
      removeAside(node);
    }
  });
}

async function withLock<Result>(node: Node, options: ReloadOptions, work: () => Promise<Result>): Promise<Result> {
  using _lock = await lockNode(node, { timeout: options.timeout, onWait: (pid) => options.onBusy(node, pid) });
  return await work();
}

/** Gives the old process's pidfile a second name, which stays when the new process takes the first. */
export function keepAside(node: Node): void {
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
