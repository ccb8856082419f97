import { readFileSync } from "node:fs";

/** Who a process is, to the system; undefined where the system knows no users. */
export interface ProcessIds {
  readonly uid: number | undefined;
  readonly euid: number | undefined;
  readonly gid: number | undefined;
  readonly egid: number | undefined;
  /** Names of the two groups. */
  readonly groups: readonly string[];
}

/** May a worker run as who it is? */
export type SuperuserVerdict =
  | { readonly kind: "fine" }
  | { readonly kind: "warn"; readonly text: string }
  | { readonly kind: "refuse"; readonly text: string };

/** Content types whose messages are more than plain data in Celery's world. */
const unsafe: Readonly<Record<string, string>> = {
  "application/x-python-serialize": "pickle",
  "application/x-yaml": "yaml",
};

/** Groups whose members become root with one command. */
const riskyGroups = ["sudo", "wheel"];

/**
 * Celery's rule for workers that run as root or as a group that leads to it (celery.platforms,
 * check_privileges): warned; refused when they accept pickle, and here yaml too, unless
 * `C_FORCE_ROOT` is set (`TQ_FORCE_ROOT` is another name for it). `accept` are content types. Pure.
 */
export function judgeSuperuser(
  ids: ProcessIds,
  accept: Iterable<string>,
  env: Readonly<Record<string, string | undefined>>,
): SuperuserVerdict {
  const isRoot = ids.uid === 0 || ids.euid === 0;
  if (!isRoot && !ids.groups.some((group) => riskyGroups.includes(group))) return { kind: "fine" };
  const who = `User information: uid=${ids.uid} euid=${ids.euid} gid=${ids.gid} egid=${ids.egid}`;
  const risky = [...accept].flatMap((type) => unsafe[type] ?? []);
  if (risky.length === 0 || env.C_FORCE_ROOT || env.TQ_FORCE_ROOT) {
    const text = [
      "You're running the worker with superuser privileges: this is",
      "absolutely not recommended!",
      "",
      "Please specify a different user using the --uid option.",
      "",
      who,
    ].join("\n");
    return { kind: "warn", text };
  }
  const text = [
    "Running a worker with superuser privileges when the",
    `worker accepts messages serialized with ${risky.join(" or ")} is a very bad idea!`,
    "",
    "Run it as another user, with --uid, or take it out of `acceptContent`.",
    "If you really want to continue then you have to set the C_FORCE_ROOT",
    "environment variable (but please think about this before you do).",
    "",
    who,
  ].join("\n");
  return { kind: "refuse", text };
}

/** Who this process is. */
export function processIds(): ProcessIds {
  const [gid, egid] = [process.getgid?.(), process.getegid?.()];
  const groups = [...new Set([gid, egid])].flatMap((id) => (id === undefined ? [] : (groupName(id) ?? [])));
  return { uid: process.getuid?.(), euid: process.geteuid?.(), gid, egid, groups };
}

function groupName(gid: number): string | undefined {
  try {
    const lines = readFileSync("/etc/group", "utf8").split("\n");
    return lines.map((line) => line.split(":")).find((fields) => fields[2] === String(gid))?.[0];
  } catch {
    return undefined;
  }
}
