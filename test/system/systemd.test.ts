import { execFileSync } from "node:child_process";
import { readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { canRunSystemd, type PrivateSystemd, startSystemd } from "../helpers/systemd.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { describeAsRoot, type Installation, installationFor, makeUser, type TestUser } from "../helpers/users.ts";

const hasAnalyze = (() => {
  try {
    execFileSync("systemd-analyze", ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

describe.skipIf(!hasAnalyze)("the units", () => {
  test("are what systemd takes without a word", () => {
    for (const unit of ["tq.service", "tq@.service", "tq-beat.service"]) {
      const verify = `systemd-analyze verify --man=no ${join(root, "systemd", unit)} 2>&1`;
      const said = execFileSync("sh", ["-c", verify], { encoding: "utf8" });
      expect(said.split("\n").filter((line) => line.includes("/systemd/tq"))).toEqual([]);
    }
  });

  test("have a folder for everything the shared settings name", () => {
    const tmpfiles = readFileSync(join(root, "systemd", "tq.tmpfiles"), "utf8");
    const conf = readFileSync(join(root, "systemd", "tq.conf"), "utf8");
    const files = [...conf.matchAll(/^TQ_\w+_FILE(?:NAME)?="(.*)"/gm)].map((match) => match[1] as string);
    expect(files.length).toBeGreaterThanOrEqual(5);
    for (const file of files) expect(tmpfiles).toMatch(new RegExp(`^d ${file.replace(/\/[^/]*$/, "")} 07`, "m"));
  });
});

const project = `import { appendFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Tq } from "tq";
export const app = new Tq("proj", {
  broker: "sqlite:///opt/tq/tq.db", backend: "sqlite:///opt/tq/tq.db",
  beatSchedule: { tick: { task: "proj.mark", schedule: 0.5, args: ["tick"] } },
});
const mark = (text) => appendFileSync("/opt/tq/marks", text + "\\n");
app.task("proj.mark", mark);
app.task("proj.slow", async (text, seconds) => { mark("begin " + text); await sleep(seconds * 1000); mark("end " + text); });
app.task("proj.who", () => {
  let wrote = "yes";
  try { writeFileSync("/usr/tq-was-here", ""); } catch (error) { wrote = error.code; }
  return { uid: process.getuid(), wrote, socket: process.env.NOTIFY_SOCKET ?? null };
});`;

const linesOf = (file: string): string[] => {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
};

const runs = canRunSystemd();

describeAsRoot(`tq under a real systemd${runs ? "" : " [needs systemd and a control group of its own]"}`, () => {
  let folder: TemporaryFolder;
  let user: TestUser;
  let installed: Installation;
  let systemd: PrivateSystemd;
  let client: Tq;

  beforeAll(async () => {
    if (!runs) return;
    folder = await temporaryFolder("tq-systemd-");
    user = makeUser();
    installed = installationFor(user);
    const here = folder.file("project");
    execFileSync("mkdir", ["-p", join(here, "node_modules")]);
    writeFileSync(join(here, "proj.mjs"), project);
    symlinkSync("/opt/tq-lib", join(here, "node_modules", "tq"));
    writeFileSync(join(here, "tq"), `#!/bin/sh\nexec "${process.execPath}" /opt/tq-lib/bin/tq.js "$@"\n`, {
      mode: 0o755,
    });
    const conf = readFileSync(join(root, "systemd", "tq.conf"), "utf8")
      .replace(/^TQ_BIN=.*/m, 'TQ_BIN="/opt/tq/tq"')
      .replace(/^TQ_APP=.*/m, 'TQ_APP="./proj.mjs"')
      .replace(/^TQ_NODES=.*/m, 'TQ_NODES="a b"')
      .replace(/^TQ_OPTS=.*/m, 'TQ_OPTS="-c 1 --time-limit=300"');
    writeFileSync(join(here, "tq.env"), conf);
    execFileSync("chown", ["-R", user.name, here]);
    systemd = await startSystemd(folder.path, {
      project: here,
      installed: installed.folder,
      dropIn: `[Service]\nUser=${user.name}\nGroup=${user.name}\nEnvironmentFile=/opt/tq/tq.env\nWatchdogSec=3\nRestartSec=100ms\n`,
    });
    const url = `sqlite://${join(here, "tq.db")}`;
    client = new Tq("client", { broker: url, backend: url });
  });
  afterAll(async () => {
    if (!runs) return;
    await client.close();
    await systemd[Symbol.asyncDispose]();
    installed[Symbol.dispose]();
    user[Symbol.dispose]();
    await folder[Symbol.asyncDispose]();
    rmSync("/usr/tq-was-here", { force: true });
  });

  const active = async (unit: string) =>
    until(
      async () => {
        const state = await systemd.show(unit);
        return state.ActiveState === "active" && state.SubState === "running" ? state : undefined;
      },
      { timeout: 30, interval: 0.2, message: `${unit} to be active` },
    );

  test.runIf(runs)(
    "a node is started when it is ready, works in its sandbox as its user, and finishes before it stops",
    async () => {
      expect(await systemd.inside("systemctl", "start", "tq@w1")).toBe("");
      const state = await systemd.show("tq@w1");
      expect(state).toMatchObject({ ActiveState: "active", SubState: "running", Type: "notify", NRestarts: "0" });
      expect(state.StatusText).toMatch(/^w1@.* ready\.$/);
      const who = await (await client.sendTask("proj.who")).get({ timeout: 15 });
      expect(who).toEqual({ uid: user.uid, wrote: "EROFS", socket: null });

      const marks = folder.file("project", "marks");
      await client.sendTask("proj.slow", ["a", 2]);
      await until(() => linesOf(marks).includes("begin a"));
      expect(await systemd.inside("systemctl", "stop", "tq@w1")).toBe("");
      expect(linesOf(marks)).toEqual(["begin a", "end a"]);
      expect(await systemd.show("tq@w1")).toMatchObject({ ActiveState: "inactive", Result: "success", NRestarts: "0" });
    },
  );

  test.runIf(runs)(
    "a node that is killed comes back, and one that hangs is ended by the watchdog and comes back",
    async () => {
      await systemd.inside("systemctl", "start", "tq@w2");
      const first = await active("tq@w2");
      await systemd.inside("kill", "-KILL", first.MainPID as string);
      const second = await until(
        async () => {
          const state = await systemd.show("tq@w2");
          return state.SubState === "running" && state.MainPID !== first.MainPID ? state : undefined;
        },
        { timeout: 30, interval: 0.2 },
      );
      expect(second.NRestarts).toBe("1");
      await systemd.inside("kill", "-STOP", second.MainPID as string);
      await until(
        async () => {
          const state = await systemd.show("tq@w2");
          return state.SubState === "running" && state.NRestarts === "2";
        },
        { timeout: 40, interval: 0.3, message: "the watchdog to restart the node" },
      );
      expect(await (await client.sendTask("proj.who")).get({ timeout: 15 })).toMatchObject({ uid: user.uid });
      await systemd.inside("systemctl", "stop", "tq@w2");
    },
  );

  test.runIf(runs)("beat is started when it has its schedule, keeps it over a restart, and stops at once", async () => {
    expect(await systemd.inside("systemctl", "start", "tq-beat")).toBe("");
    expect(await active("tq-beat")).toMatchObject({ StatusText: "beat ready." });
    const schedule = async () => JSON.parse(await systemd.inside("cat", "/var/lib/tq/beat-schedule"));
    await until(async () => (await schedule()).entries.tick.totalRunCount >= 1, { interval: 0.2 });
    const before = (await schedule()).entries.tick.totalRunCount;
    expect(await systemd.inside("systemctl", "restart", "tq-beat")).toBe("");
    await until(async () => (await schedule()).entries.tick.totalRunCount > before, { interval: 0.2 });
    expect(await systemd.inside("systemctl", "stop", "tq-beat")).toBe("");
    expect(await systemd.show("tq-beat")).toMatchObject({ ActiveState: "inactive", Result: "success" });
  });

  test.runIf(runs)(
    "all nodes of one unit are ready together, reloaded without a stop, and stopped together",
    async () => {
      expect(await systemd.inside("systemctl", "start", "tq")).toBe("");
      const state = await active("tq");
      expect(state.StatusText).toBe("2 nodes ready.");
      const pids = () => systemd.inside("cat", "/run/tq/a.pid", "/run/tq/b.pid");
      const before = await pids();
      expect(await systemd.inside("systemctl", "reload", "tq")).toBe("");
      await until(
        async () => (await pids()).split("\n").every((pid) => pid === "" || !before.split("\n").includes(pid)),
        {
          timeout: 30,
          interval: 0.3,
          message: "both nodes to be new",
        },
      );
      expect((await systemd.show("tq")).MainPID).toBe(state.MainPID);
      expect(await (await client.sendTask("proj.who")).get({ timeout: 15 })).toMatchObject({ socket: null });
      expect(await systemd.inside("systemctl", "stop", "tq")).toBe("");
      expect(await systemd.show("tq")).toMatchObject({ ActiveState: "inactive", Result: "success" });
    },
  );
});
