import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Job } from "../../src/execution/job.ts";
import type { Logger } from "../../src/log.ts";
import type { Pool, PoolResult } from "../../src/pool/pool.ts";
import { createTaskHeaders } from "../../src/protocol/task-message.ts";
import type { WorkerOptions } from "../../src/worker/options.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

/** What a kind of pool cannot do, by the sentence's topic, with the reason. */
export type Cannot = Partial<
  Record<
    "interrupt" | "survive-exit" | "survive-kill" | "overlap" | "resize" | "recycle" | "terminate" | "programs",
    string
  >
>;

export interface PoolUnderTest {
  readonly pool: Pool;
  /** Lines logged, as `LEVEL processName task[id] message`. */
  readonly lines: string[];
  readonly fatal: Error[];
}

export interface PoolKind {
  readonly name: string;
  readonly cannot: Cannot;
  /** Options that choose the pool. */
  readonly options: WorkerOptions;
}

/** Makes a pool from what is built, whose children load test/apps/actions.ts. */
export type PoolFactory = (options: WorkerOptions) => Promise<PoolUnderTest>;

export function jobOf(task: string, args: readonly unknown[] = [], more: Partial<Job> = {}): Job {
  const id = randomUUID();
  const body = [args, {}, { callbacks: null, errbacks: null, chain: null, chord: null }];
  return {
    message: {
      headers: { ...createTaskHeaders({ task: `actions.${task}`, id, retries: 0, argsrepr: "", kwargsrepr: "" }) },
      properties: { correlation_id: id },
      contentType: "application/json",
      contentEncoding: "utf-8",
      body: Buffer.from(JSON.stringify(body)).toString("base64"),
    },
    address: { exchange: "", routingKey: "celery" },
    queue: "celery",
    redelivered: false,
    hostname: "w@test",
    timeLimit: null,
    softTimeLimit: null,
    ...more,
  };
}

export const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];

const accept = (): void => undefined;

/** Runs a task; what a pool resolves to is written as a short word with its details. */
export async function outcomeOf(pool: Pool, task: string, args: readonly unknown[] = [], more: Partial<Job> = {}) {
  return (await pool.run(jobOf(task, args, more), accept)).outcome;
}

export const never = (): AbortSignal => new AbortController().signal;
const now = (): AbortSignal => AbortSignal.abort();

/** The sentences every pool keeps, and, by name, those a kind of pool cannot keep. */
export function poolContract(kind: PoolKind, make: PoolFactory): void {
  const { cannot } = kind;
  const can = (topic: keyof Cannot, sentence: string, body: () => Promise<void>): void => {
    if (cannot[topic] === undefined) test(sentence, body);
    else test.skip(`${sentence} (${kind.name} cannot: ${cannot[topic]})`, body);
  };

  describe(`the ${kind.name} pool`, () => {
    let under: PoolUnderTest;
    let pool: Pool;
    let folder: Awaited<ReturnType<typeof temporaryFolder>>;
    let files = 0;
    const file = (): string => folder.file(`marks-${files++}`);

    beforeAll(async () => {
      folder = await temporaryFolder();
      under = await make({ ...kind.options, concurrency: 2 });
      pool = under.pool;
      await pool.start();
    });
    afterAll(async () => {
      await pool.stop(now());
      await folder[Symbol.asyncDispose]();
    });

    test("runs a task to its result, and tells who runs it before its code begins", async () => {
      const heard: string[] = [];
      const { outcome, runner } = await pool.run(jobOf("ok", [42]), (who) => heard.push(who.name));
      expect(outcome).toMatchObject({ kind: "success", result: "42" });
      expect(heard).toEqual([runner?.name]);
      expect(runner?.pid).toBeGreaterThan(0);
    });

    test("makes a value of every end a task's code can come to", async () => {
      expect(await outcomeOf(pool, "fail")).toMatchObject({ kind: "failure", repr: "RangeError('told to fail')" });
      expect(await outcomeOf(pool, "retry")).toMatchObject({ kind: "retry" });
      expect(await outcomeOf(pool, "nowhere")).toMatchObject({ kind: "invalid" });
      expect(await outcomeOf(pool, "ok", [1, 2])).toMatchObject({ kind: "invalid" });
    });

    test("accepts nothing that cannot be run", async () => {
      let accepted = 0;
      await pool.run(jobOf("ok", [1, 2]), () => {
        accepted += 1;
      });
      expect(accepted).toBe(0);
    });

    can("overlap", "runs as many tasks at once as it has places, and every one it was given", async () => {
      const marks = file();
      const jobs = Array.from({ length: pool.size + 2 }, (_, n) => outcomeOf(pool, "wait", [0.4, marks, String(n)]));
      await until(() => linesOf(marks).length >= Math.min(2, pool.size), { message: "two to have begun" });
      expect(linesOf(marks).filter((line) => line.startsWith("end"))).toEqual([]);
      const outcomes = await Promise.all(jobs);
      expect(outcomes.map(({ kind }) => kind)).toEqual(jobs.map(() => "success"));
    });

    test("aborts the signal at the soft limit; helpers that wait reject with it", async () => {
      const outcome = await outcomeOf(pool, "heed", [30], { softTimeLimit: 0.2 });
      expect(outcome).toMatchObject({ kind: "failure", repr: "SoftTimeLimitExceeded('SoftTimeLimitExceeded(0.2)')" });
    });

    test("shows the soft limit to code that never yields, when it asks", async () => {
      const outcome = await outcomeOf(pool, "ask", [], { softTimeLimit: 0.2 });
      expect(outcome).toMatchObject({ kind: "failure", repr: expect.stringContaining("SoftTimeLimitExceeded") });
    });

    test("ends at its hard limit a task that waits, which then is not told to have succeeded", async () => {
      const begun = performance.now();
      const outcome = await outcomeOf(pool, "heed", [30], { timeLimit: 0.3 });
      expect(outcome).toEqual({ kind: "time-limit", seconds: 0.3 });
      expect(performance.now() - begun).toBeLessThan(5_000);
      expect(await outcomeOf(pool, "ok", ["after"])).toMatchObject({ result: "'after'" });
    });

    can("interrupt", "ends at its hard limit an endless loop, and the place is usable again", async () => {
      const begun = performance.now();
      expect(await outcomeOf(pool, "hang", [], { timeLimit: 0.3 })).toEqual({ kind: "time-limit", seconds: 0.3 });
      expect(performance.now() - begun).toBeLessThan(1_300 + 2_000); // a second, on a machine that may be busy
      const after = await Promise.all(Array.from({ length: 4 }, (_, n) => outcomeOf(pool, "ok", [n])));
      expect(after.map(({ kind }) => kind)).toEqual(["success", "success", "success", "success"]);
    });

    can("survive-exit", "survives a task that ends its process: the task is lost, with its exit code", async () => {
      const outcome = await outcomeOf(pool, "exit", [3]);
      expect(outcome).toMatchObject({ kind: "lost", accepted: true, exitCode: 3 });
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    });

    can("survive-kill", "survives a task that kills its process: the task is lost, with the signal", async () => {
      expect(await outcomeOf(pool, "kill")).toMatchObject({ kind: "lost", accepted: true, signal: "SIGKILL" });
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    });

    can("terminate", "terminates the running task it is told to, and no other", async () => {
      const marks = file();
      const job = jobOf("heed", [30, marks]);
      let runs = false;
      const beside = cannot.overlap === undefined ? [outcomeOf(pool, "wait", [0.5])] : [];
      const running = pool.run(job, () => {
        runs = true;
      });
      await until(() => runs);
      expect(pool.terminate("somebody-else", "SIGTERM")).toBe(false);
      expect(pool.terminate(job.message.headers.id, "SIGTERM")).toBe(true);
      expect((await running).outcome).toEqual({ kind: "terminated", signal: "SIGTERM" });
      for (const other of beside) expect(await other).toMatchObject({ kind: "success" });
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    });

    test("puts what a task prints into the log, with the task's name and id", async () => {
      const job = jobOf("print");
      await pool.run(job, accept);
      const { id } = job.message.headers;
      for (const text of ["printed nicely", "to stderr", "without an end"]) {
        await until(() => under.lines.some((line) => line.endsWith(`actions.print[${id}] ${text}`)), {
          message: `${text} in\n${under.lines.join("\n")}`,
        });
      }
    });

    test("logs for a task in its name, through self.log and through getTaskLogger", async () => {
      const job = jobOf("log");
      await pool.run(job, accept);
      const { id } = job.message.headers;
      for (const text of ["info", "warn"]) {
        const by = text === "info" ? "by getTaskLogger" : "by self.log";
        await until(
          () => under.lines.some((line) => line.startsWith(text) && line.endsWith(`actions.log[${id}] ${by}`)),
          {
            message: `${by} in\n${under.lines.join("\n")}`,
          },
        );
      }
    });

    can("programs", "logs also what a program says that a task has started", async () => {
      await pool.run(jobOf("shell"), accept);
      for (const text of ["from a program", "past the streams"]) {
        await until(() => under.lines.some((line) => line.endsWith(text)), { message: under.lines.join("\n") });
      }
    });

    can("resize", "grows and shrinks while it works", async () => {
      const { width, size } = pool;
      await pool.resize(width + 1);
      expect(pool.size).toBe((size / width) * (width + 1));
      const marks = file();
      const long = Array.from({ length: 3 }, (_, n) => outcomeOf(pool, "wait", [0.5, marks, String(n)]));
      await until(() => linesOf(marks).length >= 3, { message: "three to have begun" });
      await pool.resize(1);
      expect(pool.width).toBe(1);
      expect((await Promise.all(long)).map(({ kind }) => kind)).toEqual(["success", "success", "success"]);
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
      await pool.resize(width);
      expect(await outcomeOf(pool, "ok", [1])).toMatchObject({ kind: "success" });
    });

    can("recycle", "restarts without losing a task or a place", async () => {
      const before = new Set(await places(pool));
      const long = outcomeOf(pool, "wait", [0.5]);
      let going = true;
      const short: Promise<PoolResult>[] = [];
      const flow = (async () => {
        while (going) {
          short.push(pool.run(jobOf("ok", [1]), accept));
          await sleep(10);
        }
      })();
      await pool.restart();
      going = false;
      await flow;
      expect(await long).toMatchObject({ kind: "success" });
      for (const { outcome } of await Promise.all(short)) expect(outcome).toMatchObject({ kind: "success" });
      expect((await places(pool)).filter((place) => before.has(place))).toEqual([]);
    });

    test("shows itself under Celery's keys", () => {
      const stats = pool.stats();
      expect(stats).toMatchObject({ "max-concurrency": pool.width, timeouts: [] });
      expect(pool.slots).toBe(pool.width * (kind.options.async ?? 1));
      expect(pool.size).toBeGreaterThanOrEqual(pool.slots);
      expect(stats.processes).toEqual(expect.arrayContaining([expect.any(Number)]));
    });

    test("tells what each of its children or threads does, and which of them does not answer", async () => {
      if (!pool.report) return; // it has none
      let spinning: Promise<PoolResult> | undefined;
      await new Promise<unknown>((resolve) => {
        spinning = pool.run(jobOf("busy", [1_500]), resolve);
      });
      const working = (await pool.report()).filter(({ role }) => role === "works");
      expect(working).toHaveLength(2);
      expect(working.filter(({ report }) => report === null)).toHaveLength(1);
      expect(working.find(({ report }) => report !== null)?.report).toMatchObject({ rss: expect.any(Number) });
      expect((await spinning)?.outcome).toMatchObject({ kind: "success" });
    });

    test("waits for what runs when it stops, and gives back what it has not begun", async () => {
      const { pool: own } = await make({ ...kind.options, concurrency: 1 });
      await own.start();
      const marks = file();
      const running = outcomeOf(own, "wait", [0.4, marks, "a"]);
      await until(() => linesOf(marks).length === 1);
      await own.stop(never());
      expect(await running).toMatchObject({ kind: "success" });
      expect(await outcomeOf(own, "ok", [1])).toMatchObject({ kind: "lost", accepted: false });
    });

    test("lets go at once when it is told to", async () => {
      const { pool: own } = await make({ ...kind.options, concurrency: 1 });
      await own.start();
      const marks = file();
      const running = outcomeOf(own, "heed", [30, marks]);
      const cold = new AbortController();
      let runs = false;
      await until(async () => {
        runs = true;
        return runs;
      });
      await sleep(100);
      const stopped = own.stop(cold.signal);
      cold.abort();
      await stopped;
      expect(await running).toMatchObject({ kind: "lost" });
    });
  });
}

/** Where the pool runs its tasks, each place once. */
async function places(pool: Pool): Promise<string[]> {
  const found = new Set<string>();
  const runs = Array.from({ length: Math.min(pool.size, 8) }, async () => {
    const outcome = await outcomeOf(pool, "wait", [0.2]);
    if (outcome.kind === "success") found.add(outcome.result);
  });
  await Promise.all(runs);
  return [...found];
}

/** A logger that keeps its lines. */
export function listeningLogger(lines: string[]): Logger {
  const make = (bindings: Record<string, unknown>): Logger => {
    const method =
      (level: string) =>
      (first: unknown, ...rest: readonly unknown[]): void => {
        const fields = { ...bindings, ...(typeof first === "object" && first !== null ? first : {}) } as Record<
          string,
          unknown
        >;
        const [format, ...values] = typeof first === "string" ? [first, ...rest] : rest;
        let at = 0;
        const text = String(format ?? "").replace(/%[sdjo]/g, () => String(values[at++]));
        lines.push(
          `${level} ${fields.processName ?? "MainProcess"} ${fields.taskName ?? ""}[${fields.taskId ?? ""}] ${text}`,
        );
      };
    return {
      trace: method("trace"),
      debug: method("debug"),
      info: method("info"),
      warn: method("warn"),
      error: method("error"),
      fatal: method("fatal"),
      level: "debug",
      isLevelEnabled: () => true,
      child: (more) => make({ ...bindings, ...more }),
    } as Logger;
  };
  return make({});
}
