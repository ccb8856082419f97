import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { accessSync, constants, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";

/**
 * Finds the programs the tests need, and installs those that are missing where that can be done:
 * Debian packages as root, Python packages into a folder of the user's cache.
 */

/** A program that was found, or in one line what to do to have it. */
export type Program = { readonly path: string } | { readonly missing: string };

export interface Programs {
  readonly redisServer: Program;
  readonly rabbitmqServer: Program;
  /** A terminal for programs that take one over. */
  readonly tmux: Program;
  /** The `bin` folder of a Python environment with Celery. */
  readonly celery: Program;
  readonly shellcheck: Program;
  /** Process 1 of the image. */
  readonly tini: Program;
}

/** Says what is being done, where it takes long enough for somebody to wonder. */
export type Say = (line: string) => void;

const run = promisify(execFile);
const requirements = new URL("../python/requirements.txt", import.meta.url);

/** What is not on PATH for ordinary users, or is there only as a wrapper that wants to change the user. */
const redisFolders = ["/usr/bin", "/usr/local/bin", "/opt/homebrew/bin", "/usr/sbin"];
const rabbitFolders = [
  "/usr/lib/rabbitmq/bin",
  "/usr/local/lib/rabbitmq/bin",
  "/opt/rabbitmq/sbin",
  "/opt/homebrew/sbin",
];

/** Finds or installs everything; never rejects for want of a program. */
export async function findPrograms(say: Say): Promise<Programs> {
  const find = () => ({
    redis: given("TQ_TEST_REDIS_SERVER") ?? inFolders("redis-server", [...pathFolders(), ...redisFolders]),
    shellcheck: given("TQ_TEST_SHELLCHECK") ?? inFolders("shellcheck", [...pathFolders(), "/opt/homebrew/bin"]),
    tini: given("TQ_TEST_TINI") ?? inFolders("tini", [...pathFolders(), "/usr/bin", "/sbin"]),
    rabbit: given("TQ_TEST_RABBITMQ_SERVER") ?? inFolders("rabbitmq-server", [...rabbitFolders, ...pathFolders()]),
    tmux:
      given("TQ_TEST_TMUX") ?? inFolders("tmux", [...pathFolders(), "/usr/bin", "/usr/local/bin", "/opt/homebrew/bin"]),
  });
  let found = find();
  const packages: string[] = [];
  if (found.redis === undefined) packages.push("redis-server");
  if (found.rabbit === undefined) packages.push("rabbitmq-server");
  if (found.tmux === undefined) packages.push("tmux");
  if (found.shellcheck === undefined) packages.push("shellcheck");
  if (found.tini === undefined) packages.push("tini");
  if (given("TQ_TEST_CELERY") === undefined && !(await hasVenv())) packages.push("python3", "python3-venv");
  const refusal = packages.length > 0 ? await installDebianPackages(packages, say) : undefined;
  if (packages.length > 0) found = find();
  const orMissing = (path: string | undefined, name: string): Program =>
    path === undefined
      ? { missing: `${name} is missing: apt-get install ${name}${refusal ? ` (${refusal})` : ""}` }
      : { path };
  return {
    redisServer: orMissing(found.redis, "redis-server"),
    rabbitmqServer: orMissing(found.rabbit, "rabbitmq-server"),
    tmux: orMissing(found.tmux, "tmux"),
    celery: await findCelery(say),
    shellcheck: orMissing(found.shellcheck, "shellcheck"),
    tini: orMissing(found.tini, "tini"),
  };
}

function given(variable: string): string | undefined {
  const value = process.env[variable];
  return value && existsSync(value) ? value : undefined;
}

function pathFolders(): string[] {
  return (process.env.PATH ?? "").split(delimiter).filter(Boolean);
}

function inFolders(name: string, folders: readonly string[]): string | undefined {
  return folders.map((folder) => join(folder, name)).find(isExecutable);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

async function hasVenv(): Promise<boolean> {
  return run("python3", ["-c", "import venv, ensurepip"]).then(
    () => true,
    () => false,
  );
}

/**
 * Installs Debian packages as root; in CI also through sudo where that asks for no password. Gives
 * the reason when it cannot be done.
 */
async function installDebianPackages(packages: readonly string[], say: Say): Promise<string | undefined> {
  const aptGet = inFolders("apt-get", [...pathFolders(), "/usr/bin"]);
  if (aptGet === undefined) return "no apt-get here";
  const isRoot = process.getuid?.() === 0;
  const sudo = isRoot ? [] : ["sudo", "-n"];
  if (!isRoot && !(process.env.CI && (await succeeds("sudo", ["-n", "true"]))))
    return "as root, npm test does it itself";
  say(`installing ${packages.join(", ")} with apt-get`);
  // Debian starts what it installs, on the default ports and with the machine's data; its own switch
  // against that is a policy that says no. One that exists already is the machine's decision.
  const script = `
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then printf '#!/bin/sh\\nexit 101\\n' > $policy && chmod 755 $policy && trap "rm -f $policy" EXIT; fi
    export DEBIAN_FRONTEND=noninteractive
    "$0" update -qq; "$0" install -qq -y --no-install-recommends "$@"`;
  const command = [...sudo, "sh", "-c", script, aptGet, ...packages];
  try {
    await run(command[0] as string, command.slice(1), { timeout: 600_000, maxBuffer: 1 << 26 });
    return undefined;
  } catch (error) {
    return lastLine(error) || "apt-get failed";
  }
}

async function succeeds(command: string, args: readonly string[]): Promise<boolean> {
  return run(command, args).then(
    () => true,
    () => false,
  );
}

/** The Python environment in the user's cache, made when it is not there; its name says what is in it. */
async function findCelery(say: Say): Promise<Program> {
  const own = given("TQ_TEST_CELERY");
  if (own !== undefined) return { path: own };
  const hash = createHash("sha256").update(readFileSync(requirements)).digest("hex").slice(0, 12);
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "tq-test");
  const folder = join(cache, `venv-${hash}`);
  const complete = join(folder, ".complete");
  // A Python that was upgraded or removed leaves environments that no longer start.
  if (existsSync(complete) && (await succeeds(join(folder, "bin", "python"), ["-c", "import celery"]))) {
    return { path: join(folder, "bin") };
  }
  if (!(await hasVenv()))
    return { missing: "Celery is missing: install python3 and python3-venv, npm test does the rest" };
  say("installing Celery from PyPI");
  try {
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(cache, { recursive: true });
    await run("python3", ["-m", "venv", folder]);
    const pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements.pathname];
    await run(join(folder, "bin", "python"), pip, { timeout: 300_000, maxBuffer: 1 << 26 });
    writeFileSync(complete, "");
    return { path: join(folder, "bin") };
  } catch (error) {
    return { missing: `Celery could not be installed from PyPI: ${lastLine(error)}` };
  }
}

function lastLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr?.trim() || message || String(error)).trim().split("\n").at(-1) ?? "";
}
