import { setTimeout as delay } from "node:timers/promises";
import { identityOf, isGone, type ProcessIdentity } from "../system/process-identity.ts";
import { killGroup } from "./launch.ts";
import type { Node } from "./node.ts";
import { removeStalePidfile, retiredPidfile, stateOf } from "./node-state.ts";

/** A running process of a node: it has one, or two while it is replaced. */
export interface Target {
  readonly node: Node;
  readonly pidfile: string;
  readonly process: ProcessIdentity;
}

/** Why a node cannot be signalled. */
export type Unreachable =
  | { readonly kind: "down" }
  /** What its pidfile names is gone, or is another process now. */
  | { readonly kind: "stale"; readonly pid: number | null }
  | { readonly kind: "foreign"; readonly pid: number; readonly command: string };

/** The processes of a node that may be signalled; stale pidfiles are cleared away. */
export function targetsOf(node: Node): {
  readonly targets: readonly Target[];
  readonly unreachable: Unreachable | null;
} {
  const targets: Target[] = [];
  let unreachable: Unreachable | null = null;
  for (const pidfile of [node.pidfile, retiredPidfile(node)]) {
    const state = stateOf(node, pidfile);
    const { kind } = state;
    if (kind === "running") {
      const process = identityOf(state.pid);
      // A pidfile can have two names while one node hands over to another.
      if (!targets.some((target) => target.process.pid === process.pid)) targets.push({ node, pidfile, process });
    } else if (kind === "stale") {
      removeStalePidfile(pidfile, state.pid);
      if (pidfile === node.pidfile) unreachable = { kind, pid: state.pid };
    } else if (pidfile === node.pidfile) {
      unreachable = kind === "foreign" ? state : { kind: "down" };
    }
  }
  return { targets, unreachable: targets.length > 0 ? null : (unreachable ?? { kind: "down" }) };
}

/**
 * Sends a signal to a process that was found to be the node's. False when it has ended meanwhile;
 * throws what the system says when it may not be signalled.
 */
export function signalTarget({ process: identity, node, pidfile }: Target, signal: NodeJS.Signals): boolean {
  // Looked at again, as close to the signal as can be: its id may have been given to another.
  if (isGone(identity) || stateOf(node, pidfile).kind !== "running") return false;
  try {
    process.kill(identity.pid, signal);
    // What it has started would go on; it leads a group of its own where it was started by us.
    if (signal === "SIGKILL") killGroup(identity.pid);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ESRCH") return false;
    throw error;
  }
}

/** Seconds between two looks, and between two dots. */
const interval = 0.05;
const dotInterval = 2;

/**
 * Waits until one or more of the processes are gone, clears their pidfiles away and resolves with
 * them; with none when the deadline (of `performance.now()`) has passed. `onDot` is called at the
 * first look, every two seconds, and at the end.
 */
export async function nextGone(
  targets: readonly Target[],
  { deadline, onDot }: { readonly deadline: number; readonly onDot: () => void },
): Promise<readonly Target[]> {
  onDot();
  for (let next = performance.now() + dotInterval * 1000; ; ) {
    const gone = targets.filter(({ process }) => isGone(process));
    if (gone.length > 0) {
      onDot();
      for (const { pidfile, process } of gone) removeStalePidfile(pidfile, process.pid);
      return gone;
    }
    const now = performance.now();
    if (now >= deadline) return [];
    if (now >= next) {
      onDot();
      next += dotInterval * 1000;
    }
    await delay(interval * 1000);
  }
}
