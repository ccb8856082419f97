import { execFile, execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { isAlive } from "../helpers/child.ts";
import { describeWith } from "../helpers/services.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { describeAsRoot, type Installation, installationFor, makeUser, type TestUser } from "../helpers/users.ts";

const scripts = ["tq", "tq-beat"].map((name) => join(root, "init.d", name));

describeWith("shellcheck", "the init scripts", () => {
  test("are POSIX sh in which shellcheck finds nothing", () => {
    const shellcheck = process.env.TQ_TEST_SHELLCHECK as string;
    expect(execFileSync(shellcheck, ["-s", "sh", "-S", "style", ...scripts], { encoding: "utf8" })).toBe("");
  });
});

describe("the init scripts", () => {
  test("have the headers of the LSB", () => {
    for (const script of scripts) {
      const header = /### BEGIN INIT INFO\n([\s\S]*)### END INIT INFO/.exec(readFileSync(script, "utf8"))?.[1];
      for (const key of [
        "Provides",
        "Required-Start",
        "Required-Stop",
        "Default-Start",
        "Default-Stop",
        "Short-Description",
      ])
        expect(header).toMatch(new RegExp(`^# ${key}: +\\S`, "m"));
    }
  });
});

interface Ended {
  readonly code: number;
  readonly output: string;
}

describeAsRoot("an init script, with a real user,", () => {
  let folder: TemporaryFolder;
  let user: TestUser;
  let installed: Installation;
  let defaults: string;
  let settings: Record<string, string>;

  const write = (changes: Readonly<Record<string, string>> = {}): void => {
    const lines = Object.entries({ ...settings, ...changes }).map(([key, value]) => `${key}="${value}"`);
    writeFileSync(defaults, `${lines.join("\n")}\n`, { mode: 0o644 });
  };
  const script = (name: "tq" | "tq-beat", args: readonly string[], as: { uid?: number; gid?: number } = {}) =>
    new Promise<Ended>((resolve) => {
      const env = {
        PATH: process.env.PATH,
        TQ_DEFAULTS: defaults,
        NO_COLOR: "1",
        TQ_TEST_FILE: process.env.TQ_TEST_FILE,
      };
      execFile("sh", [join(root, "init.d", name), ...args], { env, cwd: "/", ...as }, (error, stdout, stderr) =>
        resolve({ code: (error as { code?: number } | null)?.code ?? 0, output: stdout + stderr }),
      );
    });
  const pidOf = (name: string): number => Number(readFileSync(folder.file("run", `${name}.pid`), "utf8"));

  beforeAll(async () => {
    folder = await temporaryFolder("tq-initd-");
    chmodSync(folder.path, 0o755);
    user = makeUser();
    installed = installationFor(user);
    const project = folder.file("proj");
    mkdirSync(join(project, "node_modules"), { recursive: true });
    symlinkSync(installed.folder, join(project, "node_modules", "tq"));
    const bin = join(project, "tq");
    writeFileSync(bin, `#!/bin/sh\nexec "${process.execPath}" "${join(installed.folder, "bin", "tq.js")}" "$@"\n`, {
      mode: 0o755,
    });
    writeFileSync(
      join(project, "proj.mjs"),
      `import { Tq } from "tq";
       export const app = new Tq("proj", { beatSchedule: { tick: { task: "proj.who", schedule: 0.5 } } });
       app.task("proj.who", () => ({ uid: process.getuid(), gid: process.getgid(), cwd: process.cwd() }));`,
    );
    execFileSync("chown", ["-R", user.name, project]);
    defaults = folder.file("defaults");
    settings = {
      TQ_APP: "./proj.mjs",
      TQ_BIN: bin,
      TQ_CHDIR: project,
      TQ_USER: user.name,
      TQ_NODES: "w1 w2",
      TQ_OPTS: "-c 1 -c:w2 2",
      TQ_PID_FILE: folder.file("run", "%n.pid"),
      TQ_LOG_FILE: folder.file("log", "%n%I.log"),
      TQ_BEAT_PID_FILE: folder.file("run", "beat.pid"),
      TQ_BEAT_LOG_FILE: folder.file("log", "beat.log"),
      TQ_BEAT_SCHEDULE_FILENAME: folder.file("lib", "schedule"),
      TQ_BROKER_URL: `sqlite://${join(project, "tq.db")}`,
      TQ_RESULT_BACKEND: `sqlite://${join(project, "tq.db")}`,
    };
    write();
  });
  afterAll(async () => {
    await script("tq", ["kill"]);
    await script("tq-beat", ["stop"]);
    installed[Symbol.dispose]();
    user[Symbol.dispose]();
    await folder[Symbol.asyncDispose]();
  });

  test("refuses what is wrong with the code of the LSB and starts nothing", async () => {
    expect(await script("tq", [])).toMatchObject({ code: 2, output: expect.stringContaining("Usage:") });
    expect(await script("tq", ["dance"])).toMatchObject({ code: 2 });
    expect(await script("tq-beat", ["dance"])).toMatchObject({ code: 2 });
    expect(await script("tq", ["start"], { uid: user.uid, gid: user.gid })).toMatchObject({
      code: 4,
      output: expect.stringContaining("only be used by root"),
    });
    expect(await script("tq", ["status"])).toMatchObject({
      code: 3,
      output: expect.stringContaining("no pidfile found"),
    });
    expect(await script("tq", ["reload"])).toMatchObject({ code: 7 });
    // The folders are the administrator's to make.
    expect(await script("tq", ["start"])).toMatchObject({
      code: 1,
      output: expect.stringContaining("create-paths makes it"),
    });

    write({ TQ_BIN: "/nowhere/tq" });
    expect(await script("tq", ["start"])).toMatchObject({ code: 5 });
    write({ TQ_USER: "ghost-of-tq" });
    expect(await script("tq-beat", ["start"])).toMatchObject({
      code: 6,
      output: expect.stringContaining("no user ghost-of-tq"),
    });
    write({ TQ_APP: "" });
    expect(await script("tq", ["start"])).toMatchObject({
      code: 6,
      output: expect.stringContaining("TQ_APP is not set"),
    });
    write();
    chmodSync(defaults, 0o666);
    expect(await script("tq", ["start"])).toMatchObject({ code: 6, output: expect.stringContaining("chmod go-w") });
    chmodSync(defaults, 0o644);
    execFileSync("chown", [user.name, defaults]);
    expect(await script("tq-beat", ["start"])).toMatchObject({
      code: 6,
      output: expect.stringContaining("chown root"),
    });
    execFileSync("chown", ["root", defaults]);
  });

  test("makes the folders, starts the nodes as their user, restarts, reloads, and stops them", async () => {
    expect(await script("tq", ["create-paths"])).toEqual({ code: 0, output: "" });
    for (const name of ["run", "log"])
      expect(statSync(folder.file(name))).toMatchObject({ uid: user.uid, mode: 0o42755 });
    expect(await script("tq", ["check"])).toEqual({ code: 0, output: "" });
    expect(await script("tq", ["dryrun"])).toMatchObject({
      code: 0,
      output: expect.stringMatching(/worker .*-n w2@\S+|w2@/),
    });

    const start = await script("tq", ["start"]);
    expect(start).toMatchObject({ code: 0, output: expect.stringMatching(/> w1@\S+: OK\n[\s\S]*> w2@\S+: OK\n/) });
    expect(statSync(folder.file("log", "w1.log")).uid).toBe(user.uid);
    const status = await script("tq", ["status"], { uid: 65534, gid: 65534 });
    expect(status).toMatchObject({
      code: 0,
      output: `tq (node w1) (pid ${pidOf("w1")}) is up...\ntq (node w2) (pid ${pidOf("w2")}) is up...\n`,
    });
    await using app = new Tq("client", {
      broker: settings.TQ_BROKER_URL as string,
      backend: settings.TQ_RESULT_BACKEND as string,
    });
    const who = await (await app.sendTask("proj.who")).get({ timeout: 15 });
    expect(who).toEqual({ uid: user.uid, gid: user.gid, cwd: settings.TQ_CHDIR });

    const first = pidOf("w1");
    expect(await script("tq", ["start"])).toMatchObject({ code: 0, output: "tq: already running\n" });
    expect(pidOf("w1")).toBe(first);
    expect(await script("tq", ["reload"])).toMatchObject({ code: 0 });
    expect(pidOf("w1")).not.toBe(first);
    const second = pidOf("w1");
    expect(await script("tq", ["restart"])).toMatchObject({ code: 0 });
    expect(pidOf("w1")).not.toBe(second);

    // Each by itself, as HUP has it; new processes without a gap; and stopped and started, since it runs.
    const log = (name: string): string => readFileSync(folder.file("log", `${name}.log`), "utf8");
    const readies = (name: string): number => log(name).match(/ready\.$/gm)?.length ?? 0;
    const before = [readies("w1"), readies("w2")] as const;
    const [hung1, hung2] = [pidOf("w1"), pidOf("w2")];
    expect(await script("tq", ["graceful"])).toEqual({
      code: 0,
      output: `tq worker w1 (pid ${hung1}) received SIGHUP\ntq worker w2 (pid ${hung2}) received SIGHUP\n`,
    });
    await until(() => readies("w1") > before[0] && readies("w2") > before[1], { timeout: 20 });
    const third = pidOf("w1");
    expect(await script("tq", ["force-reload"])).toMatchObject({ code: 0 });
    expect(pidOf("w1")).not.toBe(third);
    const fourth = pidOf("w1");
    expect(await script("tq", ["try-restart"])).toMatchObject({ code: 0 });
    expect(pidOf("w1")).not.toBe(fourth);
    await until(() => ![hung1, hung2, third, fourth].some(isAlive));

    process.kill(pidOf("w2"), "SIGKILL");
    const dead = pidOf("w2");
    await until(() => !isAlive(dead));
    expect(await script("tq", ["status"])).toMatchObject({
      code: 1,
      output: expect.stringContaining("is down, but pidfile exists!"),
    });
    expect(await script("tq", ["start"])).toMatchObject({ code: 0 });
    expect(await script("tq", ["status"])).toMatchObject({ code: 0 });

    const last = [pidOf("w1"), pidOf("w2")];
    expect(await script("tq", ["stop"])).toMatchObject({ code: 0 });
    expect(last.filter(isAlive)).toEqual([]);
    expect(await script("tq", ["stop"])).toMatchObject({ code: 0, output: "tq: not running\n" });
    expect(await script("tq", ["status"])).toMatchObject({ code: 3 });
    expect(await script("tq", ["try-restart"])).toMatchObject({ code: 0, output: "" });
    expect(await script("tq", ["reload"])).toMatchObject({ code: 7 });
    // Asked for by force, it is a start where nothing runs.
    expect(await script("tq", ["force-reload"])).toMatchObject({ code: 0 });
    expect(await script("tq", ["status"])).toMatchObject({ code: 0 });
    expect(await script("tq", ["stop"])).toMatchObject({ code: 0 });
    writeFileSync(folder.file("run", "w1.pid"), "what?\n");
    expect(await script("tq", ["status"])).toMatchObject({ code: 4, output: expect.stringContaining("bad pid file") });
    rmSync(folder.file("run", "w1.pid"));
  });

  test("starts beat as its user, and stops it", async () => {
    expect(await script("tq-beat", ["check"])).toMatchObject({ code: 1 });
    write({ TQ_CREATE_DIRS: "1" });
    expect(await script("tq-beat", ["start"])).toMatchObject({ code: 0, output: "Starting tq-beat...\n" });
    const pid = pidOf("beat");
    expect(readFileSync(`/proc/${pid}/status`, "utf8")).toMatch(new RegExp(`^Uid:\\t${user.uid}\\t`, "m"));
    await until(() => readFileSync(folder.file("log", "beat.log"), "utf8").includes("Sending due task tick"));
    expect(await script("tq-beat", ["status"])).toMatchObject({ code: 0, output: `tq-beat (pid ${pid}) is up...\n` });
    expect(await script("tq-beat", ["start"])).toMatchObject({ code: 0, output: "tq-beat: already running\n" });
    expect(await script("tq-beat", ["restart"])).toMatchObject({ code: 0 });
    expect(pidOf("beat")).not.toBe(pid);
    expect(await script("tq-beat", ["stop"])).toMatchObject({ code: 0, output: "Stopping tq-beat... OK\n" });
    expect(await script("tq-beat", ["stop"])).toMatchObject({ code: 0, output: "Stopping tq-beat... NOT RUNNING\n" });
    expect(await script("tq-beat", ["status"])).toMatchObject({ code: 3 });
    expect(await script("tq-beat", ["reload"])).toMatchObject({ code: 3 });
  });
});
