import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { beforeAll, describe, expect, test } from "vitest";
import { root } from "../helpers/build.ts";

const tq = (...args: readonly string[]): string =>
  execFileSync(process.execPath, [join(root, "bin", "tq.js"), ...args], { encoding: "utf8" });

describe("the completion of bash", () => {
  let script: string;
  beforeAll(() => {
    script = tq("completion", "bash");
  });
  const complete = (...words: readonly string[]): string[] => {
    const ask = `${script}\nCOMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _tq; printf '%s\\n' "\${COMPREPLY[@]}"`;
    return execFileSync("bash", ["-c", ask, "bash", "tq", ...words], { encoding: "utf8" })
      .split("\n")
      .filter(Boolean);
  };

  test("knows the commands, also behind options of tq and their values", () => {
    expect(complete("")).toEqual(expect.arrayContaining(["worker", "beat", "multi", "call", "completion"]));
    expect(complete("wor")).toEqual(["worker"]);
    expect(complete("-A", "proj", "--workdir", "worker", "be")).toEqual(["beat"]);
    expect(complete("-A", "")).toEqual([]);
  });

  test("knows the options of each command, and the values of those that have a list", () => {
    expect(complete("worker", "--conc")).toEqual(["--concurrency"]);
    expect(complete("-A", "proj", "beat", "--max")).toEqual(["--max-interval"]);
    expect(complete("call", "--conc")).toEqual([]);
    expect(complete("worker", "-l", "W")).toEqual(["WARNING"]);
    expect(complete("worker", "-P", "pre")).toEqual(["prefork"]);
    expect(complete("worker", "--keep")).toEqual([]);
    // A file is the shell's own business.
    expect(complete("worker", "--pidfile", "")).toEqual([]);
  });

  test("knows the commands of tq multi, and what goes with each", () => {
    expect(complete("multi", "st")).toEqual(["start", "stop", "stopwait", "status"]);
    expect(complete("-A", "proj", "multi", "--nosplash", "re")).toEqual(["restart", "reload", "reopen"]);
    expect(complete("multi", "start", "w1", "w2", "--conc")).toEqual(["--concurrency"]);
    expect(complete("multi", "start", "3", "-l", "W")).toEqual(["WARNING"]);
    expect(complete("multi", "start", "3", "--range")).toEqual(["--range-prefix"]);
    expect(complete("multi", "start", "3", "--keep")).toEqual([]);
    expect(complete("multi", "run", "3", "--keep")).toEqual(["--keep-nodes"]);
    expect(complete("multi", "stopwait", "w1", "-Q")).toEqual(["-QUIT"]);
    expect(complete("multi", "kill", "w1", "--pid")).toEqual(["--pidfile"]);
    expect(complete("multi", "kill", "w1", "--conc")).toEqual([]);
  });
});

test("every shell gets every command, in words it can read", () => {
  for (const shell of ["bash", "zsh", "fish"]) {
    const script = tq("completion", shell);
    for (const word of ["worker", "beat", "concurrency", "max-interval", "WARNING", "stopwait", "keep-nodes"])
      expect(script).toContain(word);
    const found = execFileSync("sh", ["-c", `command -v ${shell} || true`], { encoding: "utf8" }).trim();
    if (found !== "") execFileSync(found, ["-n"], { input: script });
  }
});

test("a shell nobody has heard of is a usage error", () => {
  expect(() =>
    execFileSync(process.execPath, [join(root, "bin", "tq.js"), "completion", "cmd"], { stdio: "pipe" }),
  ).toThrow(/Expected one of bash, zsh, fish/);
});
