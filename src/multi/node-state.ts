import { renameSync, statSync, unlinkSync } from "node:fs";
import { nodename } from "../protocol/nodename.ts";
import { readPidfile } from "../system/pidfile.ts";
import { commandOf, environmentOf } from "../system/process-command.ts";
import type { Node } from "./node.ts";

/** In the environment of each node that is started: by it a node is known whatever its process calls itself. */
export const nodeVariable = "TQ_NODE";

/** What a node's pidfile, and the process behind it, say. */
export type NodeState =
  | { readonly kind: "down"; readonly pid: null }
  | { readonly kind: "running"; readonly pid: number }
  /** Its pidfile is made, and not written yet. */
  | { readonly kind: "starting"; readonly pid: null }
  /** The process that wrote the pidfile is gone. */
  | { readonly kind: "stale"; readonly pid: number | null }
  /** The pidfile names a process that is somebody else's. */
  | { readonly kind: "foreign"; readonly pid: number; readonly command: string };

/**
 * Looks at a node by its pidfile. Only "running" is a process that may be signalled: it is there,
 * it is not another one that got the id since, and it bears the node's name. Throws `TQ_PIDFILE_INVALID` for a
 * file that is no pidfile.
 */
export function stateOf(node: Node, pidfile = node.pidfile): NodeState {
  const state = readPidfile(pidfile);
  if (state.kind === "absent") return { kind: "down", pid: null };
  if (state.kind === "stale") return { kind: "stale", pid: state.pid };
  if (state.pid === null) return { kind: "starting", pid: null };
  const command = commandOf(state.pid);
  // Nobody tells: the age of the process has to do.
  if (command === undefined) return { kind: "running", pid: state.pid };
  // A process that ends has lost its command line before it is gone.
  if (command.length === 0) return { kind: "stale", pid: state.pid };
  if (isCalled(node, command) || environmentOf(state.pid, nodeVariable) === node.nodename) {
    return { kind: "running", pid: state.pid };
  }
  // Its id was given to another process, as after a reboot; or the file is somebody else's.
  if (state.younger) return { kind: "stale", pid: state.pid };
  return { kind: "foreign", pid: state.pid, command: command.join(" ").slice(0, 120) };
}

/** Whether a process is called by the node's name: in its title, tq's or Celery's, or in its arguments. */
function isCalled(node: Node, command: readonly string[]): boolean {
  const title = /^\[[\w ]+: (\S+):\w+\]/.exec(command.join(" "))?.[1];
  if (title !== undefined) return title === node.nodename;
  return command.some((word, index) => {
    const name = ["-n", "--hostname"].includes(command[index - 1] ?? "")
      ? word
      : /^(?:-n|--hostname=)(.+)$/.exec(word)?.[1];
    return name !== undefined && (name === node.name || nodename(name, hostOf(node)) === node.nodename);
  });
}

const hostOf = (node: Node): string => node.nodename.slice(node.nodename.indexOf("@") + 1);

/** Where the pidfile of a process is kept while the one that replaces it has taken its name. */
export const retiredPidfile = (node: Node): string => `${node.pidfile}.old`;

/** Removes a pidfile nobody stands behind any more; one that was replaced meanwhile stays. */
export function removeStalePidfile(pidfile: string, pid: number | null): void {
  const before = statSync(pidfile, { throwIfNoEntry: false });
  if (before === undefined) return;
  const state = readPidfile(pidfile);
  if (state.pid !== pid) return;
  // Moved first: whoever takes the place between look and removal keeps what is his.
  const aside = `${pidfile}.${process.pid}.stale`;
  try {
    renameSync(pidfile, aside);
    if (statSync(aside).ino === before.ino) unlinkSync(aside);
    else renameSync(aside, pidfile);
  } catch {
    // Gone, or not ours to remove: it is recognised as stale all the same.
  }
}
