import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { cpuCount } from "../../src/system/cpu-count.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "tq-cgroup-"));
});

afterEach(() => {
  rmSync(root, { recursive: true });
});

function files(contents: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(contents)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
}

test("without control groups it is what the system offers", () => {
  expect(cpuCount({ root, available: 6 })).toBe(6);
  expect(cpuCount()).toBeLessThanOrEqual(availableParallelism());
});

test("a quota of version 2 is respected, rounded up", () => {
  files({ "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n" });
  expect(cpuCount({ root, available: 8 })).toBe(2);
});

test("the narrowest of the groups around this one counts", () => {
  files({
    "proc/self/cgroup": "0::/kube/pod/box\n",
    "sys/fs/cgroup/kube/cpu.max": "300000 100000\n",
    "sys/fs/cgroup/kube/pod/cpu.max": "max 100000\n",
    "sys/fs/cgroup/kube/pod/box/cpu.max": "500000 100000\n",
  });
  expect(cpuCount({ root, available: 8 })).toBe(3);
});

test("max is no limit, and a quota above what there is adds nothing", () => {
  files({ "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n" });
  expect(cpuCount({ root, available: 8 })).toBe(8);
  files({ "sys/fs/cgroup/cpu.max": "6400000 100000\n" });
  expect(cpuCount({ root, available: 8 })).toBe(8);
});

test("there is always one", () => {
  files({ "proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "1000 100000\n" });
  expect(cpuCount({ root, available: 8 })).toBe(1);
});

test("a quota of version 1 is respected, also when the path is the host's", () => {
  files({
    "proc/self/cgroup": "12:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n0::/\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "200000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
  });
  expect(cpuCount({ root, available: 8 })).toBe(2);
  files({ "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n" });
  expect(cpuCount({ root, available: 8 })).toBe(8);
});
