import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { root } from "../helpers/build.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

test("the quickstart runs every task of its example, shows the worker's view, and leaves nothing behind", {
  timeout: 120_000,
}, async () => {
  await using folder = await temporaryFolder();
  const { TQ_BROKER_URL: _broker, TQ_RESULT_BACKEND: _backend, ...env } = process.env;
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(root, "examples", "quickstart", "run.mjs")], {
    cwd: root,
    encoding: "utf8",
    env: { ...env, NO_COLOR: "1", TMPDIR: folder.path },
  });
  expect(stderr).toBe("");
  expect(status).toBe(0);
  for (const line of [
    /add\(2, 3\) +\S+ 5$/m,
    /mul\(6, 7\) +\S+ 42$/m,
    /xsum\(\[1,2,3,4\]\) +\S+ 10$/m,
    /charge\(99\) +threw CardDeclined: no funds for 99$/m,
    /report\(4\) +#### {2}4 of 4$/m,
    /flaky\(\) +failed, and will be tried again$/m,
    /flaky\(\) +\S+ worked on try 3$/m,
    /Task quickstart\.add\[[-\w]+\] succeeded in/,
    /^ {3}\$ npx tq multi start quickstart -A examples\/quickstart\/app\.ts/m,
    /^ {3}\t> quickstart@\S+: OK$/m,
    /^ {3}\t> quickstart@\S+: TERM -> \d+$/m,
    /^ {3}> quickstart@\S+: DOWN$/m,
  ]) {
    expect(stdout).toMatch(line);
  }
  expect(readdirSync(folder.path).filter((name) => name.startsWith("tq-quickstart-"))).toEqual([]);
});
