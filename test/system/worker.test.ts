import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type RemoteError, SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError } from "../../src/errors.ts";
import { type BrokerKind, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { childrenOf, isAlive } from "../helpers/child.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const acts = join(root, "test", "apps", "acts.ts");
const linesOf = (file: string): string[] => {
  try {
    return readFileSync(file, "utf8").split("\n").filter(Boolean);
  } catch {
    return [];
  }
};

/** A worker on a broker of its own, and a client of it. */
async function stage(kind: BrokerKind, args: readonly string[]) {
  const broker = await kind.make();
  const folder = await temporaryFolder();
  const worker = startWorker({
    app: acts,
    args,
    env: { ...broker.env, ACTS_QUEUE: broker.queue },
  });
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
  return { worker, app, file: folder.file("marks"), queue: broker.queue, [Symbol.asyncDispose]: dispose };
}

for (const kind of brokerKinds) {
  describeWith(kind.needs, `a worker on ${kind.name}`, () => {
    test("TERM finishes what runs, gives back the rest, and exits with 0", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { worker, app, file, queue } = scene;
      for (const name of ["a", "b", "c", "d", "e"]) await app.sendTask("acts.slowLate", [file, name, 1]);
      await until(() => linesOf(file).length >= 2);
      const exit = await worker.term();
      expect(exit).toEqual({ code: 0, signal: null });
      expect(linesOf(file).filter((line) => line.startsWith("end"))).toHaveLength(2);
      expect(linesOf(file)).toHaveLength(4);
      const broker = await app.broker();
      await until(async () => (await broker.size(queue)) === 3, { message: "three tasks are back in the queue" });
    });

    test("QUIT gives back at once what acknowledges late", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { worker, app, file, queue } = scene;
      for (const name of ["a", "b", "c"]) await app.sendTask("acts.slowLate", [file, name, 30]);
      await until(() => linesOf(file).length >= 2);
      process.kill(worker.pid, "SIGQUIT");
      expect((await worker.exited).code).toBe(0);
      const broker = await app.broker();
      await until(async () => (await broker.size(queue)) === 3, { message: "all three are back in the queue" });
    });

    test("a child that dies is noticed, recorded and replaced, and an early task is not run again", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { worker, app, file } = scene;
      const result = await app.sendTask("acts.die", [file, "SIGKILL"]);
      const error = await result.get({ timeout: 15, propagate: false });
      expect(error).toBeInstanceOf(WorkerLostError);
      expect(String(error)).toContain("SIGKILL");
      expect(linesOf(file)).toEqual(["run"]);
      await worker.printed(/Process 'ForkPoolWorker-\d+' pid:\d+ exited with 'signal SIGKILL'/);
      await until(() => childrenOf(worker.pid).length === 2, { message: "there are two children again" });
      const two = [
        app.sendTask("acts.pid"),
        app.sendTask("acts.slow", [file, "beside", 0.5]),
        app.sendTask("acts.pid"),
      ];
      for (const call of two) await (await call).get({ timeout: 10 });
      expect(linesOf(file)).toEqual(["run", "begin beside", "end beside"]);
    });

    test("process.exit in a task is a lost worker too", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { app, file } = scene;
      const error = await (await app.sendTask("acts.dieLate", [file, "exit"])).get({ timeout: 15, propagate: false });
      expect(error).toBeInstanceOf(WorkerLostError);
      expect(String(error)).toContain("exitcode 3");
      expect(linesOf(file)).toEqual(["run"]);
    });

    test("with rejectOnWorkerLost the task is run again", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { app, file } = scene;
      expect(await (await app.sendTask("acts.dieRequeued", [file])).get({ timeout: 20 })).toBe("survived");
      expect(linesOf(file)).toEqual(["first", "again"]);
    });

    test("without acksOnFailure a failed task goes to the dead letters", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { app, queue } = scene;
      const result = await app.sendTask("acts.failDead");
      expect(await result.get({ timeout: 10, propagate: false })).toBeInstanceOf(Error);
      const { deadLetters } = await app.broker();
      const [letter] = await until(async () => {
        const letters = await deadLetters.list();
        return letters.length > 0 ? letters : undefined;
      });
      expect(letter).toMatchObject({ queue, reason: expect.stringContaining("to the dead letters") });
      expect(letter?.message?.headers.id).toBe(result.id);
    });

    test("an endless loop is gone at its hard limit, and its slot usable again", async () => {
      await using scene = await stage(kind, ["-c", "2"]);
      const { app } = scene;
      const error = await (await app.sendTask("acts.hang")).get({ timeout: 15, propagate: false });
      expect(error).toBeInstanceOf(TimeLimitExceeded);
      expect(await (await app.sendTask("acts.add", [1, 2])).get({ timeout: 15 })).toBe(3);
    });
  });
}

describe("a worker", () => {
  const [kind] = brokerKinds as unknown as [(typeof brokerKinds)[number]];

  test("puts what tasks print into its log, marked with who printed it and for which task", async () => {
    await using scene = await stage(kind, ["-c", "1"]);
    const { worker, app } = scene;
    const { id } = await app.sendTask("acts.print");
    for (const text of ["printed by console.log", "written to stderr", "a line without its end"]) {
      await worker.printed(new RegExp(`WARNING/ForkPoolWorker-1\\] acts\\.print\\[${id}\\]: ${text}$`));
    }
    await worker.printed(/WARNING\/ForkPoolWorker-1\] .*Warning: warned of by Node$/);
  });

  test("logs in Celery's words", async () => {
    await using scene = await stage(kind, ["-c", "1"]);
    const { worker, app } = scene;
    const result = await app.sendTask("acts.add", [2, 2]);
    await result.get({ timeout: 10 });
    await worker.printed(new RegExp(`INFO/MainProcess\\] Task acts.add\\[${result.id}\\] received$`));
    await worker.printed(
      new RegExp(`INFO/ForkPoolWorker-1\\] Task acts.add\\[${result.id}\\] succeeded in [\\d.e-]+s: 4$`),
    );
  });

  test("aborts a task's signal at its soft limit", async () => {
    await using scene = await stage(kind, ["-c", "1"]);
    const { app } = scene;
    expect(await (await app.sendTask("acts.soft")).get({ timeout: 10, propagate: false })).toBeInstanceOf(
      SoftTimeLimitExceeded,
    );
  });

  test("replaces a child after --max-tasks-per-child", async () => {
    await using scene = await stage(kind, ["-c", "1", "--max-tasks-per-child", "2"]);
    const { app } = scene;
    const pids: unknown[] = [];
    for (let i = 0; i < 4; i += 1) pids.push(await (await app.sendTask("acts.pid")).get({ timeout: 15 }));
    expect(pids[0]).toBe(pids[1]);
    expect(pids[2]).toBe(pids[3]);
    expect(pids[0]).not.toBe(pids[2]);
  });

  test("whose last child is killed while it stops gives back what that child had in hand", async () => {
    await using scene = await stage(kind, ["-c", "1", "-O", "fast"]);
    const { worker, app, file, queue } = scene;
    for (const name of ["a", "b", "c"]) await app.sendTask("acts.slowLate", [file, name, 30]);
    await until(() => linesOf(file).length === 1);
    const [child] = childrenOf(worker.pid);
    process.kill(worker.pid, "SIGTERM");
    await worker.printed(/Warm shutdown/);
    process.kill(child as number, "SIGKILL");
    expect((await worker.exited).code).toBe(0);
    expect(linesOf(file)).toEqual(["begin a"]);
    expect(await (await app.broker()).size(queue)).toBe(2);
  });

  test("leaves no child behind when it is killed", async () => {
    await using broker = await kind.make();
    await using worker = startWorker({
      app: acts,
      args: ["-c", "2"],
      env: { ...broker.env, ACTS_QUEUE: broker.queue },
    });
    await worker.ready();
    const children = childrenOf(worker.pid);
    expect(children).toHaveLength(2);
    process.kill(worker.pid, "SIGKILL");
    await until(() => children.every((pid) => !isAlive(pid)), { message: "the children have ended with their parent" });
  });

  test("that cannot load its app says why in one message, without a stack", async () => {
    await using folder = await temporaryFolder();
    await using worker = startWorker({ app: join(folder.path, "nowhere"), args: ["-c", "1"] });
    const { code } = await worker.exited;
    expect(code).toBe(2);
    expect(worker.output).toContain("Unable to load");
    expect(worker.output).not.toMatch(/^\s+at /m);
  });

  test("throws the remote error to the caller, with the remote traceback", async () => {
    await using scene = await stage(kind, ["-c", "1"]);
    const { app } = scene;
    const error = await (await app.sendTask("acts.add", [1])).get({ timeout: 10 }).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Error);
    expect((error as RemoteError).message).toBe("add() missing 1 required positional argument: 'y'");
  });
});
