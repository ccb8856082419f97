import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { PoolStartError } from "../../src/errors.ts";
import type { Pool, PoolResult } from "../../src/pool/pool.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { jobOf, linesOf, outcomeOf, type PoolUnderTest } from "../contract/pool.ts";
import { childrenOf } from "../helpers/child.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { poolMaker } from "./kit.ts";

let maker: Awaited<ReturnType<typeof poolMaker>>;
let folder: Awaited<ReturnType<typeof temporaryFolder>>;
const running: Pool[] = [];
let files = 0;
const file = (): string => folder.file(`marks-${files++}`);

beforeAll(async () => {
  maker = await poolMaker();
  folder = await temporaryFolder();
});
afterEach(async () => {
  for (const pool of running.splice(0)) await pool.stop(AbortSignal.abort());
});
afterAll(async () => {
  await maker[Symbol.asyncDispose]();
  await folder[Symbol.asyncDispose]();
});

async function started(options: WorkerOptions, spec?: string): Promise<PoolUnderTest> {
  const under = await maker.make({ pool: "prefork", ...options }, spec);
  running.push(under.pool);
  await under.pool.start();
  return under;
}

const successes = (results: readonly PoolResult[]): number =>
  results.filter(({ outcome }) => outcome.kind === "success").length;
const accept = (): void => undefined;
const pidsOf = (pool: Pool): readonly number[] => pool.stats().processes as number[];

describe.each([
  ["one at a time", { concurrency: 2 }],
  ["in batches", { concurrency: 2, optimization: "fast" }],
  ["several at once", { concurrency: 1, async: 5 }],
] as const)("large messages, %s", (_name, options) => {
  test("come in whole, each with its own body, and none is changed by the next", async () => {
    const { pool } = await started(options);
    const bodies = Array.from({ length: 40 }, (_, n) => `${n}ü`.repeat(1_000 + ((n * 7919) % 40_000)));
    const results = await Promise.all(bodies.map((body) => pool.run(jobOf("ok", [body]), accept)));
    const returned = results.map(({ outcome }) =>
      "record" in outcome ? (JSON.parse(outcome.record?.body ?? "{}") as { result: string }).result : outcome,
    );
    expect(returned.map((value, n) => value === bodies[n])).toEqual(bodies.map(() => true));
  });
});

test("what a child said before it died is heard, although it is written to when it is dead already", async () => {
  const { pool } = await started({ concurrency: 1, optimization: "fast" });
  for (let round = 0; round < 6; round += 1) {
    await pool.run(jobOf("wait", [0]), accept); // one that lives
    const [pid = 0] = pidsOf(pool);
    const begunBy: (number | null)[] = [];
    const died = pool.run(jobOf("exit", [3]), (runner) => begunBy.push(runner.pid));
    await new Promise<void>((resolve) => setImmediate(resolve)); // it is on its way
    // Nothing is read here until the child is dead, and the next job is written to it.
    const patience = performance.now() + 5_000;
    while (!/^State:\s+Z[\s\S]*^Threads:\s+1$/m.test(readFileSync(`/proc/${pid}/status`, "latin1"))) {
      if (performance.now() > patience) throw new Error("the child lives");
    }
    const next = pool.run(jobOf("wait", [0]), accept);
    expect((await died).outcome).toMatchObject({ kind: "lost", accepted: true, exitCode: 3 });
    expect(begunBy).toEqual([pid]);
    expect((await next).outcome).toMatchObject({ kind: "success" });
  }
});

describe("batches (-O fast)", () => {
  test("what waits behind a task that never yields is run by others, each once and none lost", async () => {
    const { pool } = await started({ concurrency: 2, optimization: "fast" });
    const marks = file();
    const long = pool.run(jobOf("busy", [2_500]), accept);
    // Half of these are handed to the child that is busy for longer than all of them take.
    const begun = performance.now();
    const short = await Promise.all(
      Array.from({ length: 40 }, (_, n) => pool.run(jobOf("wait", [0, marks, String(n)]), accept)),
    );
    const took = performance.now() - begun;
    expect(successes(short)).toBe(40);
    expect(took).toBeLessThan(2_000);
    const begins = linesOf(marks).filter((line) => line.startsWith("begin"));
    expect(new Set(begins).size).toBe(40);
    expect(begins).toHaveLength(40);
    expect((await long).outcome).toMatchObject({ kind: "success" });
  });

  test("jobs given out, taken back and given again under a storm of long ones all run once", async () => {
    const { pool } = await started({ concurrency: 2, optimization: "fast" });
    const marks = file();
    const results = await Promise.all(
      Array.from({ length: 120 }, (_, n) =>
        n % 15 === 0
          ? pool.run(jobOf("busy", [60]), accept)
          : pool.run(jobOf("wait", [n % 3 === 0 ? 0.03 : 0, marks, String(n)]), accept),
      ),
    );
    expect(successes(results)).toBe(120);
    const begins = linesOf(marks).filter((line) => line.startsWith("begin"));
    expect(begins).toHaveLength(112);
    expect(new Set(begins).size).toBe(112);
  });

  test("a child that dies takes only the task it was running with it", async () => {
    const { pool } = await started({ concurrency: 1, optimization: "fast" });
    const killer = pool.run(jobOf("kill"), accept);
    const behind = Array.from({ length: 10 }, (_, n) => pool.run(jobOf("ok", [n]), accept));
    expect((await killer).outcome).toMatchObject({ kind: "lost", accepted: true });
    expect(successes(await Promise.all(behind))).toBe(10);
  });
});

describe("short tasks, handed out ahead (-O fair)", () => {
  /** Short tasks, so many that every child is known to be quick. */
  const warm = async (pool: Pool): Promise<void> => {
    for (let round = 0; round < 8; round += 1) {
      await Promise.all(Array.from({ length: pool.size }, (_, n) => pool.run(jobOf("ok", [n]), accept)));
    }
  };

  test("what waits behind a task that turns out to be long is run at once by who is free", async () => {
    const { pool } = await started({ concurrency: 2 });
    await warm(pool);
    const marks = file();
    let longEnded = false;
    const long = pool.run(jobOf("busy", [1_500]), accept).finally(() => {
      longEnded = true;
    });
    const short = await Promise.all(
      Array.from({ length: pool.size - 1 }, (_, n) => pool.run(jobOf("wait", [0, marks, String(n)]), accept)),
    );
    expect(longEnded).toBe(false);
    expect(successes(short)).toBe(pool.size - 1);
    const begins = linesOf(marks).filter((line) => line.startsWith("begin"));
    expect(new Set(begins).size).toBe(begins.length);
    expect(begins).toHaveLength(pool.size - 1);
    await long;
  });

  test("what has not begun can be recalled: it never runs, and runs once when it is given again", async () => {
    const { pool } = await started({ concurrency: 1 });
    await warm(pool);
    const marks = file();
    let begun = 0;
    const long = pool.run(jobOf("busy", [300]), () => {
      begun += 1;
    });
    const jobs = [0, 1, 2].map((n) => jobOf("wait", [0, marks, String(n)]));
    for (const job of jobs) void pool.run(job, accept);
    await until(() => begun === 1);
    expect(pool.recall?.()).toEqual(jobs);
    expect(pool.recall?.()).toEqual([]);
    const again = pool.run(jobs[1] as (typeof jobs)[number], accept);
    expect((await long).outcome).toMatchObject({ kind: "success" });
    expect((await again).outcome).toMatchObject({ kind: "success" });
    expect(linesOf(marks).filter((line) => line.startsWith("begin"))).toEqual(["begin 1"]);
  });
});

describe("many tasks in one child (--async)", () => {
  test("one child runs as many at once as it was told to", async () => {
    const { pool } = await started({ concurrency: 1, async: 50 });
    expect(pool.size).toBe(50);
    const begun = performance.now();
    const results = await Promise.all(Array.from({ length: 50 }, () => pool.run(jobOf("wait", [0.5]), accept)));
    expect(successes(results)).toBe(50);
    expect(performance.now() - begun).toBeLessThan(5_000);
    expect(new Set(results.map(({ runner }) => runner?.pid)).size).toBe(1);
  });

  test("a task that ignores its hard limit costs its neighbours nothing, and is gone after them", async () => {
    const { pool } = await started({ concurrency: 1, async: 4 });
    const marks = file();
    const [before] = pidsOf(pool);
    const neighbour = pool.run(jobOf("wait", [2, marks, "neighbour"]), accept);
    const deaf = pool.run(jobOf("wait", [60, marks, "deaf"], { timeLimit: 0.3 }), accept);
    expect((await deaf).outcome).toEqual({ kind: "time-limit", seconds: 0.3 });
    // The slot is there again at once, and soon a child that has all of them.
    expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    expect((await neighbour).outcome).toMatchObject({ kind: "success" });
    await until(() => !pidsOf(pool).includes(before as number) && !childrenOf(process.pid).includes(before as number), {
      message: "the child with the deaf task is gone",
    });
    expect(linesOf(marks)).toEqual(["begin neighbour", "begin deaf", "end neighbour"]);
  });

  test("a task that blocks the event loop past its limit takes its neighbours along; they may run again", async () => {
    const { pool } = await started({ concurrency: 1, async: 4 });
    const neighbour = pool.run(jobOf("wait", [60]), accept);
    await sleep(50);
    const hang = pool.run(jobOf("hang", [], { timeLimit: 0.3 }), accept);
    expect((await hang).outcome).toEqual({ kind: "time-limit", seconds: 0.3 });
    expect((await neighbour).outcome).toMatchObject({ kind: "lost", accepted: true, bystander: true });
    expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
  });

  test("no task waits for a child whose event loop is blocked while another is free", async () => {
    const { pool } = await started({ concurrency: 2, async: 3 });
    const busy = pool.run(jobOf("busy", [2_500]), accept);
    const begun = performance.now();
    const results = await Promise.all(Array.from({ length: 4 }, (_, n) => pool.run(jobOf("ok", [n]), accept)));
    expect(successes(results)).toBe(4);
    expect(performance.now() - begun).toBeLessThan(2_000);
    await busy;
  });
});

describe("children", () => {
  test("serve as many tasks as they may, and their successor is there before they leave", async () => {
    const { pool, lines } = await started({ concurrency: 1, maxTasksPerChild: 3 });
    const runners: string[] = [];
    for (let n = 0; n < 9; n += 1) {
      const last = n % 3 === 2;
      if (last) await until(() => childrenOf(process.pid).length >= 2, { message: "a spare" });
      const { outcome, runner } = await pool.run(jobOf("busy", [last ? 500 : 1]), accept);
      expect(outcome.kind).toBe("success");
      runners.push(runner?.name ?? "");
    }
    expect(runners).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3].map((n) => `ForkPoolWorker-${n}`));
    expect(lines.filter((line) => line.includes("exited"))).toEqual([]);
  });

  test("that outgrow their memory finish their task and are replaced", async () => {
    const { pool } = await started({ concurrency: 1, maxMemoryPerChild: 200 * 1024 });
    const [first] = pidsOf(pool);
    expect(await outcomeOf(pool, "leak", [10])).toMatchObject({ kind: "success" });
    expect(await outcomeOf(pool, "where")).toMatchObject({ result: `'${first}/0'` });
    expect(await outcomeOf(pool, "leak", [250])).toMatchObject({ kind: "success" });
    expect(await outcomeOf(pool, "where")).not.toMatchObject({ result: `'${first}/0'` });
  });

  test("that may have less memory than the app takes are warned of", async () => {
    const { lines } = await started({ concurrency: 1, maxMemoryPerChild: 1024 });
    expect(lines.join("\n")).toMatch(/ForkPoolWorker-1 takes \d+ KiB before its first task/);
  });

  test("that do not get ready in time are replaced, with more patience each time", async () => {
    process.env.ACTIONS_INIT_SECONDS = "1";
    try {
      const { pool, lines } = await started({ concurrency: 1, overrides: { workerProcAliveTimeout: 1 } });
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
      expect(lines.join("\n")).toContain("Timed out waiting for ForkPoolWorker-1");
    } finally {
      delete process.env.ACTIONS_INIT_SECONDS;
    }
  });

  test("that are all late at once have had one try, not as many as they are", async () => {
    process.env.ACTIONS_INIT_SECONDS = "2.5";
    try {
      const { pool, lines } = await started({ concurrency: 4, overrides: { workerProcAliveTimeout: 2 } });
      expect(lines.filter((line) => line.includes("Timed out")).length).toBeGreaterThanOrEqual(4);
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    } finally {
      delete process.env.ACTIONS_INIT_SECONDS;
    }
  });

  test("that cannot load the app stop the pool with the reason", async () => {
    const under = await maker.make({ pool: "prefork", concurrency: 2 }, join(folder.path, "nowhere"));
    const error = await under.pool.start().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    await under.pool.stop(AbortSignal.abort());
    expect((error as Error).name).toBe(PoolStartError.name);
    expect(String(error)).toMatch(/no child process can be started: .*nowhere/s);
  });

  test("started anew while one waits for its slot lose nothing when the pool shrinks to none and grows", async () => {
    const { pool } = await started({ concurrency: 1 });
    await pool.resize(0);
    const waiting = pool.run(jobOf("ok", [7]), accept);
    await pool.resize(2);
    expect((await waiting).outcome).toMatchObject({ kind: "success", result: "7" });
  });
});
