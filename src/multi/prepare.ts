import { accessSync, closeSync, constants, fchownSync, mkdirSync, openSync } from "node:fs";
import { dirname, join } from "node:path";
import { ImproperlyConfigured, TqError } from "../errors.ts";
import { findIdentity, handOverFolders } from "../system/identity.ts";
import type { Node } from "./node.ts";
import { stateOf } from "./node-state.ts";

/**
 * Sees to it that nodes can be started before the first of them is: their folders are there, their
 * files can be made, and no two share one. Throws `ImproperlyConfigured`, or a `TqError` of code
 * `TQ_PIDFILE_INVALID` or `TQ_LOGFILE_INVALID` that names file and reason.
 */
export function prepareNodes(nodes: readonly Node[]): void {
  refuseSharedPidfiles(nodes);
  for (const node of nodes) {
    if (node.pidfile !== "") {
      makeFolder(dirname(node.pidfile), "pidfile", node);
      stateOf(node);
    }
    if (node.logfile !== null) {
      makeFolder(dirname(node.logfile), "logfile", node);
      if (!node.logfile.includes("%P")) tryLog(node.logfile, node);
    }
  }
}

function refuseSharedPidfiles(nodes: readonly Node[]): void {
  const owners = new Map<string, Node>();
  for (const node of nodes) {
    if (node.pidfile === "") continue;
    const other = owners.get(node.pidfile);
    if (other) {
      throw new ImproperlyConfigured(
        `${other.name} and ${node.name} have the same pidfile ${node.pidfile}: put %n into its name`,
      );
    }
    owners.set(node.pidfile, node);
  }
}

function makeFolder(folder: string, file: "pidfile" | "logfile", node: Node): void {
  try {
    const identity = process.geteuid?.() === 0 ? findIdentity(node.uid, node.gid) : undefined;
    if (identity) handOverFolders([join(folder, "*")], identity);
    else mkdirSync(folder, { recursive: true, mode: 0o755 });
    accessSync(folder, constants.W_OK | constants.X_OK);
  } catch (error) {
    throw unusable(`The folder ${folder} of the ${file}`, file, node, error);
  }
}

function tryLog(path: string, node: Node): void {
  try {
    closeSync(openLog(path, node));
  } catch (error) {
    throw unusable(`The logfile ${path}`, "logfile", node, error);
  }
}

/**
 * Opens a node's log file to append to it. One that is made here belongs to who the node is going
 * to be; what root opens in somebody else's folder is not followed through a link.
 */
export function openLog(path: string, node: Node): number {
  const { O_APPEND, O_CREAT, O_EXCL, O_WRONLY, O_NOCTTY, O_NOFOLLOW, O_NONBLOCK } = constants;
  const identity = process.geteuid?.() === 0 ? findIdentity(node.uid, node.gid) : undefined;
  const flags = O_APPEND | O_WRONLY | O_NOCTTY | O_NONBLOCK | (identity ? O_NOFOLLOW : 0);
  if (identity) {
    try {
      const made = openSync(path, flags | O_CREAT | O_EXCL, 0o644);
      fchownSync(made, identity.uid ?? -1, identity.gid);
      return made;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    }
  }
  return openSync(path, flags | O_CREAT, 0o644);
}

const reasons: Readonly<Record<string, string>> = {
  EACCES: "permission denied",
  EPERM: "permission denied",
  EROFS: "the file system is read-only",
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  ENOTDIR: "a part of its path is a file, not a folder",
  EEXIST: "there is a file of this name",
  EISDIR: "it is a folder",
  ELOOP: "it is a symbolic link",
};

function unusable(what: string, file: "pidfile" | "logfile", node: Node, error: unknown): TqError {
  const { code = "", message } = error as NodeJS.ErrnoException;
  return new TqError(
    `${what} of ${node.name} cannot be used: ${reasons[code] ?? message}. Name another with --${file}. Nothing was started.`,
    { cause: error, code: file === "pidfile" ? "TQ_PIDFILE_INVALID" : "TQ_LOGFILE_INVALID" },
  );
}
