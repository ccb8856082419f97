import { setTimeout as delay } from "node:timers/promises";
import { type Launched, launch, type Readiness } from "./launch.ts";
import { lockNode } from "./lock.ts";
import type { Node } from "./node.ts";
import { removeStalePidfile, stateOf } from "./node-state.ts";

/** What a start came to. */
export type StartOutcome =
  | { readonly kind: "ready"; readonly pid: number }
  /** Not waited for. */
  | { readonly kind: "spawned"; readonly pid: number }
  | { readonly kind: "already-running"; readonly pid: number | null }
  /** Its pidfile belongs to a process that is not this node. */
  | { readonly kind: "foreign"; readonly pid: number; readonly command: string }
  /** Still starting when the time was up; it goes on. */
  | { readonly kind: "late"; readonly pid: number }
  | (Readiness & { readonly kind: "ended" });

export interface StartOptions {
  readonly env: NodeJS.ProcessEnv;
  /** Whether to wait until the node says that it is ready. */
  readonly wait: boolean;
  /** Seconds to wait for that, and for another `tq multi` that is at work on the node. */
  readonly timeout: number;
  readonly onBusy: (node: Node, pid: number | null) => void;
}

/** Starts a node in the background, unless it runs. */
export async function startNode(node: Node, options: StartOptions): Promise<StartOutcome> {
  using _lock = await lockNode(node, { timeout: options.timeout, onWait: (pid) => options.onBusy(node, pid) });
  const state = stateOf(node);
  switch (state.kind) {
    case "running":
    case "starting":
      return { kind: "already-running", pid: state.pid };
    case "foreign":
      return state;
    case "stale":
      removeStalePidfile(node.pidfile, state.pid);
      break;
    case "down":
      break;
  }
  const launched = launch(node, { bound: false, output: "log", env: options.env });
  try {
    return await outcomeOf(node, launched, options);
  } finally {
    launched.release();
  }
}

/** What became of a launched node after at most `timeout` seconds. */
export async function outcomeOf(
  node: Node,
  launched: Launched,
  { wait, timeout }: { readonly wait: boolean; readonly timeout: number },
): Promise<StartOutcome> {
  const readiness = node.isOurs ? launched.readiness : readinessByPidfile(node, launched, timeout);
  // Not waited for: whether there is a program of this name is known in a moment all the same.
  const time = new AbortController();
  const up = delay((wait ? timeout : 0.05) * 1000, undefined, { signal: time.signal }).catch(() => undefined);
  const end = await Promise.race([readiness, up]);
  time.abort();
  if (end === undefined) return { kind: wait ? "late" : "spawned", pid: launched.pid };
  if (end.kind === "ended") return end;
  const { pid } = node.isOurs ? launched : stateOf(node);
  return { kind: "ready", pid: pid ?? launched.pid };
}

/** Looks, a tenth of a second apart, at which the same process has to be there. */
const steadyLooks = 5;

/**
 * A command that is not ours is taken to be ready when its pidfile stays; it may go to the
 * background by itself, and a Celery that does so makes and removes the file once to try it.
 */
async function readinessByPidfile(node: Node, launched: Launched, timeout: number): Promise<Readiness> {
  const deadline = performance.now() + timeout * 1000;
  const ended = launched.exited.then(({ code, signal }) => code !== 0 || signal !== null);
  let last: number | null = null;
  for (let looks = 0; performance.now() < deadline; looks++) {
    const failed = await Promise.race([ended.then((bad) => bad || delay(100, false)), delay(100, false)]);
    if (failed) return launched.readiness;
    const { kind, pid } = stateOf(node);
    if (kind !== "running" || pid !== last) looks = 0;
    if (looks >= steadyLooks) return { kind: "ready" };
    last = kind === "running" ? pid : null;
  }
  return new Promise(() => undefined);
}
