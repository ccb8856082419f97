import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { encodeRecord } from "../../src/backend/record.ts";
import { WorkerLostError } from "../../src/errors.ts";
import { chord, type GroupResult } from "../../src/index.ts";
import { createTaskMeta } from "../../src/protocol/task-meta.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { workInside } from "../helpers/inside.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const acts = join(root, "test", "apps", "acts.ts");
const linesOf = (file: string): string[] =>
  existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];

for (const kind of brokerKinds) {
  describeWith(kind.needs, `a message on ${kind.name}`, () => {
    test("outlives killers, kills and versions that cannot run it", { timeout: 120_000 }, async () => {
      await using broker = await kind.make();
      await using folder = await temporaryFolder();
      const env = { ...broker.env, ACTS_QUEUE: broker.queue };
      await using app = new Tq("client", {
        broker: broker.env.TQ_BROKER_URL,
        backend: broker.env.TQ_RESULT_BACKEND,
        taskDefaultQueue: broker.queue,
      });
      const [killer, early, late] = ["killer", "early", "late"].map((name) => folder.file(name)) as [
        string,
        string,
        string,
      ];
      await using old = startWorker({ app: acts, args: ["-c", "3"], env });
      await old.ready();

      // A task that kills its child again and again ends among the dead letters, with the reason.
      const killing = await app.sendTask("acts.alwaysDies", [killer]);
      const failure = await killing.get({ timeout: 40, propagate: false });
      expect(failure).toBeInstanceOf(WorkerLostError);
      expect(String(failure)).toMatch(/3 child processes died running the task, the last with signal SIGKILL/);
      expect(linesOf(killer)).toEqual(["run", "run", "run"]);
      const { deadLetters, shelf } = await app.broker();
      const [letter] = await until(async () => {
        const letters = await deadLetters.list();
        return letters.length > 0 ? letters : undefined;
      });
      expect(letter?.reason).toMatch(/3 child processes died running the task.*SIGKILL.*MiB of memory/);
      expect(letter?.message?.headers).toMatchObject({ id: killing.id, tq_crashes: 2 });

      // What this version cannot run is put aside: a task it does not know, and arguments that do not fit.
      const unknown = [1, 2].map((x) => app.sendTask("acts.newcomer", [x]));
      const misfit = await app.sendTask("acts.grown", [3, 4]);
      const ids = [...(await Promise.all(unknown)), misfit].map(({ id }) => id);
      await until(async () => (await shelf.count()) === 3, { timeout: 20, message: "three on the shelf" });
      const shelved = await shelf.list();
      expect(shelved.map(({ message }) => message?.headers.id).sort()).toEqual([...ids].sort());
      expect(shelved.map(({ reason }) => reason).join()).toMatch(/NotRegistered: 'acts.newcomer'/);
      expect(shelved.map(({ reason }) => reason).join()).toMatch(/takes? .*argument/);
      await old.printed(/acts.newcomer.* kept on the shelf until a worker can run it/);

      // Killed in the middle of an early and a late acknowledged task, with one more in its hands.
      await app.sendTask("acts.slow", [early, "early", 2]);
      const rerun = await app.sendTask("acts.slowLate", [late, "late", 2]);
      await until(() => linesOf(early).length === 1 && linesOf(late).length === 1);
      await old.kill9Group();

      await using next = startWorker({ app: acts, args: ["-c", "2"], env: { ...env, ACTS_VERSION: "2" } });
      await next.ready();
      expect(await rerun.get({ timeout: 40 })).toBe("late");
      expect(linesOf(late)).toEqual(["begin late", "begin late", "end late"]);
      const results = ids.map((id) =>
        until(async () => (await app.asyncResult(id).state()) === "SUCCESS", { timeout: 40 }),
      );
      await Promise.all(results);
      expect(await app.asyncResult(misfit.id).get({ timeout: 5 })).toBe(7);
      expect(await shelf.count()).toBe(0);
      // Acknowledged when it began, it is not run again.
      expect(linesOf(early)).toEqual(["begin early"]);
      expect(await deadLetters.count()).toBe(1);
      expect((await next.term()).code).toBe(0);
    });
  });
}

describe("a worker", () => {
  const stage = (settings: object = {}) => {
    const store = randomUUID();
    return new Tq("app", { broker: `memory://${store}`, backend: `cache+memory://${store}`, ...settings });
  };

  /** Gives everything that waits back once, marked redelivered. */
  async function redeliver(app: Tq, count: number): Promise<void> {
    const broker = await app.broker();
    let seen = 0;
    const subscription = await broker.subscribe({
      node: "nobody",
      prefetch: 0,
      onDelivery: () => {
        seen += 1;
      },
      onLost: () => undefined,
    });
    for (const queue of app.topology.consumed.values()) await subscription.consume(queue);
    await until(() => seen === count);
    await subscription.close();
  }

  test("with workerDeduplicateSuccessfulTasks does not repeat what has succeeded", async () => {
    for (const workerDeduplicateSuccessfulTasks of [true, false]) {
      await using app = stage({ workerDeduplicateSuccessfulTasks });
      const ran: string[] = [];
      const note = (name: string) => ran.push(name);
      const late = app.task("app.late", { acksLate: true }, note);
      {
        await using _worker = await workInside(app);
        await (await late.applyAsync(["first"], { taskId: "done" })).get({ timeout: 10 });
      }
      await late.applyAsync(["again"], { taskId: "done" });
      await late.applyAsync(["new"], { taskId: "new" });
      await redeliver(app, 2);
      await late.applyAsync(["not redelivered"], { taskId: "done" });
      await using worker = await workInside(app);
      await until(() => ran.includes("new") && ran.includes("not redelivered"));
      expect(ran.includes("again")).toBe(!workerDeduplicateSuccessfulTasks);
      expect(worker.log().includes("Task app.late[done] Task already completed successfully.")).toBe(
        workerDeduplicateSuccessfulTasks,
      );
    }
  });

  test("with workerDeduplicateSuccessfulTasks hands on what a worker left that died after it had stored the result", async () => {
    await using app = stage({ workerDeduplicateSuccessfulTasks: true });
    const ran: string[] = [];
    const late = app.task("app.late", { acksLate: true }, (x: number) => {
      ran.push("late");
      return x;
    });
    const sum = app.task("app.sum", (numbers: readonly number[]) => numbers.reduce((one, other) => one + other, 0));
    const result = await chord([late.s(1), late.s(2)], sum.s()).delay();
    const members = (result.parent as GroupResult).results.map(({ id }) => id);
    const backend = await app.backend();
    for (const [index, id] of members.entries()) {
      const meta = createTaskMeta({ task_id: id, status: "SUCCESS", result: index + 1, traceback: null, children: [] });
      await backend.store(await encodeRecord(meta, { serializer: "json", replyTo: null, correlationId: id }));
    }
    await redeliver(app, 2);
    await using _worker = await workInside(app);
    expect(await result.get({ timeout: 10 })).toBe(3);
    expect(ran).toEqual([]);
  });

  test("does with unknown tasks what workerUnknownTasks says", async () => {
    for (const [workerUnknownTasks, dead, shelved] of [
      ["park", 0, 1],
      ["deadletter", 1, 0],
      ["discard", 0, 0],
    ] as const) {
      await using app = stage({ workerUnknownTasks });
      await using worker = await workInside(app);
      const result = await app.sendTask("app.nobody", []);
      const error = await result.get({ timeout: 10, propagate: false });
      expect(String(error)).toContain("app.nobody");
      const broker = await app.broker();
      await until(async () => (await broker.deadLetters.count()) === dead && (await broker.shelf.count()) === shelved);
      await until(async () => (await broker.size("celery")) === 0);
      expect(worker.log()).toMatch(/Received unregistered task of type 'app.nobody'/);
    }
  });

  test("does not fetch from the shelf what it put there itself, nor what is for queues of others", async () => {
    await using app = stage();
    app.task("app.one", (x: number) => x);
    await using worker = await workInside(app);
    const misfit = await app.sendTask("app.one", [1, 2, 3]);
    const broker = await app.broker();
    await until(async () => (await broker.shelf.count()) === 1);
    await worker.services.find(({ name }) => name === "shelf")?.stop(AbortSignal.abort());
    await worker.services.find(({ name }) => name === "shelf")?.start();
    await misfit.get({ timeout: 5, propagate: false });
    await until(() => worker.log().split("cannot be run").length === 2);
    expect(await broker.shelf.count()).toBe(1);
  });
});
