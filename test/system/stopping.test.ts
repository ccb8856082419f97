import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type BrokerKind, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { childrenOf, isAlive } from "../helpers/child.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const [embedded] = brokerKinds as unknown as [BrokerKind];

interface SceneOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A worker on a broker of its own, a client of it, and the file in which tasks leave their lines. */
async function stage(kind: BrokerKind, { args = ["-c", "1"], env = {} }: SceneOptions = {}) {
  const broker = await kind.make();
  const folder = await temporaryFolder();
  const start = (): WorkerHandle =>
    startWorker({
      app: join(root, "test", "apps", "endings.ts"),
      args,
      env: { ...broker.env, ENDINGS_QUEUE: broker.queue, ...env },
    });
  const worker = start();
  const app = new Tq("client", {
    broker: broker.env.TQ_BROKER_URL,
    backend: broker.env.TQ_RESULT_BACKEND,
    taskDefaultQueue: broker.queue,
  });
  const dispose = async (): Promise<void> => {
    for (const part of [app, worker, folder, broker]) await part[Symbol.asyncDispose]();
  };
  try {
    await worker.ready();
  } catch (error) {
    await dispose();
    throw error;
  }
  const file = folder.file("lines");
  return {
    worker,
    start,
    app,
    file,
    lines: (): string[] => {
      try {
        return readFileSync(file, "utf8").split("\n").filter(Boolean);
      } catch {
        return [];
      }
    },
    send: (task: string, name: string, seconds: number) => app.sendTask(`endings.${task}`, [file, name, seconds]),
    waiting: async (): Promise<number> => (await app.broker()).size(broker.queue),
    [Symbol.asyncDispose]: dispose,
  };
}

for (const kind of brokerKinds) {
  describeWith(kind.needs, `stopping over ${kind.name}`, () => {
    test("warm: what has not begun goes back at once, in its order, while a long task goes on to its end", async () => {
      await using scene = await stage(kind);
      const { worker, send, lines, waiting } = scene;
      const running = await send("late", "long", 4);
      await until(() => lines().length === 1);
      for (const name of ["a", "b", "c"]) await send("late", name, 0);
      await until(async () => (await waiting()) === 0, { message: "all to be prefetched" });
      worker.signal("SIGTERM");
      await until(async () => (await waiting()) === 3, { timeout: 3, message: "what was prefetched to be back" });
      expect(lines()).toEqual(["begin long"]);
      await send("late", "d", 0);
      // Nothing new is fetched, and another worker gets what went back.
      await using other = scene.start();
      expect(await running.get({ timeout: 15 })).toBe("long");
      expect(await worker.exited).toEqual({ code: 0, signal: null });
      await until(() => lines().includes("end d"), { timeout: 20, message: `d\n${other.output}` });
      expect(lines().filter((line) => /^begin [a-d]/.test(line))).toEqual(["begin a", "begin b", "begin c", "begin d"]);
      expect(lines().filter((line) => line === "begin long")).toHaveLength(1);
      await other.term();
    });

    test("--disable-prefetch takes a message only when a slot is free, also beside tasks that acknowledge early", async () => {
      await using scene = await stage(kind, { args: ["-c", "1", "--disable-prefetch"] });
      const { send, lines, worker } = scene;
      const first = await send("early", "a", 1);
      await until(() => lines().length === 1);
      const all = [first, await send("early", "b", 0), await send("late", "c", 0), await send("early", "d", 0)];
      for (const result of all) await result.get({ timeout: 10 });
      const told = worker.lines.flatMap((line) => / (received|succeeded)( in .*)?$/.exec(line)?.[1] ?? []);
      expect(told.slice(0, 7)).toEqual(Array.from({ length: 7 }, (_, at) => (at % 2 ? "succeeded" : "received")));
      await worker.term();
    });

    test("when its grace is over, what acknowledges late is given back and the rest is ended", async () => {
      await using scene = await stage(kind, { args: ["-c", "2", "--grace", "1"] });
      const { worker, send, lines, waiting } = scene;
      await send("late", "late", 60);
      const early = await send("early", "early", 60);
      await until(() => lines().length === 2);
      const children = childrenOf(worker.pid);
      expect(children).toHaveLength(2);
      const began = performance.now();
      worker.signal("SIGTERM");
      expect(await worker.exited).toEqual({ code: 0, signal: null });
      expect(performance.now() - began).toBeGreaterThan(900);
      expect(worker.output).toContain("The grace period of 1 seconds is over");
      expect(worker.lines.filter((line) => line.startsWith("shutting down"))).toEqual([
        "shutting down: SIGTERM Warm 0",
        "shutting down: null Cold 0",
      ]);
      await until(() => children.every((pid) => !isAlive(pid)), { message: "no child outlives its worker" });
      await until(async () => (await waiting()) === 1, { message: "the late one to be back" });
      const ended = await until(async () => {
        const meta = await early.meta();
        return meta?.status === "RETRY" ? meta : undefined;
      });
      expect(JSON.stringify(ended)).toContain("cancelled by Celery");
    });

    test("Ctrl-C: warm, then cold, each in Celery's words, and 1 is the exit code", async () => {
      await using scene = await stage(kind);
      const { worker, send, lines, waiting } = scene;
      await send("late", "one", 60);
      await until(() => lines().length === 1);
      worker.signal("SIGINT");
      await worker.printed("worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!");
      await worker.printed("worker: Warm shutdown (MainProcess)");
      worker.signal("SIGINT");
      await worker.printed("worker: Hitting Ctrl+C again will terminate all running tasks!");
      await worker.printed("worker: Cold shutdown (MainProcess)");
      expect(await worker.exited).toEqual({ code: 1, signal: null });
      expect(await waiting()).toBe(1);
    });

    test("Ctrl-C twice ends a worker whose children are too busy to hear of anything, and no child stays", async () => {
      await using scene = await stage(kind);
      const { worker, lines, app, file, waiting } = scene;
      await app.sendTask("endings.spin", [file, 60]);
      await until(() => lines().length === 1);
      const children = childrenOf(worker.pid);
      worker.signalGroup("SIGINT");
      await worker.printed("worker: Warm shutdown (MainProcess)");
      worker.signalGroup("SIGINT");
      expect((await worker.exited).code).toBe(1);
      await until(() => children.every((pid) => !isAlive(pid)), { message: "the children to be gone" });
      expect(await waiting()).toBe(1);
    });

    test("QUIT with a soft shutdown waits for what ends in time, and gives back the rest", async () => {
      await using scene = await stage(kind, {
        args: ["-c", "2"],
        env: { ENDINGS_SETTINGS: JSON.stringify({ workerSoftShutdownTimeout: 3 }) },
      });
      const { worker, send, lines, waiting } = scene;
      const short = await send("late", "short", 1);
      await send("late", "long", 60);
      await until(() => lines().length === 2);
      worker.signal("SIGQUIT");
      await worker.printed("Initiating Soft Shutdown, terminating in 3 seconds");
      expect(await short.get({ timeout: 10 })).toBe("short");
      expect(await worker.exited).toEqual({ code: 0, signal: null });
      expect(lines().sort()).toEqual(["begin long", "begin short", "end short"]);
      expect(await waiting()).toBe(1);
    });

    test("HUP finishes what runs and starts again as it was started, under the process id its starter knows", async () => {
      await using scene = await stage(kind, { args: ["-c", "1", "-n", "again@%h"] });
      const { worker, send, lines } = scene;
      await send("late", "one", 1);
      await until(() => lines().length === 1);
      for (let restarts = 1; restarts <= 2; restarts += 1) {
        const children = childrenOf(worker.pid);
        worker.signal("SIGHUP");
        await until(() => worker.lines.filter((line) => line.startsWith("Restarting tq worker (")).length === restarts);
        await until(() => worker.lines.filter((line) => / again@.* ready\.$/.test(line)).length === restarts + 1, {
          timeout: 20,
          message: worker.output,
        });
        if (restarts === 1) expect(children.every((pid) => !isAlive(pid))).toBe(true);
        expect(await (await send("early", `after ${restarts}`, 0)).get({ timeout: 10 })).toBe(`after ${restarts}`);
      }
      expect(lines().slice(0, 2)).toEqual(["begin one", "end one"]);
      worker.signal("SIGTERM");
      expect(await worker.exited).toEqual({ code: 0, signal: null });
    });
  });
}

describe("stopping", () => {
  test("a soft shutdown ends as soon as nothing runs, and REMAP_SIGTERM lets TERM begin it", async () => {
    await using scene = await stage(embedded, {
      env: { REMAP_SIGTERM: "SIGQUIT", ENDINGS_SETTINGS: JSON.stringify({ workerSoftShutdownTimeout: 60 }) },
    });
    const { worker, send, lines } = scene;
    await send("late", "one", 1);
    await until(() => lines().length === 1);
    worker.signal("SIGTERM");
    await worker.printed("Initiating Soft Shutdown, terminating in 60 seconds");
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(lines()).toEqual(["begin one", "end one"]);
  });

  test("Ctrl-C four times: warm, soft, cold, and at once, whatever hangs", async () => {
    await using scene = await stage(embedded, {
      env: { ENDINGS_SETTINGS: JSON.stringify({ workerSoftShutdownTimeout: 60 }), ENDINGS_HANG: "1" },
    });
    const { worker, send, lines, waiting } = scene;
    await send("late", "one", 60);
    await until(() => lines().length === 1);
    worker.signal("SIGINT");
    await worker.printed("worker: Warm shutdown (MainProcess)");
    worker.signal("SIGINT");
    await worker.printed("Initiating Soft Shutdown, terminating in 60 seconds");
    worker.signal("SIGINT");
    await worker.printed("Waiting gracefully for cold shutdown to complete...");
    await worker.printed("worker: Cold shutdown (MainProcess)");
    await until(async () => (await waiting()) === 1, { message: "the task to be given back" });
    expect(worker.running).toBe(true);
    worker.signal("SIGINT");
    await worker.printed("worker: Stopping at once");
    expect(await worker.exited).toEqual({ code: 1, signal: null });
  });

  test("with workerEnableSoftShutdownOnIdle QUIT waits out its time although nothing runs", async () => {
    const settings = { workerSoftShutdownTimeout: 1, workerEnableSoftShutdownOnIdle: true };
    await using scene = await stage(embedded, { env: { ENDINGS_SETTINGS: JSON.stringify(settings) } });
    const began = performance.now();
    scene.worker.signal("SIGQUIT");
    await scene.worker.printed("Initiating Soft Shutdown, terminating in 1 seconds");
    expect(await scene.worker.exited).toEqual({ code: 0, signal: null });
    expect(performance.now() - began).toBeGreaterThan(900);
    expect(scene.worker.output).toContain("worker: Cold shutdown (MainProcess)");
  });

  test("USR1 tells what the worker and each child do, a blocked one too, and neither it nor USR2 ends anybody", async () => {
    await using scene = await stage(embedded, { args: ["-c", "2"] });
    const { worker, send, lines, app, file } = scene;
    const spin = await app.sendTask("endings.spin", [file, 60]);
    const late = await send("late", "one", 60);
    await until(() => lines().length === 2);
    const children = childrenOf(worker.pid);
    worker.signal("SIGUSR1");
    await worker.printed(/Report of .*: running, up \S+ s, 2 active, 0 reserved, 0 scheduled, 2 begun/);
    const blocked = await worker.printed(/ForkPoolWorker-\d \(pid \d+\): does not answer: blocked in synchronous code/);
    const waiting = await worker.printed(/ForkPoolWorker-\d \(pid \d+\): \d+ MiB resident.* waits for .*\b1 Timeout/);
    const below = (line: string): string => worker.lines[worker.lines.indexOf(line) + 1] as string;
    expect(below(blocked)).toMatch(new RegExp(`^ {4}endings.spin\\[${spin.id}\\] for \\d+\\.\\d s$`));
    expect(below(waiting)).toMatch(new RegExp(`^ {4}endings.late\\[${late.id}\\] for \\d+\\.\\d s$`));
    worker.signalGroup("SIGUSR2");
    worker.signalGroup("SIGUSR1");
    await until(() => worker.lines.filter((line) => line.includes("Report of ")).length === 2);
    expect(worker.output).not.toContain("Debugger listening");
    expect(childrenOf(worker.pid)).toEqual(children);
    worker.signal("SIGQUIT");
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });

  test("where debuggers are allowed, USR2 lets one into the worker and USR1 into a blocked child", async () => {
    await using scene = await stage(embedded, { env: { CELERY_RDBSIG: "1", CELERY_RDB_PORT: "16899" } });
    const { worker, app, file, lines } = scene;
    await app.sendTask("endings.spin", [file, 60]);
    await until(() => lines().length === 1);
    worker.signal("SIGUSR2");
    await worker.printed(/A debugger may come in at ws:\/\/127\.0\.0\.1:168\d\d\//);
    const [child] = childrenOf(worker.pid);
    process.kill(child as number, "SIGUSR1");
    await worker.printed(/Debugger listening on ws:\/\/127\.0\.0\.1:16900\//);
    worker.signal("SIGQUIT");
    expect((await worker.exited).code).toBe(0);
  });

  test("a worker that was started again ends with its first process, also after kill -9", async () => {
    await using scene = await stage(embedded);
    const { worker } = scene;
    worker.signal("SIGHUP");
    await until(() => worker.lines.filter((line) => / ready\.$/.test(line)).length === 2, { timeout: 20 });
    const all = [...childrenOf(worker.pid), ...childrenOf(worker.pid).flatMap(childrenOf)];
    expect(all.length).toBeGreaterThan(0);
    process.kill(worker.pid, "SIGKILL");
    await until(() => all.every((pid) => !isAlive(pid)), { message: "nobody to be left" });
  });
});
