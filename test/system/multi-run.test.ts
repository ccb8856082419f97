import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { childrenOf, isAlive } from "../helpers/child.ts";
import { cheap, multiStage } from "../helpers/multi.ts";
import { until } from "../helpers/until.ts";

const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];

/** The process of a node, by what its supervisor said last of it. */
function pidOf(lines: readonly string[], name: string): number {
  const ready = lines.filter((line) => line.includes(`Supervisor] ${name}@`) && line.includes("is ready (pid "));
  return Number(/\(pid (\d+)\)/.exec(ready.at(-1) ?? "")?.[1]);
}

const readyTimes = (lines: readonly string[], name: string): number =>
  lines.filter((line) => line.includes(`Supervisor] ${name}@`) && line.includes("is ready (pid ")).length;

test("nodes run in the foreground, are started again, replaced on HUP, and stopped with their supervisor", async () => {
  await using stage = await multiStage();
  await using run = stage.start("run", "w1", "w22", "--pidfile=%n.pid", "--restart-delay=0.1", ...cheap);
  await until(() => ["w1", "w22"].every((name) => readyTimes(run.lines, name) === 1), { timeout: 20 });
  // Whose line it is stands before each, in columns; the supervisor's own have the format of a log.
  expect(run.output).toMatch(/^w1 {2}\| \[.*INFO\/MainProcess\] w1@\S+ ready\.$/m);
  expect(run.output).toMatch(/^w22 \| \[.*INFO\/MainProcess\] w22@\S+ ready\.$/m);
  expect(run.output).toMatch(/^\[\d{4}-\d\d-\d\d [\d:,]+: INFO\/Supervisor\] w1@\S+ is ready \(pid \d+\)\.$/m);

  const crashed = pidOf(run.lines, "w1");
  expect(crashed).toBe(stage.pid("w1"));
  process.kill(crashed, "SIGKILL");
  await until(() => readyTimes(run.lines, "w1") === 2, { timeout: 20 });
  expect(run.output).toMatch(
    /WARNING\/Supervisor\] w1@\S+ was terminated by signal 9 after \d+ s; restart 1 of 5 in 0\.1 s\./,
  );

  // What each is doing, and its log opened anew: signals nobody ends of are passed on.
  run.signal("SIGUSR1");
  await run.printed(/^w1 {2}\| .*Report of w1@/);
  await run.printed(/^w22 \| .*Report of w22@/);
  run.signal("SIGUSR2");

  const before = [pidOf(run.lines, "w1"), pidOf(run.lines, "w22")];
  run.signal("SIGHUP");
  await run.printed("Supervisor] Reloaded.", { timeout: 30 });
  const after = [pidOf(run.lines, "w1"), pidOf(run.lines, "w22")];
  expect(after).toEqual([stage.pid("w1"), stage.pid("w22")]);
  expect(before.filter(isAlive)).toEqual([]);
  expect(new Set([...before, ...after]).size).toBe(4);

  // A second one on the same pidfiles starts nothing.
  const second = await stage.multi("run", "w1", "--pidfile=%n.pid", ...cheap);
  expect([second.code, second.output]).toEqual([73, expect.stringMatching(/belongs to process \d+: stop that first/)]);

  run.signal("SIGTERM");
  expect(await run.exited).toEqual({ code: 0, signal: null });
  expect(after.filter(isAlive)).toEqual([]);
  expect(run.output).toMatch(/^w1 {2}\| worker: Warm shutdown/m);
  expect([existsSync(stage.file("w1.pid")), existsSync(stage.file("w22.pid"))]).toEqual([false, false]);
});

test("a node that does not stay up is given up with a clear message, and the others go on", async () => {
  await using stage = await multiStage();
  await using run = stage.start(
    ...["run", "good", "bad", "-A:bad", "nowhere", "--max-restarts=2", "--restart-delay=0.05", "--no-prefix"],
    ...cheap,
  );
  await run.printed(
    /ERROR\/Supervisor\] bad@\S+ terminated with exit code 2 before it was ready\. Giving up on it: it has ended 3 times in a row\./,
  );
  expect(run.output).toMatch(/restart 1 of 2[\s\S]*restart 2 of 2/);
  await until(() => readyTimes(run.lines, "good") === 1, { timeout: 20 });
  expect(run.output).toMatch(/^\[.*INFO\/MainProcess\] good@\S+ ready\.$/m);
  run.signal("SIGINT");
  // Not everything was as it was asked to be.
  expect((await run.exited).code).toBe(1);

  const none = await stage.multi("run", "bad", "-A", "nowhere", "--max-restarts=0", ...cheap);
  expect(none.code).toBe(1);
});

test("what runs too long when the supervisor stops is given up, and what a killed node leaves is cleared away", async () => {
  await using stage = await multiStage();
  await using run = stage.start(
    "run",
    "w1",
    "-c",
    "2",
    "-l",
    "INFO",
    "--timeout=0.5",
    "--restart-delay=0.1",
    "--without-mingle",
  );
  await until(() => readyTimes(run.lines, "w1") === 1, { timeout: 20 });
  // A task that holds its process cannot hear that its node is gone.
  await stage.app.sendTask("acts.hang", [], { timeLimit: 600 });
  const node = pidOf(run.lines, "w1");
  const children = await until(() => run.output.includes("acts.hang") && childrenOf(node));
  expect(children).toHaveLength(2);
  process.kill(node, "SIGKILL");
  await until(() => !children.some(isAlive), { message: "the orphans to be gone" });
  await until(() => readyTimes(run.lines, "w1") === 2, { timeout: 20 });

  await stage.app.sendTask("acts.slowLate", [stage.file("marks"), "a", 60]);
  await until(() => linesOf(stage.file("marks")).length === 1);
  run.signal("SIGTERM");
  expect((await run.exited).signal).toBeNull();
  expect(run.output).toContain("Still running after 0.5 s: SIGQUIT.");
  const broker = await stage.app.broker();
  await until(async () => (await broker.size("celery")) === 1, { message: "the task to be back in its queue" });
});

test("nodes end within five seconds of a supervisor that is killed, and give back what they run", async () => {
  await using stage = await multiStage();
  // One is held by a task that never yields, and hears nothing of it.
  const held = ["-P:w2", "solo", "-Q:w2", "stuck"];
  await using run = stage.start("run", "w1", "w2", ...held, "-c", "1", "-l", "INFO", "--without-mingle");
  await until(() => ["w1", "w2"].every((name) => readyTimes(run.lines, name) === 1), { timeout: 20 });
  await stage.app.sendTask("acts.slowLate", [stage.file("marks"), "a", 60]);
  await stage.app.sendTask("acts.hang", [], { queue: "stuck" });
  await until(() => linesOf(stage.file("marks")).length === 1 && run.output.includes("acts.hang"));
  const nodes = ["w1", "w2"].map((name) => pidOf(run.lines, name));
  const all = [...nodes, ...nodes.flatMap(childrenOf)];
  expect(all).toHaveLength(3);
  process.kill(run.pid, "SIGKILL");
  const begun = performance.now();
  await until(() => !all.some(isAlive), { timeout: 15, message: "all processes to end" });
  expect((performance.now() - begun) / 1000).toBeLessThan(5);
  const broker = await stage.app.broker();
  await until(async () => (await broker.size("celery")) === 1, { message: "the task to be back in its queue" });
});

test("nodes that are to be kept outlive their supervisor, and the next one finds them", async () => {
  await using stage = await multiStage();
  const words = ["run", "w1", "--keep-nodes", "--restart-delay=0.1", ...cheap];
  await using first = stage.start(...words);
  await until(() => readyTimes(first.lines, "w1") === 1, { timeout: 20 });
  const pid = stage.pid("w1");
  process.kill(first.pid, "SIGKILL");
  await first.exited;

  await using second = stage.start(...words);
  await second.printed(`w1@${stage.host} is running already (pid ${pid}).`);
  expect(isAlive(pid)).toBe(true);
  // It is watched as any other.
  process.kill(pid, "SIGKILL");
  await until(() => stage.pid("w1") !== pid && readyTimes(second.lines, "w1") === 2, { timeout: 20 });
  second.signal("SIGTERM");
  expect((await second.exited).code).toBe(0);
  expect(stage.isUp("w1")).toBe(true);
  expect((await stage.multi("stopwait", "w1")).code).toBe(0);
});
