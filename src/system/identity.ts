import { execFileSync } from "node:child_process";
import { chownSync, lstatSync, mkdirSync, readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { ImproperlyConfigured, SecurityError } from "../errors.ts";

/** Who a process is to be: numbers, and what goes with the user where the system knows one. */
export interface Identity {
  /** Null leaves the user as it is. */
  readonly uid: number | null;
  readonly gid: number;
  /** Null for a number without an account. */
  readonly name: string | null;
  readonly home: string | null;
  readonly shell: string | null;
}

/** The code of errors about changing who a process is; the command ends with 77 (EX_NOPERM). */
export const identityCode = "TQ_IDENTITY";

/**
 * The user and group that `--uid` and `--gid` name, each by name or number; the group is the
 * user's own when only the user is given (inventory J27). Undefined when neither is given. Throws
 * `ImproperlyConfigured` for a name nobody has.
 */
export function findIdentity(
  uid: string | number | null | undefined,
  gid: string | number | null | undefined,
  look: Accounts = systemAccounts,
): Identity | undefined {
  const group = isGiven(gid) ? findGroup(String(gid), look) : undefined;
  if (!isGiven(uid)) {
    return group === undefined ? undefined : { uid: null, gid: group, name: null, home: null, shell: null };
  }
  const text = String(uid);
  const account = parseAccount(look("passwd", text));
  if (account) return { ...account, gid: group ?? account.gid };
  if (!isNumber(text))
    throw new ImproperlyConfigured(`--uid: there is no user ${JSON.stringify(text)} on this system.`);
  if (group === undefined) {
    throw new ImproperlyConfigured(
      `--uid: the user ${text} has no account here, so its group is not known: give --gid as well.`,
    );
  }
  return { uid: Number(text), gid: group, name: null, home: null, shell: null };
}

/** The line of a database (`passwd`, `group`) that a name or a number finds; undefined for none. */
export type Accounts = (database: "passwd" | "group", key: string) => string | undefined;

const isGiven = (value: string | number | null | undefined): value is string | number =>
  value !== undefined && value !== null && value !== "";

const isNumber = (text: string): boolean => /^\d{1,10}$/.test(text);

function findGroup(text: string, look: Accounts): number {
  const found = look("group", text)?.split(":")[2];
  if (found !== undefined && isNumber(found)) return Number(found);
  if (isNumber(text)) return Number(text);
  throw new ImproperlyConfigured(`--gid: there is no group ${JSON.stringify(text)} on this system.`);
}

/** `name:password:uid:gid:description:home:shell`. */
function parseAccount(line: string | undefined): (Identity & { readonly uid: number }) | undefined {
  const [name = "", , uid = "", gid = "", , home = "", shell = ""] = line?.split(":") ?? [];
  if (!isNumber(uid) || !isNumber(gid)) return undefined;
  return { uid: Number(uid), gid: Number(gid), name, home: home || null, shell: shell || null };
}

/** The files first: they are there in the smallest container. Then whatever else the system asks. */
const systemAccounts: Accounts = (database, key) => lookInFile(database, key) ?? askSystem(database, key);

function lookInFile(database: "passwd" | "group", key: string): string | undefined {
  try {
    const lines = readFileSync(`/etc/${database}`, "utf8").split("\n");
    return lines.find((line) => line.startsWith(`${key}:`)) ?? lines.find((line) => line.split(":")[2] === key);
  } catch {
    return undefined;
  }
}

function askSystem(database: string, key: string): string | undefined {
  try {
    const line = execFileSync("getent", [database, key], { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] });
    return line.trim() || undefined;
  } catch {
    return undefined;
  }
}

/**
 * Becomes another user for good: its groups, its group, itself, in this order, and the
 * environment that goes with it. Throws `SecurityError` of code `TQ_IDENTITY` when that is not
 * allowed, when something of the old identity is left, or when root could be had back: nobody may go on
 * then. Whoever is that user already need not be root.
 */
export function becomeIdentity(identity: Identity, env: NodeJS.ProcessEnv = process.env): void {
  const { uid, gid, name } = identity;
  if (isAlready(identity)) return;
  if (process.setuid === undefined || process.setgid === undefined || process.setgroups === undefined) {
    throw refusal(identity, "this system has no users and groups to change to");
  }
  if (process.geteuid?.() !== 0) throw refusal(identity, "only root may do that");
  try {
    // Root's own groups would stay otherwise: with `disk` among them nothing would be dropped at all.
    if (name !== null) (process as NodeJS.Process & GroupSetter).initgroups(name, gid);
    else process.setgroups([gid]);
    process.setgid(gid);
    if (uid !== null) process.setuid(uid);
  } catch (error) {
    throw refusal(identity, (error as Error).message, error);
  }
  const left = whatIsLeft(identity);
  if (left !== undefined) throw refusal(identity, left);
  if (uid === null) return;
  for (const [variable, value] of [
    ["HOME", identity.home],
    ["USER", name],
    ["LOGNAME", name],
    ["SHELL", identity.shell],
  ] as const) {
    if (value !== null) env[variable] = value;
  }
}

/** Node has it; its types do not. */
interface GroupSetter {
  initgroups(user: string, extraGroup: number): void;
}

function isAlready({ uid, gid }: Identity): boolean {
  const users = [process.getuid?.(), process.geteuid?.()];
  const groups = [process.getgid?.(), process.getegid?.()];
  // Root stays root, but with what else it is a member of as asked.
  if (users.includes(0)) return false;
  return users.every((one) => uid === null || one === uid) && groups.every((one) => one === gid);
}

function whatIsLeft({ uid, gid, name }: Identity): string | undefined {
  if (process.getgid?.() !== gid || process.getegid?.() !== gid) return "the group is still the old one";
  if (uid === null) return undefined;
  if (process.getuid?.() !== uid || process.geteuid?.() !== uid) return "the user is still the old one";
  if (uid === 0) return undefined;
  if (name === null && process.getgroups?.().some((group) => group !== gid)) return "other groups are still there";
  try {
    process.setuid?.(0);
  } catch {
    return undefined;
  }
  return "root can still be had back (setuid(0) is possible)";
}

function refusal(identity: Identity, reason: string, cause?: unknown): SecurityError {
  const who = [
    ...(identity.uid === null ? [] : [`user ${identity.name ?? identity.uid}`]),
    ...(identity.uid === null ? [`group ${identity.gid}`] : []),
  ].join(", ");
  return new SecurityError(`Cannot change to ${who}: ${reason}. Nothing was started.`, { code: identityCode, cause });
}

/**
 * Makes the folders of these files where they are missing and gives those it made to the user the process is
 * about to become. What is there already is left as it is: it may be everybody's.
 */
export function handOverFolders(files: readonly string[], identity: Identity): void {
  for (const file of files) {
    for (const folder of missingFolders(dirname(resolve(file)))) {
      mkdirSync(folder, { mode: 0o755 });
      chownSync(folder, identity.uid ?? process.getuid?.() ?? 0, identity.gid);
    }
  }
}

/** From the outermost to the innermost. */
function missingFolders(folder: string): string[] {
  const missing: string[] = [];
  for (let one = folder; lstatSync(one, { throwIfNoEntry: false }) === undefined; one = dirname(one))
    missing.unshift(one);
  return missing;
}
