import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, readlinkSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { findIdentity } from "../../src/system/identity.ts";
import { root } from "../helpers/build.ts";
import { childrenOf, isAlive, startChild } from "../helpers/child.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import {
  describeAsRoot,
  type Installation,
  installationFor,
  linkInstalled,
  makeUser,
  type TestUser,
} from "../helpers/users.ts";

const project = `import { Tq } from "tq";
export const app = new Tq("proj", { ...JSON.parse(process.env.PROJ_SETTINGS ?? "{}") });
app.task("proj.who", () => ({
  uid: process.getuid(), gid: process.getgid(), groups: process.getgroups(), umask: process.umask(), cwd: process.cwd(),
  env: { HOME: process.env.HOME, USER: process.env.USER, TQ_DETACHED: process.env.TQ_DETACHED ?? null, NODE: process.env.STARTED_BY ?? null },
}));`;

interface Who {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly umask: number;
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | null>>;
}

let folder: TemporaryFolder;
const started: number[] = [];
/** A start that takes ten seconds of patience, which the other tests need not wait for. */
let waiting: Promise<Ended>;

beforeAll(async () => {
  folder = await temporaryFolder("tq daemon ");
  execFileSync("chmod", ["755", folder.path]);
  writeFileSync(folder.file("proj.mjs"), project);
});

afterAll(async () => {
  for (const pid of started) if (isAlive(pid)) process.kill(pid, "SIGKILL");
  await folder[Symbol.asyncDispose]();
});

interface Ended {
  readonly code: number | null;
  readonly output: string;
}

async function tq(
  args: readonly string[],
  { cwd = folder.path, env = {}, bin = join(root, "bin", "tq.js"), prefix = [] as readonly string[] } = {},
): Promise<Ended> {
  const [command, ...rest] = [...prefix, process.execPath, bin, ...args] as [string, ...string[]];
  const child = startChild(command, rest, { cwd, env: { ...process.env, NO_COLOR: "1", ...env } });
  const { code } = await child.exited;
  return { code, output: child.output };
}

const pidIn = (file: string): number => {
  const pid = Number(readFileSync(file, "utf8"));
  started.push(pid);
  return pid;
};

async function stop(pid: number): Promise<void> {
  process.kill(pid, "SIGTERM");
  await until(() => !isAlive(pid), { message: `process ${pid} to end` });
}

const store = (path: string) => ({
  PROJ_SETTINGS: JSON.stringify({ brokerUrl: `sqlite://${path}`, resultBackend: `sqlite://${path}` }),
});

async function askWho(path: string): Promise<Who> {
  await using app = new Tq("client", { broker: `sqlite://${path}`, backend: `sqlite://${path}` });
  return (await (await app.sendTask<Who>("proj.who")).get({ timeout: 10 })) as Who;
}

describe("tq worker -D", () => {
  beforeAll(() => {
    linkInstalled(folder.path, { folder: root, [Symbol.dispose]: () => undefined });
    const env = { PROJ_SETTINGS: JSON.stringify({ brokerUrl: "redis://127.0.0.1:1/0" }) };
    const files = ["-f", folder.file("d.log"), "--pidfile", folder.file("d.pid")];
    waiting = tq(["-A", "./proj.mjs", "worker", "-D", "-P", "solo", ...files], { env });
  });

  test("comes back when the worker is ready, which goes on in a session of its own", async () => {
    const home = folder.file("first run");
    mkdirSync(home);
    writeFileSync(join(home, "node"), `#!/bin/sh\nSTARTED_BY=wrapper exec "${process.execPath}" "$@"\n`, {
      mode: 0o755,
    });
    const args = ["-A", "../proj.mjs", "--workdir", "first run", "worker", "-Dc", "1", "-l", "INFO", "-n", "w1@%h"];
    const files = ["-f", "%n.log", "--pidfile", "%n.pid", "--umask", "027", "--executable", join(home, "node")];
    const env = store(folder.file("a.db"));
    expect(await tq([...args, ...files], { env })).toEqual({ code: 0, output: "" });

    const pid = pidIn(join(home, "w1.pid"));
    expect(isAlive(pid)).toBe(true);
    const log = readFileSync(join(home, "w1.log"), "utf8");
    expect(log).toMatch(/w1@\S+ ready\./);
    expect(log).toContain("[tasks]");
    expect(statSync(join(home, "w1.log")).mode & 0o777).toBe(0o640);
    expect(statSync(join(home, "w1.pid")).mode & 0o777).toBe(0o640);
    // A session of its own, nothing to read, and nobody's pipe to break.
    expect(
      readFileSync(`/proc/${pid}/stat`, "latin1")
        .replace(/^.*\) /s, "")
        .split(" ")[3],
    ).toBe(String(pid));
    expect(readlinkSync(`/proc/${pid}/fd/0`)).toBe("/dev/null");
    expect(readlinkSync(`/proc/${pid}/fd/2`)).toBe(join(home, "w1.log"));
    const who = await askWho(folder.file("a.db"));
    expect(who).toMatchObject({ umask: 0o027, cwd: home, env: { TQ_DETACHED: null, NODE: "wrapper" } });

    const again = await tq([...args, ...files], { env });
    expect(again).toMatchObject({
      code: 73,
      output: expect.stringContaining(`Seems we're already running? (pid: ${pid}`),
    });
    expect(isAlive(pid)).toBe(true);

    // HUP starts it again as it was started; its pidfile leads to it, under whatever id.
    process.kill(pid, "SIGHUP");
    const readies = (): number => readFileSync(join(home, "w1.log"), "utf8").match(/w1@\S+ ready\./g)?.length ?? 0;
    await until(() => readies() === 2, { timeout: 20, message: "the worker to be ready again" });
    const next = pidIn(join(home, "w1.pid"));
    expect(await askWho(folder.file("a.db"))).toMatchObject({ umask: 0o027, cwd: home });

    const children = childrenOf(next);
    await stop(next);
    expect(children.filter(isAlive)).toEqual([]);
    await until(() => !isAlive(pid), { message: "the process that was restarted to be gone" });
    expect(statSync(join(home, "w1.pid"), { throwIfNoEntry: false })).toBeUndefined();
  });

  test("takes what the flags do not say from the settings, and says when it logs nowhere", async () => {
    const env = {
      PROJ_SETTINGS: JSON.stringify({
        brokerUrl: `sqlite://${folder.file("b.db")}`,
        workerLogfile: folder.file("set-%n.log"),
        workerPidfile: folder.file("set-%n.pid"),
        workerUmask: "077",
      }),
    };
    const args = ["-A", "./proj.mjs", "worker", "-D", "-c", "1", "-n", "s"];
    expect(await tq(args, { env })).toEqual({ code: 0, output: "" });
    const pid = pidIn(folder.file("set-s.pid"));
    expect(statSync(folder.file("set-s.log")).mode & 0o777).toBe(0o600);
    await stop(pid);

    const silent = await tq([...args, "--pidfile", folder.file("silent.pid")], { env: store(folder.file("b.db")) });
    expect(silent).toEqual({ code: 0, output: "Its log goes nowhere: name a file with --logfile to have one." });
    await stop(pidIn(folder.file("silent.pid")));
  });

  test("says in the terminal why it cannot start, with the exit code of the reason", async () => {
    const env = store(folder.file("c.db"));
    const worker = ["-A", "./proj.mjs", "worker", "-D", "-c", "1", "--pidfile", folder.file("c.pid")];
    writeFileSync(folder.file("broken.mjs"), "throw new Error('no database today')");
    const broken = ["-A", "./broken.mjs", "worker", "-D", "-f", folder.file("c.log"), "--executable", process.execPath];
    expect(await tq(broken)).toMatchObject({ code: 2, output: expect.stringContaining("no database today") });

    expect(await tq([...worker, "-f", folder.file("none", "x.log")], { env })).toMatchObject({
      code: 73,
      output: expect.stringContaining("there is no folder"),
    });
    writeFileSync(folder.file("precious"), "mine");
    symlinkSync(folder.file("precious"), folder.file("link.log"));
    expect(await tq([...worker, "-f", folder.file("link.log")], { env })).toMatchObject({
      code: 73,
      output: expect.stringContaining("it is a symbolic link"),
    });
    expect(readFileSync(folder.file("precious"), "utf8")).toBe("mine");
    expect(await tq([...worker, "-f", folder.file("c.log"), "--executable", "/nowhere/node"], { env })).toMatchObject({
      code: 1,
      output: expect.stringContaining("Can't exec /nowhere/node"),
    });
    expect(await tq([...worker, "-f", folder.file("c.log"), "--umask", "9"], { env })).toMatchObject({ code: 2 });
    expect(statSync(folder.file("c.pid"), { throwIfNoEntry: false })).toBeUndefined();
  });
});

describe("the user of --uid and the group of --gid", () => {
  const lines: Readonly<Record<string, string>> = {
    "passwd/web": "web:x:33:34:Web:/srv/web:/bin/sh",
    "passwd/33": "web:x:33:34:Web:/srv/web:/bin/sh",
    "group/mail": "mail:x:8:",
  };
  const look = (database: string, key: string): string | undefined => lines[`${database}/${key}`];

  test("are found by name or number; the group is the user's own unless one is given", () => {
    const web = { uid: 33, gid: 34, name: "web", home: "/srv/web", shell: "/bin/sh" };
    expect(findIdentity("web", undefined, look)).toEqual(web);
    expect(findIdentity(33, null, look)).toEqual(web);
    expect(findIdentity("web", "mail", look)).toEqual({ ...web, gid: 8 });
    expect(findIdentity("web", "70", look)).toEqual({ ...web, gid: 70 });
    expect(findIdentity("1001", "8", look)).toMatchObject({ uid: 1001, gid: 8, name: null });
    expect(findIdentity(undefined, "mail", look)).toMatchObject({ uid: null, gid: 8 });
    expect(findIdentity(undefined, undefined, look)).toBeUndefined();
  });

  test("that nobody has are refused by name", () => {
    expect(() => findIdentity("ghost", undefined, look)).toThrow('there is no user "ghost"');
    expect(() => findIdentity("web", "ghosts", look)).toThrow('there is no group "ghosts"');
    expect(() => findIdentity("1001", undefined, look)).toThrow("give --gid as well");
  });
});

describeAsRoot("a worker started by root", () => {
  let user: TestUser;
  let installed: Installation;
  let home: string;
  let bin: string;

  beforeAll(() => {
    user = makeUser();
    installed = installationFor(user);
    home = join(user.home, "proj");
    mkdirSync(home);
    writeFileSync(join(home, "proj.mjs"), project);
    linkInstalled(home, installed);
    execFileSync("chown", ["-R", user.name, home]);
    bin = join(installed.folder, "bin", "tq.js");
  });
  afterAll(() => {
    installed[Symbol.dispose]();
    user[Symbol.dispose]();
  });
  const run = (args: readonly string[], options: { env?: Record<string, string>; prefix?: readonly string[] } = {}) =>
    tq(args, { cwd: home, bin, env: { ...store(join(home, "tq.db")), ...options.env }, prefix: options.prefix ?? [] });
  const worker = (...args: readonly string[]) => ["-A", "./proj.mjs", "worker", "-c", "1", "-l", "INFO", ...args];

  test("becomes the user of --uid with all its groups and none of root's, and hands folders over", async () => {
    const files = [
      "-f",
      join(folder.path, "var", "log", "%n.log"),
      "--pidfile",
      join(folder.path, "var", "run", "%n.pid"),
    ];
    expect(await run(worker("-D", "--uid", user.name, ...files))).toEqual({ code: 0, output: "" });
    const pid = pidIn(join(folder.path, "var", "run", "celery.pid"));
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\\t${user.uid}\\t${user.uid}\\t${user.uid}\\t${user.uid}$`, "m"));
    expect(status).toMatch(new RegExp(`^Gid:\\t${user.gid}\\t${user.gid}\\t${user.gid}\\t${user.gid}$`, "m"));
    expect(status).toMatch(/^CapEff:\t0+$/m);
    for (const path of ["var", "var/log", "var/log/celery.log", "var/run", "var/run/celery.pid"]) {
      const { uid, gid } = statSync(folder.file(path));
      expect({ path, uid, gid }).toEqual({ path, uid: user.uid, gid: user.gid });
    }
    // The store was made by the user as well: the test looks at it with the eyes of root.
    const who = await askWho(join(home, "tq.db"));
    expect(who).toMatchObject({ uid: user.uid, gid: user.gid, env: { HOME: user.home, USER: user.name } });
    expect([...who.groups].sort()).toEqual([user.gid, user.extraGroup].sort());
    await stop(pid);
  });

  test("takes user and group from the settings too, and a number without an account", async () => {
    const settings = { brokerUrl: `sqlite://${join(home, "tq.db")}`, workerUid: user.name, workerGid: user.extraGroup };
    const child = startChild(process.execPath, [bin, ...worker("-P", "solo")], {
      cwd: home,
      env: { ...process.env, PROJ_SETTINGS: JSON.stringify(settings) },
    });
    await child.printed(/ ready\.$/);
    const status = readFileSync(`/proc/${child.pid}/status`, "utf8");
    expect(status).toMatch(new RegExp(`^Uid:\\t${user.uid}\\t`, "m"));
    expect(status).toMatch(new RegExp(`^Gid:\\t${user.extraGroup}\\t`, "m"));
    expect(child.output).not.toContain("superuser");
    await child.stop();
    // Somebody without an account reads what everybody may.
    execFileSync("chmod", ["755", user.home]);
    const anonymous = startChild(process.execPath, [bin, ...worker("-P", "solo", "--uid", "54321", "--gid", "54322")], {
      cwd: home,
      env: { ...process.env, ...store("/dev/shm/tq-54321.db") },
    });
    await anonymous.printed(/ ready\.$/);
    expect(readFileSync(`/proc/${anonymous.pid}/status`, "utf8")).toMatch(/^Groups:\t54322\s*$/m);
    await anonymous.stop();
    execFileSync("sh", ["-c", "rm -f /dev/shm/tq-54321.db*"]);
  });

  test("starts nothing when it cannot drop its privileges", async () => {
    const drop = worker("--uid", user.name, "--pidfile", join(home, "never.pid"));
    const cases: readonly (readonly [prefix: readonly string[], reason: RegExp])[] = [
      // An ordinary user that wants to be another.
      [["setpriv", "--reuid", "54321", "--clear-groups"], /only root may do that/],
      // Root that may not change its groups, and root that may not change itself.
      [["setpriv", "--bounding-set", "-setgid"], /EPERM/],
      [["setpriv", "--bounding-set", "-setuid"], /EPERM/],
      // The user changes and the power stays: root could be had back.
      [["setpriv", "--securebits", "+no_setuid_fixup"], /root can still be had back/],
    ];
    for (const [prefix, reason] of cases) {
      const { code, output } = await run(drop, { prefix });
      expect(output).toMatch(reason);
      expect(output).toContain("Nothing was started.");
      expect(output).not.toContain("ready.");
      expect(code).toBe(77);
    }
    expect(statSync(join(home, "never.pid"), { throwIfNoEntry: false })).toBeUndefined();
  });

  test("is refused pickle and yaml unless it is forced, and warned in any case", async () => {
    const env = {
      PROJ_SETTINGS: JSON.stringify({ brokerUrl: `sqlite://${join(home, "r.db")}`, acceptContent: ["json", "pickle"] }),
    };
    const refused = await run(worker("-P", "solo"), { env });
    expect(refused.code).toBe(1);
    expect(refused.output).toContain("is a very bad idea!");
    const forced = startChild(process.execPath, [bin, ...worker("-P", "solo")], {
      cwd: home,
      env: { ...process.env, ...env, C_FORCE_ROOT: "1" },
    });
    await forced.printed(/ ready\.$/);
    expect(forced.output).toContain("absolutely not recommended");
    await forced.stop();
  });
});

describe("a worker in the background", () => {
  test("that waits for its broker is left to it, and said to be not ready", async () => {
    const { code, output } = await waiting;
    expect(code).toBe(0);
    expect(output).toMatch(/runs in the background \(pid \d+\) and is not ready yet\. Its log is .*d\.log/);
    await stop(pidIn(folder.file("d.pid")));
  });
});
