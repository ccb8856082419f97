import { linkSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { expect, test } from "vitest";
import type { Node } from "../../src/multi/node.ts";
import type { NodeState } from "../../src/multi/node-state.ts";
import { keepAside, remnantOf } from "../../src/multi/reload.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

const down: NodeState = { kind: "down", pid: null };
const running = (pid: number): NodeState => ({ kind: "running", pid });

test("what a reload that was cut off has left is put in order by the two pidfiles", () => {
  const stale: NodeState = { kind: "stale", pid: 10 };
  const foreign: NodeState = { kind: "foreign", pid: 10, command: "sleep" };
  expect(remnantOf(down, running(20))).toBe("nothing");
  expect(remnantOf(stale, running(20))).toBe("remove");
  expect(remnantOf(foreign, running(20))).toBe("remove");
  expect(remnantOf(running(10), stale)).toBe("put-back");
  expect(remnantOf(running(10), down)).toBe("put-back");
  expect(remnantOf(running(10), running(20))).toBe("drain");
  // A process that takes the name in the next moment may be on its way: the second name must go on leading to the old one.
  expect(remnantOf(running(10), running(10))).toBe("nothing");
});

test("the name by which the old process is still found outlives that another takes its first", async () => {
  await using folder = await temporaryFolder();
  const pidfile = folder.file("w1.pid");
  const old = process.pid;
  writeFileSync(pidfile, `${old}\n`);
  linkSync(pidfile, `${pidfile}.old`);
  const next = folder.file("next");
  writeFileSync(next, `${process.ppid}\n`);
  renameSync(next, pidfile);
  keepAside({ pidfile } as Node, old);
  expect([pidfile, `${pidfile}.old`].map((file) => Number(readFileSync(file, "utf8")))).toEqual([process.ppid, old]);

  // One that leads to somebody else is made anew.
  keepAside({ pidfile } as Node, process.ppid);
  expect(Number(readFileSync(`${pidfile}.old`, "utf8"))).toBe(process.ppid);
});
