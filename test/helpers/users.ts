import { execFileSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe } from "vitest";
import { root } from "./build.ts";

/** A user made for one test file. */
export interface TestUser extends Disposable {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
  /** A group it is also a member of. */
  readonly extraGroup: number;
}

const canMakeUsers =
  process.getuid?.() === 0 && process.platform === "linux" && has("useradd") && has("userdel") && runsForOthers();

function has(program: string): boolean {
  try {
    execFileSync("sh", ["-c", `command -v ${program}`], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** Node may be installed in root's home. */
function runsForOthers(): boolean {
  try {
    execFileSync(process.execPath, ["--version"], { uid: 65534, gid: 65534, stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

/** `describe` for tests that change users: skipped, with the reason in the name, for whoever is not root. */
export function describeAsRoot(name: string, define: () => void): void {
  if (canMakeUsers) describe(name, define);
  // In CI the suite may well run as an ordinary user: that is no fault of the suite.
  else describe.skip(`${name} [needs root, useradd, and a node for all users]`, define);
}

/** A new user with a group of its own, a second group, and a home. Gone when disposed. */
export function makeUser(): TestUser {
  const name = `tq${process.pid}`;
  const extra = `${name}x`;
  const home = mkdtempSync(join(tmpdir(), "tq-home-"));
  run("groupadd", extra);
  run("useradd", "--system", "--user-group", "-G", extra, "-d", home, "-s", "/bin/sh", name);
  run("chown", name, home);
  return {
    name,
    home,
    uid: Number(run("id", "-u", name)),
    gid: Number(run("id", "-g", name)),
    extraGroup: Number(run("getent", "group", extra).split(":")[2]),
    [Symbol.dispose]() {
      run("userdel", "-f", name);
      run("groupdel", extra);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

/** The files of users are locked while another test file changes them: tried again for some seconds. */
function run(command: string, ...args: string[]): string {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();
    } catch (error) {
      if (attempt > 50 || !/lock/.test(String((error as { readonly stderr?: unknown }).stderr))) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100);
    }
  }
}

/** tq as it is installed for everybody. */
export interface Installation extends Disposable {
  /** Holds `bin`, `dist` and `node_modules`. */
  readonly folder: string;
}

/** The repository where a user can read it, else a copy of what is installed from it. */
export function installationFor(user: TestUser): Installation {
  if (canRead(user, join(root, "dist", "index.js"))) return { folder: root, [Symbol.dispose]: () => undefined };
  const folder = mkdtempSync(join(tmpdir(), "tq-installed-"));
  execFileSync("chmod", ["755", folder]);
  for (const part of ["bin", "dist", "package.json", "node_modules"]) {
    cpSync(join(root, part), join(folder, part), { recursive: true, verbatimSymlinks: true });
  }
  return { folder, [Symbol.dispose]: () => rmSync(folder, { recursive: true, force: true }) };
}

function canRead(user: TestUser, path: string): boolean {
  try {
    execFileSync("test", ["-r", path], { uid: user.uid, gid: user.gid });
    return true;
  } catch {
    return false;
  }
}

/** A project folder everybody can read, whose modules find the installed tq. */
export function linkInstalled(project: string, installation: Installation): void {
  execFileSync("mkdir", ["-p", join(project, "node_modules")]);
  symlinkSync(installation.folder, join(project, "node_modules", "tq"));
}
