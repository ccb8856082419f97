import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { describe, expect, test } from "vitest";
import { beneathShell, planReaper } from "../../src/system/reaper.ts";
import { root } from "../helpers/build.ts";
import { type Child, childrenOf, startChild } from "../helpers/child.ts";
import { cheap, multiStage } from "../helpers/multi.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

test("orphans are buried by tini or a shell in the place of Node, by tini as its child, or by nobody", () => {
  const command = ["node", "tq.js", "multi"];
  const all = { command, canReplace: true, tini: "/usr/bin/tini", hasShell: true };
  expect(planReaper(all)).toEqual({ kind: "replace", command: ["/usr/bin/tini", "--", ...command] });
  expect(planReaper({ ...all, tini: undefined })).toEqual({ kind: "replace", command: beneathShell(command) });
  const old = { ...all, canReplace: false };
  expect(planReaper(old)).toEqual({ kind: "start", command: ["/usr/bin/tini", "-s", "--", ...command] });
  expect(planReaper({ ...old, tini: undefined })).toEqual({ kind: "none" });
});

const canIsolate = ((): boolean => {
  try {
    execFileSync("unshare", ["--pid", "--fork", "--mount-proc", "true"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
})();

/** Starts a program as process 1 of a namespace; its children are seen from outside. */
const startAsOne = (command: readonly string[], options: Parameters<typeof startChild>[2] = {}): Child =>
  startChild("unshare", ["--pid", "--fork", "--mount-proc", "--kill-child", ...command], options);
const processOne = (child: Child): Promise<number> => until(() => childrenOf(child.pid)[0]);

describe.runIf(canIsolate)("process 1", () => {
  for (const shell of ["dash", "bash", "busybox"]) {
    const there = execFileSync("sh", ["-c", `command -v ${shell} || true`], { encoding: "utf8" }).trim();
    test.runIf(there)(`that is ${shell} buries orphans, passes signals on, and keeps the exit code`, async () => {
      await using folder = await temporaryFolder();
      const program = `
        const { spawn } = require("node:child_process");
        for (const signal of ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGQUIT"]) process.on(signal, () => console.log("got " + signal));
        process.on("SIGTERM", () => setTimeout(() => process.exit(7), 100));
        setInterval(() => undefined, 1000);
        spawn("sh", ["-c", "(echo > orphan) & (echo > orphan2) & exit"], { stdio: "ignore" });
        console.log("up");`;
      const [, ...rest] = beneathShell([process.execPath, "-e", program]);
      await using one = startAsOne([there, ...(shell === "busybox" ? ["sh"] : []), ...rest], { cwd: folder.path });
      await one.printed("up");
      const pid = await processOne(one);
      await until(() => existsSync(folder.file("orphan")) && existsSync(folder.file("orphan2")));
      await until(() => childrenOf(pid).length === 1, { message: "the orphans to be buried" });
      for (const signal of ["SIGUSR1", "SIGUSR2", "SIGHUP", "SIGINT", "SIGQUIT"] as const) {
        process.kill(pid, signal);
        await one.printed(`got ${signal}`);
      }
      process.kill(pid, "SIGTERM");
      expect(await one.exited).toEqual({ code: 7, signal: null });
    });
  }

  test("that is tq multi run buries the orphans of tasks, or says what it would need to", async () => {
    await using stage = await multiStage();
    writeFileSync(
      stage.file("proj.mjs"),
      `import { spawn } from "node:child_process";
       import { Tq } from ${JSON.stringify(join(root, "dist", "index.js"))};
       export const app = new Tq("proj", { broker: "sqlite://tq.db", backend: "sqlite://tq.db" });
       app.task("proj.orphan", () => void spawn("sh", ["-c", "(sleep 0.1; echo > orphan) & exit"], { detached: true, stdio: "ignore" }));`,
    );
    const words = ["multi", "run", "w1", "-A", "./proj.mjs", ...cheap];
    await using run = startAsOne([process.execPath, join(root, "bin", "tq.js"), ...words], {
      cwd: stage.path,
      env: { ...process.env, NO_COLOR: "1" },
    });
    await run.printed(/Supervisor\] w1@\S+ is ready/, { timeout: 20 });
    const one = await processOne(run);
    // Beneath whatever process 1 became is the supervisor, or tini again; but no child of either that has ended.
    const family = (pid: number): number[] => childrenOf(pid).flatMap((child) => [child, ...family(child)]);
    const orphans = (): number => family(one).filter((pid) => readFileSync(`/proc/${pid}/cmdline`).length === 0).length;
    await (await stage.app.sendTask("proj.orphan")).get({ timeout: 15 });
    await until(() => existsSync(stage.file("orphan")));
    const canBury =
      "execve" in process || (process.env.PATH ?? "").split(delimiter).some((path) => existsSync(join(path, "tini")));
    if (canBury) await until(() => orphans() === 0, { message: "the orphan to be buried" });
    else expect(run.output).toContain("Node buries no orphans");
    process.kill(one, "SIGTERM");
    expect(await run.exited).toEqual({ code: 0, signal: null });
    expect(run.output).toMatch(/Stopping: SIGTERM to 1 processes\./);
  });
});
