import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { acquirePidfile, readPidfile } from "../../src/system/pidfile.ts";

let folder: string;
let path: string;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tq-pid-"));
  path = join(folder, "w1.pid");
});

afterEach(() => {
  rmSync(folder, { recursive: true });
});

/** The id of a process that was, and is not any more. */
async function deadPid(): Promise<number> {
  const child = spawn("true");
  await new Promise((resolve) => child.once("exit", resolve));
  return child.pid as number;
}

test("a pidfile holds the id of this process until it is released", async () => {
  const pidfile = await acquirePidfile(path);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  expect(readPidfile(path)).toEqual({ kind: "held", pid: process.pid, younger: false });
  pidfile.release();
  expect(readPidfile(path)).toEqual({ kind: "absent", pid: null });
  pidfile.release();
});

test("one that is held is refused, naming its process", async () => {
  using _child = running();
  writeFileSync(path, `${_child.pid}\n`);
  await expect(acquirePidfile(path)).rejects.toMatchObject({
    code: "TQ_PIDFILE_HELD",
    message: `Pidfile (${path}) already exists.\nSeems we're already running? (pid: ${_child.pid})`,
  });
  expect(readFileSync(path, "utf8")).toBe(`${_child.pid}\n`);
});

function running(): Disposable & { readonly pid: number } {
  const child = spawn("sleep", ["60"]);
  return { pid: child.pid as number, [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

test("one left behind by a process that is gone is replaced", async () => {
  writeFileSync(path, `${await deadPid()}\n`);
  const pidfile = await acquirePidfile(path);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  pidfile.release();
});

test("of several that find it at once, one gets it", async () => {
  writeFileSync(path, `${await deadPid()}\n`);
  const results = await Promise.allSettled(Array.from({ length: 5 }, () => acquirePidfile(path)));
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
});

test.runIf(process.platform === "linux")("an id that was given to another program since is no holder", async () => {
  using child = running();
  writeFileSync(path, `${child.pid}\n`);
  const yesterday = new Date(Date.now() - 86_400_000);
  utimesSync(path, yesterday, yesterday);
  expect(readPidfile(path)).toEqual({ kind: "stale", pid: child.pid });
});

test.runIf(process.platform === "linux")("our own id in a file older than ourselves is no holder", async () => {
  writeFileSync(path, `${process.pid}\n`);
  const yesterday = new Date(Date.now() - 86_400_000);
  utimesSync(path, yesterday, yesterday);
  (await acquirePidfile(path)).release();
});

test("a file just made and not yet written belongs to somebody, an old empty one to nobody", () => {
  writeFileSync(path, "");
  expect(readPidfile(path)).toEqual({ kind: "held", pid: null, younger: false });
  const before = new Date(Date.now() - 60_000);
  utimesSync(path, before, before);
  expect(readPidfile(path)).toEqual({ kind: "stale", pid: null });
});

test("a file that is no pidfile is left alone", async () => {
  writeFileSync(path, "root:x:0:0\n");
  await expect(acquirePidfile(path)).rejects.toMatchObject({ code: "TQ_PIDFILE_INVALID" });
  expect(readFileSync(path, "utf8")).toBe("root:x:0:0\n");
});

test("a symbolic link is not followed, neither to read nor to write", async () => {
  const target = join(folder, "target");
  symlinkSync(target, path);
  await expect(acquirePidfile(path)).rejects.toThrow(/is a symbolic link/);
  writeFileSync(target, "1\n");
  await expect(acquirePidfile(path)).rejects.toThrow(/is a symbolic link/);
  expect(readFileSync(target, "utf8")).toBe("1\n");
});

test("who takes over from a running process replaces its file in one step, and owns it then", async () => {
  using other = running();
  writeFileSync(path, `${other.pid}\n`);
  await expect(acquirePidfile(path, { replaces: other.pid + 1 })).rejects.toMatchObject({ code: "TQ_PIDFILE_HELD" });
  const pidfile = await acquirePidfile(path, { replaces: other.pid });
  expect(readFileSync(path, "utf8")).toBe(`${process.pid}\n`);
  expect(readdirSync(folder)).toEqual(["w1.pid"]);
  pidfile.release();
  expect(readdirSync(folder)).toEqual([]);
});

test("only our own is removed", async () => {
  const pidfile = await acquirePidfile(path);
  rmSync(path);
  writeFileSync(path, "1\n");
  pidfile.release();
  expect(readFileSync(path, "utf8")).toBe("1\n");
});

test("a folder that is not there is named", async () => {
  await expect(acquirePidfile(join(folder, "none", "x.pid"))).rejects.toThrow(
    `there is no folder ${join(folder, "none")}`,
  );
});
