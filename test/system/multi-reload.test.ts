import { existsSync, readdirSync, readFileSync, renameSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { root } from "../helpers/build.ts";
import { isAlive } from "../helpers/child.ts";
import { cheap, type MultiStage, multiStage } from "../helpers/multi.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

const marks = join(root, "test", "apps", "marks.ts");

/** Sends as many tasks as are needed for the queue never to be empty, until told to stop. */
async function load(stage: MultiStage, { seconds, ahead }: { readonly seconds: number; readonly ahead: number }) {
  const file = stage.file("marks.txt");
  const done = (): number[] =>
    existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean).map(Number) : [];
  const results: { get(options: { timeout: number }): Promise<unknown> }[] = [];
  let isOver = false;
  const sending = (async () => {
    while (!isOver) {
      while (results.length < done().length + ahead) {
        results.push(await stage.app.sendTask("marks.mark", [file, results.length, seconds]));
      }
      await delay(20);
    }
  })();
  return {
    done,
    /** Stops sending, and waits for all of it. */
    async finish() {
      isOver = true;
      await sending;
      // None failed, and each was run once.
      const numbers = Array.from({ length: results.length }, (_, number) => number);
      expect(await Promise.all(results.map((result) => result.get({ timeout: 30 })))).toEqual(numbers);
      expect(done().sort((a, b) => a - b)).toEqual(numbers);
      return results.length;
    },
  };
}

/** What was done in each tenth of a second, while `work` goes on. */
async function watch(done: () => readonly number[], work: Promise<unknown>): Promise<number[]> {
  const counts = [done().length];
  let isOver = false;
  void work.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await delay(100);
    counts.push(done().length);
  }
  return counts;
}

/** The least and the most that was done in any 1.5 seconds. */
function extremes(counts: readonly number[]): { readonly least: number; readonly most: number } {
  const window = 15;
  const sums = counts.slice(window).map((count, index) => count - (counts[index] as number));
  return { least: Math.min(...sums), most: Math.max(...sums) };
}

describeWith("redis-server", "a reload", () => {
  test("under full load loses nothing, fails nothing, and never halves the throughput", async () => {
    await using redis = await freshRedis();
    await using stage = await multiStage({
      env: { TQ_BROKER_URL: redis.url, TQ_RESULT_BACKEND: `${redis.url}/1`, TQ_APP: marks },
    });
    const words = ["w1", "w2", "-c", "2", "-l", "WARNING", "--without-mingle"];
    expect((await stage.multi("start", ...words)).code).toBe(0);
    const before = [stage.pid("w1"), stage.pid("w2")];
    const work = await load(stage, { seconds: 0.1, ahead: 30 });
    await until(() => work.done().length > 20, { timeout: 20 });
    const usual = extremes(await watch(work.done, delay(2500)));

    const reloading = stage.multi("reload", ...words);
    // And a whole window longer: however short it was, and whatever it was the beginning of, it is looked at.
    const settled = reloading.then(() => delay(1500));
    const during = extremes(await watch(work.done, settled));
    const { code, output } = await reloading;
    expect([code, output]).toEqual([
      0,
      expect.stringMatching(/w1@\S+: TERM -> \d+\.+ OK \(pid \d+\)\n\t> w2@\S+: TERM -> \d+\.+ OK/),
    ]);
    const after = [stage.pid("w1"), stage.pid("w2")];
    expect(before.filter(isAlive)).toEqual([]);
    expect(after.every(isAlive)).toBe(true);
    expect(
      readdirSync(stage.path)
        .filter((name) => name.includes(".pid"))
        .sort(),
    ).toEqual(["w1.pid", "w2.pid"]);
    await work.finish();
    expect(during.least).toBeGreaterThanOrEqual(usual.least / 2);

    // A restart has a gap, and loses nothing either.
    const more = await load({ ...stage, file: () => stage.file("more.txt") }, { seconds: 0.02, ahead: 50 });
    expect((await stage.multi("restart", ...words)).code).toBe(0);
    await until(() => more.done().length > 100, { timeout: 20 });
    await more.finish();
    expect((await stage.multi("stopwait", ...words)).code).toBe(0);
  });
});

test("a reload whose new process does not come up leaves the old one as it was", async () => {
  await using stage = await multiStage();
  await stage.multi("start", "w1", "w2", ...cheap);
  const before = [stage.pid("w1"), stage.pid("w2")];
  const { code, output } = await stage.multi("reload", "w1", "w2", "-A", "nowhere", ...cheap);
  expect([code, output]).toEqual([
    1,
    expect.stringMatching(/FAILED[\s\S]*Unable to load[\s\S]*process \d+ goes on as before\n> Not reloaded: w2@/),
  ]);
  expect([stage.pid("w1"), stage.pid("w2")]).toEqual(before);
  expect(before.every(isAlive)).toBe(true);
  expect(
    readdirSync(stage.path)
      .filter((name) => name.includes(".pid"))
      .sort(),
  ).toEqual(["w1.pid", "w2.pid"]);

  // What was cut off between the two processes is put in order by the next command.
  await using broken = stage.start("reload", "w1", ...cheap);
  await until(() => existsSync(stage.file("w1.pid.old")));
  await broken.kill();
  expect(await stage.multi("reload", "w1", "w3", "--nosplash", ...cheap)).toMatchObject({ code: 0 });
  await until(() => !isAlive(before[0] as number), { message: "the first process to be gone" });
  expect(stage.isUp("w1") && stage.isUp("w3")).toBe(true);
  expect((await stage.multi("stopwait", "w1", "w2", "w3")).code).toBe(0);
  await until(() => readdirSync(stage.path).every((name) => !name.includes(".pid")));
});

test("a node that starts again by itself on HUP is found by its pidfile and name, reloaded and stopped", async () => {
  await using stage = await multiStage();
  expect((await stage.multi("start", "w1", ...cheap)).code).toBe(0);
  const readies = (): number => stage.log("w1").filter((line) => / w1@\S+ ready\.$/.test(line)).length;
  const first = stage.pid("w1");
  process.kill(first, "SIGHUP");
  await until(() => readies() === 2, { timeout: 20, message: "the node to be ready again" });
  const second = stage.pid("w1");
  expect(await stage.multi("status", "w1")).toEqual({ code: 0, output: `w1@${stage.host}: OK (pid ${second})` });
  expect((await stage.multi("start", "w1", ...cheap)).output).toContain(`ALREADY RUNNING (pid ${second})`);

  expect((await stage.multi("reload", "w1", ...cheap)).code).toBe(0);
  await until(() => ![first, second].some(isAlive), { message: "both processes before to be gone" });
  process.kill(stage.pid("w1"), "SIGHUP");
  await until(() => readies() === 4, { timeout: 20, message: "the new node to be ready again" });
  const last = stage.pid("w1");
  expect((await stage.multi("stopwait", "w1")).code).toBe(0);
  expect(isAlive(last)).toBe(false);
  expect(existsSync(stage.file("w1.pid"))).toBe(false);
});

test("a log that is renamed, asked to be opened anew, or cut under load loses no line", async () => {
  await using stage = await multiStage({ env: { TQ_APP: marks } });
  await stage.multi("start", "w1", ...cheap);
  const work = await load(stage, { seconds: 0, ahead: 20 });
  const log = stage.file("w1.log");
  for (let rotation = 1; rotation <= 4; rotation++) {
    const count = work.done().length;
    await until(() => work.done().length > count + 40, { timeout: 20 });
    renameSync(log, `${log}.${rotation}`);
    // By a signal, as logrotate's postrotate would; or found out by itself.
    if (rotation % 2 === 0) {
      const { code, output } = await stage.multi("reopen", "w1");
      expect([code, output]).toEqual([0, expect.stringMatching(/w1@\S+: USR2 -> \d+/)]);
    }
    await until(() => existsSync(log), { message: "a new log to be there" });
  }
  const total = await work.finish();
  const lines = readdirSync(stage.path)
    .filter((name) => name.startsWith("w1.log"))
    .flatMap((name) => readFileSync(stage.file(name), "utf8").split("\n"));
  expect(lines.filter((line) => / succeeded in /.test(line))).toHaveLength(total);
  expect(lines.filter((line) => / received$/.test(line))).toHaveLength(total);

  // Cut while it is written (copytruncate): goes on from its beginning, without a hole.
  truncateSync(log);
  await (await stage.app.sendTask("marks.mark", [stage.file("marks.txt"), total, 0])).get({ timeout: 20 });
  await until(() => readFileSync(log, "utf8").includes(" succeeded in "));
  expect(readFileSync(log, "latin1")).toMatch(/^\[\d{4}-/);
  expect((await stage.multi("stopwait", "w1")).code).toBe(0);
});
