import { spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { codename, version } from "../../src/version.ts";
import { root } from "../helpers/build.ts";
import { childrenOf, isAlive } from "../helpers/child.ts";
import { cheap, multiStage, normalized } from "../helpers/multi.ts";
import { celeryBin, describeWith, freshRedis } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { describeAsRoot, makeUser } from "../helpers/users.ts";
import { pythonFolder } from "../helpers/worker.ts";

const splash = `tq multi v${version} (${codename})`;

describe("a node", () => {
  test("is started, restarted and stopped with the words of the manual, and started once", async () => {
    await using stage = await multiStage();
    const { host } = stage;
    const text = async (...words: string[]): Promise<string> => {
      const { code, output } = await stage.multi(...words);
      return `${normalized(output, host)}\n${code}`;
    };
    expect(await text("start", "w1", ...cheap)).toBe(
      [splash, "> Starting nodes...", "\t> w1@HOST: OK", "0"].join("\n"),
    );
    // OK means ready, not spawned.
    expect(stage.log("w1").at(-1)).toMatch(/ w1@\S+ ready\.$/);
    const first = stage.pid("w1");

    expect(await text("start", "w1", ...cheap)).toBe(
      [splash, "> Starting nodes...", "\t> w1@HOST: ALREADY RUNNING (pid PID)", "0"].join("\n"),
    );
    expect(stage.pid("w1")).toBe(first);
    expect(await text("status", "w1", "w2")).toBe("w1@HOST: OK (pid PID)\nw2@HOST: DOWN\n3");

    expect(await text("restart", "w1", ...cheap)).toBe(
      [
        splash,
        "> Stopping nodes...",
        "\t> w1@HOST: TERM -> PID",
        "> Waiting for 1 node -> PID...",
        "\t> w1@HOST: OK",
        "> Restarting node w1@HOST: OK",
        "> Waiting for 1 node -> None...",
        "0",
      ].join("\n"),
    );
    expect(stage.pid("w1")).not.toBe(first);
    expect(isAlive(first)).toBe(false);

    expect(await text("stopwait", "w1", ...cheap)).toBe(
      [
        splash,
        "> Stopping nodes...",
        "\t> w1@HOST: TERM -> PID",
        "> Waiting for 1 node -> PID...",
        "\t> w1@HOST: OK",
        "> w1@HOST: DOWN",
        "> Waiting for 1 node -> None...",
        "0",
      ].join("\n"),
    );
    expect(existsSync(stage.file("w1.pid"))).toBe(false);

    // What is down is said to be down, and a restart is a start then.
    expect(await text("stop", "w1", "--nosplash")).toBe("> w1@HOST: DOWN\n0");
    expect(await text("restart", "w1", "--nosplash", ...cheap)).toBe("> Restarting node w1@HOST: OK\n0");
    const last = stage.pid("w1");
    expect(await text("stop_verify", "w1", "--quiet")).toBe("\n0");
    expect(isAlive(last)).toBe(false);
  });

  test("that is stopped without waiting ends by itself, by the signal that was named", async () => {
    await using stage = await multiStage();
    await stage.multi("start", "w1", "w2", ...cheap);
    const pids = [stage.pid("w1"), stage.pid("w2")];
    const { code, output } = await stage.multi("stop", "w1", "w2", "-QUIT");
    expect(normalized(`${output}\n${code}`, stage.host)).toBe(
      [splash, "> Stopping nodes...", "\t> w1@HOST: QUIT -> PID", "\t> w2@HOST: QUIT -> PID", "0"].join("\n"),
    );
    await until(() => !pids.some(isAlive), { message: "both to end" });
  });

  test("that does not come up is FAILED with its exit code and its last words, and the others are not", async () => {
    await using stage = await multiStage();
    const failed = await stage.multi("start", "w1", "w2", "-A:w2", "nowhere", ...cheap);
    expect(failed.code).toBe(1);
    expect(normalized(failed.output, stage.host)).toMatch(
      new RegExp(
        [
          "\t> w1@HOST: OK",
          "\t> w2@HOST: \\* Child terminated with exit code 2",
          "FAILED",
          "\t {2}(Error: )?Unable to load the tq application\\.",
          "\t {2}The module nowhere was not found\\..*",
        ].join("\n"),
      ),
    );
    expect(existsSync(stage.file("w2.pid"))).toBe(false);
    expect(stage.isUp("w1")).toBe(true);

    // Also when it dies of something it cannot speak of, and when nothing but failures is to be said.
    writeFileSync(
      stage.file("dies.mjs"),
      'console.error("last words"); process.kill(process.pid, "SIGKILL"); await new Promise(() => {});',
    );
    const killed = await stage.multi("start", "w3", "-A", "./dies.mjs", "--nosplash", ...cheap);
    expect(normalized(killed.output, stage.host)).toBe(
      "> Starting nodes...\n\t> w3@HOST: * Child was terminated by signal 9\nFAILED\n\t  last words",
    );
    const quiet = await stage.multi("restart", "w3", "-A", "nowhere", "-q", ...cheap);
    expect(quiet).toMatchObject({ code: 1, output: expect.stringMatching(/^w3@\S+ did not start: .*Unable to load/) });
    expect((await stage.multi("start", "w4", "--executable=/nowhere/node", ...cheap)).output).toContain("ENOENT");
  });

  test("that is not waited for is OK when it is spawned, and its command can be seen", async () => {
    await using stage = await multiStage();
    const { code, output } = await stage.multi("start", "w1", "--no-wait", "--verbose", "--no-color", ...cheap);
    expect(code).toBe(0);
    expect(output).toMatch(/ {2}\S+ \S+bin\/tq\.js worker -l INFO -P solo .*-n w1@\S+ --pidfile=w1\.pid/m);
    expect(output).toMatch(/^OK$/m);
    expect(existsSync(stage.file("w1.pid")) && stage.log("w1").some((line) => line.endsWith(" ready."))).toBe(false);
    await until(() => stage.log("w1").some((line) => line.endsWith(" ready.")));
  });

  test("that runs too long when it is stopped is left to be given up or killed, with all its processes", async () => {
    await using stage = await multiStage();
    const args = ["-l", "INFO", "-c", "1", "--without-mingle", "--without-gossip"];
    await stage.multi("start", "w1", "w2", "-Q:w1", "one", "-Q:w2", "two", ...args);
    for (const queue of ["one", "two"]) {
      await stage.app.sendTask("acts.slow", [stage.file("marks"), queue, 60], { queue });
    }
    await until(
      () => existsSync(stage.file("marks")) && readFileSync(stage.file("marks"), "utf8").split("\n").length > 2,
    );
    const children = [...childrenOf(stage.pid("w1")), ...childrenOf(stage.pid("w2"))];
    expect(children).toHaveLength(2);

    const late = await stage.multi("stopwait", "w1", "--timeout", "0.3");
    expect(late.code).toBe(1);
    expect(late.output).toMatch(/> w1@\S+: STILL RUNNING after 0\.3 s \(pid \d+\)/);
    expect(stage.isUp("w1")).toBe(true);
    expect((await stage.multi("stopwait", "w1", "-QUIT", "--timeout=15")).code).toBe(0);

    const pid = stage.pid("w2");
    const killed = await stage.multi("kill", "w1", "w2");
    expect(normalized(killed.output, stage.host)).toBe(
      [splash, "> w1@HOST: DOWN", "Sending KILL to node w2@HOST (PID)"].join("\n"),
    );
    expect(killed.code).toBe(0);
    expect(isAlive(pid)).toBe(false);
    await until(() => !children.some(isAlive), { message: "its children to be gone" });
    expect(readdirSync(stage.path).filter((name) => name.includes(".pid"))).toEqual([]);
  });
});

describe("a pidfile", () => {
  test("that names another process has nobody signalled, whoever that is", async () => {
    await using stage = await multiStage();
    await stage.multi("start", "w2", ...cheap);
    const others = spawn("sleep", ["60"]);
    const gone = spawnSync("true").pid;
    try {
      // It ran already when the file was written: the file is somebody else's.
      writeFileSync(stage.file("w1.pid"), `${others.pid}\n`);
      const foreign = await stage.multi("stop", "w1");
      expect(foreign.code).toBe(1);
      expect(foreign.output).toMatch(/Could not signal w1@\S+ \(\d+\): it is another process \(sleep 60\)/);
      expect((await stage.multi("kill", "w1")).code).toBe(1);
      const start = await stage.multi("start", "w1", ...cheap);
      expect(start.code).toBe(1);
      expect(start.output).toMatch(/FAILED: the pidfile \S+w1\.pid belongs to process \d+ \(sleep 60\)/);

      // Another node is another process too.
      writeFileSync(stage.file("w1.pid"), `${stage.pid("w2")}\n`);
      expect((await stage.multi("kill", "w1")).code).toBe(1);
      expect(stage.isUp("w2")).toBe(true);

      // The id was given to it since, as after a reboot: the file is stale, the process none of ours.
      const yesterday = new Date(Date.now() - 86_400_000);
      for (const pid of [others.pid, gone, stage.pid("w2")]) {
        writeFileSync(stage.file("w1.pid"), `${pid}\n`);
        utimesSync(stage.file("w1.pid"), yesterday, yesterday);
        const { code, output } = await stage.multi("stopwait", "w1", "--nosplash");
        expect(normalized(`${output}\n${code}`, stage.host)).toBe(
          "Could not signal w1@HOST (PID): No such process\n> w1@HOST: DOWN\n0",
        );
        expect(existsSync(stage.file("w1.pid"))).toBe(false);
      }
      writeFileSync(stage.file("w1.pid"), `${others.pid}\n`);
      utimesSync(stage.file("w1.pid"), yesterday, yesterday);
      expect((await stage.multi("start", "w1", ...cheap)).code).toBe(0);
      expect(others.exitCode).toBeNull();
      expect(stage.isUp("w2")).toBe(true);
    } finally {
      others.kill("SIGKILL");
    }
  });

  test("of a node that was killed does not keep it from being started again", async () => {
    await using stage = await multiStage();
    await stage.multi("start", "w1", ...cheap);
    const first = stage.pid("w1");
    process.kill(first, "SIGKILL");
    await until(() => !isAlive(first));
    expect((await stage.multi("status", "w1")).output).toMatch(/DOWN \(but its pidfile \S+w1\.pid is there\)/);
    const { code, output } = await stage.multi("start", "w1", ...cheap);
    expect([code, output]).toEqual([0, expect.stringContaining(": OK")]);
    expect(stage.pid("w1")).not.toBe(first);
  });

  test("that cannot be is refused before anything is started", async () => {
    await using stage = await multiStage();
    writeFileSync(stage.file("plain"), "");
    symlinkSync(stage.file("plain"), stage.file("link.pid"));
    for (const [words, reason] of [
      [["--pidfile=plain/%n.pid"], /The folder \S+plain of the pidfile of w1@\S+ cannot be used/],
      [["--logfile=plain/%n.log"], /The folder \S+plain of the logfile of w1@\S+ cannot be used/],
      [["--logfile=."], /The logfile \S+ of w1@\S+ cannot be used: it is a folder/],
      [["--pidfile:w2=link.pid"], /The pidfile \S+link\.pid is a symbolic link/],
      [["--pidfile:w2=plain"], /The pidfile \S+plain does not hold a process id/],
    ] as const) {
      if (words[0] === "--pidfile:w2=plain") writeFileSync(stage.file("plain"), "no number\n");
      const { code, output } = await stage.multi("start", "w1", "w2", ...words, ...cheap);
      expect([code, output]).toEqual([73, expect.stringMatching(reason)]);
    }
    const shared = await stage.multi("start", "w1", "w2", "--pidfile=one.pid", ...cheap);
    expect([shared.code, shared.output]).toEqual([
      2,
      expect.stringMatching(/have the same pidfile \S+one\.pid: put %n/),
    ]);
    expect(readdirSync(stage.path).filter((name) => name.endsWith(".pid"))).toEqual(["link.pid"]);
    expect(readFileSync(stage.file("plain"), "utf8")).toBe("no number\n");
  });

  test("and a log may lie in folders that are not there yet, with blanks in their names", async () => {
    await using stage = await multiStage();
    const files = ["--pidfile=run dir/a/%n.pid", "--logfile=log dir/%n%I.log"];
    expect((await stage.multi("start", "w1", ...files, ...cheap)).code).toBe(0);
    expect(readFileSync(stage.file("log dir", "w1.log"), "utf8")).toContain("ready.");
    expect(statSync(stage.file("run dir", "a")).mode & 0o777).toBe(0o755);
    expect(statSync(stage.file("run dir", "a", "w1.pid")).mode & 0o777).toBe(0o644);
    const away = await stage.multi("stopwait", "w1", `--workdir=${stage.path}`, ...files);
    expect(away).toMatchObject({ code: 0, output: expect.stringContaining(": DOWN") });
    expect(readdirSync(stage.file("run dir", "a"))).toEqual([]);
  });
});

describeAsRoot("with users and file systems", () => {
  test("a folder that may not be written to, and a full disk, are named and nothing is started", async () => {
    await using stage = await multiStage();
    using user = makeUser();
    mkdirSync(stage.file("roots"));
    chmodSync(stage.path, 0o755);
    const refused = spawnSync(
      "setpriv",
      [
        ...[`--reuid=${user.uid}`, `--regid=${user.gid}`, "--clear-groups", process.execPath],
        ...[join(root, "bin", "tq.js"), "multi", "start", "w1", `--pidfile=${stage.file("roots")}/w1.pid`],
      ],
      { encoding: "utf8", cwd: "/tmp" },
    );
    expect(refused.stderr).toMatch(/The folder \S+roots of the pidfile of w1@\S+ cannot be used: permission denied/);
    expect(refused.status).toBe(73);

    const full = stage.file("full");
    mkdirSync(full);
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=4k", "none", full]).status).toBe(0);
    try {
      writeFileSync(join(full, "filler"), "x".repeat(4096));
      const { code, output } = await stage.multi("start", "w1", `--pidfile=${full}/w1.pid`, ...cheap);
      expect([code, output]).toEqual([
        73,
        expect.stringMatching(/Cannot create the pidfile \S+w1\.pid\S*: ENOSPC: no space left/),
      ]);
      expect(readdirSync(full)).toEqual(["filler"]);
    } finally {
      spawnSync("umount", [full]);
    }
  });

  test("folders and logs made by root belong to the user the nodes run as", async () => {
    using user = makeUser();
    await using stage = await multiStage({ path: user.home });
    const files = ["--pidfile=run/%n.pid", "--logfile=log/%n.log", `--uid=${user.name}`];
    const { code, output } = await stage.multi("start", "w1", ...files, ...cheap);
    expect([code, output]).toEqual([0, expect.stringContaining(": OK")]);
    for (const path of ["run", "run/w1.pid", "log", "log/w1.log"]) {
      expect([path, statSync(stage.file(path)).uid]).toEqual([path, user.uid]);
    }
    expect((await stage.multi("stopwait", "w1", ...files)).code).toBe(0);
  });
});

describe("several nodes", () => {
  test("ten on two processors are up in less than five seconds, and down again", async () => {
    await using stage = await multiStage();
    const files = ["--pidfile=%n.pid", "--logfile=logs/%n.log"];
    const begun = performance.now();
    const { code, output } = await stage.multi("start", "10", "-c", "1", "-l", "INFO", ...files);
    const seconds = (performance.now() - begun) / 1000;
    expect([code, output.split("\n").filter((line) => line.endsWith(": OK"))]).toEqual([
      0,
      expect.objectContaining({ length: 10 }),
    ]);
    // On a machine with nothing else to do that is the time; on a busy one, what two processors need for it.
    const names = Array.from({ length: 10 }, (_, index) => `celery${index + 1}`);
    const used = names
      .map((name) => stage.pid(name))
      .flatMap((pid) => [pid, ...childrenOf(pid)])
      .reduce((sum, pid) => sum + cpuSeconds(pid), 0);
    expect(Math.min(seconds, used / 2)).toBeLessThan(5);
    const pids = names.map((name) => stage.pid(name));
    expect(new Set(pids).size).toBe(10);
    const down = await stage.multi("stopwait", "10", ...files);
    expect(down.output.match(/: DOWN$/gm)).toHaveLength(10);
    expect(pids.filter(isAlive)).toEqual([]);
  });

  test("are started once by two operators at once", async () => {
    await using stage = await multiStage();
    const results = await Promise.all([1, 2].map(() => stage.multi("start", "w1", "w2", "--nosplash", ...cheap)));
    for (const name of ["w1", "w2"]) {
      const lines = results.map(({ output }) => output.split("\n").find((line) => line.includes(`${name}@`)) ?? "");
      expect(lines.map((line) => line.replace(/^.*?: /, "").replace(/\d+/, "PID")).sort()).toEqual([
        "ALREADY RUNNING (pid PID)",
        "OK",
      ]);
    }
    expect(results.map(({ code }) => code)).toEqual([0, 0]);
    expect(readdirSync(stage.path).filter((name) => name.includes(".multi"))).toEqual([]);
    // One stops it for both.
    const stops = await Promise.all([1, 2].map(() => stage.multi("stopwait", "w1", "w2")));
    expect(stops.map(({ code }) => code)).toEqual([0, 0]);
  });
});

describe("a question", () => {
  test("is answered without starting or making anything", async () => {
    await using stage = await multiStage();
    const { host } = stage;
    const answer = async (...words: string[]): Promise<string> => {
      const { code, output } = await stage.multi(...words);
      return `${code} ${output}`;
    };
    expect(await answer("names", "2")).toBe(`0 celery1@${host}\ncelery2@${host}`);
    expect(await answer("expand", "%n.pid %N %h %p %d %i %I", "foo", "bar@h2")).toBe(
      `0 foo.pid foo foo@${host} foo@${host} ${host} %i %I\nbar.pid bar bar@h2 bar@h2 h2 %i %I`,
    );
    expect(await answer("get", `w2@${host}`, "w1", "w2", "-c:w2", "3", "-A", "proj")).toBe(
      `0 tq -A proj worker --detach -c 3 -n w2@${host} --pidfile=w2.pid --logfile=w2%I.log`,
    );
    expect(await answer("get", "w3", "w1")).toMatch(/^2 Error: no node w3: there is w1@/);
    expect(await answer("show", "w1", "w2", "-c:2", "3")).toMatch(
      /^0 \S+ \S+bin\/tq\.js worker --detach -n w1@\S+ --pidfile=w1\.pid \S+\n\S+ \S+bin\/tq\.js worker --detach -c 3 -n w2@/,
    );
    expect(await answer("help")).toMatch(
      /^0 usage: tq multi start [\s\S]*tq multi start 10 -l INFO -Q:1-3 images,video/,
    );
    expect(await answer()).toMatch(/^2 [\s\S]*usage: tq multi start/);
    expect(await answer("frobnicate", "w1")).toMatch(/^2 [\s\S]*Invalid command: frobnicate\nusage: /);
    expect(await answer("start")).toBe("2 Error: tq multi start needs the names of nodes, or their number");
    expect(await answer("stop", "w1", "--timeout=soon")).toMatch(/^2 Error: --timeout must be a number of seconds/);
    expect(readdirSync(stage.path)).toEqual([]);
  });
});

test("tq multi itself loads no app, no broker, no worker and none of their packages", async () => {
  await using folder = await temporaryFolder();
  const { status } = spawnSync(process.execPath, [join(root, "bin", "tq.js"), "multi", "stop", "w1", "-A", "nowhere"], {
    cwd: folder.path,
    // Where Node leaves a list of all it has loaded.
    env: { ...process.env, NODE_V8_COVERAGE: folder.file("loaded") },
  });
  expect(status).toBe(0);
  const [list] = readdirSync(folder.file("loaded"));
  const { result } = JSON.parse(readFileSync(folder.file("loaded", list as string), "utf8")) as {
    readonly result: readonly { readonly url: string }[];
  };
  const files = result.map(({ url }) => url).filter((url) => url.startsWith("file:"));
  expect(files.filter((url) => /node_modules\/(?!commander\/)/.test(url))).toEqual([]);
  const parts = JSON.parse(readFileSync(join(root, "build", "parts.json"), "utf8")) as Record<
    string,
    readonly string[]
  >;
  const modules = files.flatMap((url) => parts[url.split("/dist/")[1] ?? ""] ?? []);
  expect(modules).toContain("multi/cluster.js");
  expect(modules.filter((path) => /^(app|broker|backend|task|execution|pool|worker|beat)\//.test(path))).toEqual([]);
});

describeWith(["celery", "redis-server"], "nodes that are not ours", () => {
  test("a real Celery is started, found and stopped by its pidfile", async () => {
    await using redis = await freshRedis();
    await using stage = await multiStage({ env: { TQ_BROKER_URL: redis.url, TQ_RESULT_BACKEND: redis.url } });
    const command = [
      `--executable=${join(celeryBin(), "python")}`,
      "--cmd=-m celery worker --detach",
      ...["-A", "wire", `--workdir=${pythonFolder}`, "-P", "solo", "-l", "INFO"],
      ...["--without-mingle", "--without-gossip", "--without-heartbeat"],
      `--pidfile=${stage.file("%n.pid")}`,
      `--logfile=${stage.file("%n%I.log")}`,
    ];
    const { code, output } = await stage.multi("start", "py", ...command);
    expect([code, output]).toEqual([0, expect.stringContaining(": OK")]);
    expect(stage.isUp("py")).toBe(true);
    expect((await stage.multi("status", "py", ...command)).code).toBe(0);
    const pid = stage.pid("py");
    expect((await stage.multi("stopwait", "py", ...command, "--timeout=20")).code).toBe(0);
    expect(isAlive(pid)).toBe(false);
  });
});

/** Seconds of processor time a process has used. */
function cpuSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /s, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
