import { randomUUID } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { TaskRevokedError } from "../../src/errors.ts";
import { root } from "../helpers/build.ts";
import { type InsideWorker, workInside } from "../helpers/inside.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

const acts = join(root, "test", "apps", "acts.ts");

interface Told {
  readonly task: string;
  readonly id: string;
  readonly terminated: boolean;
  readonly signum: number | null;
  readonly expired: boolean;
}

describe("a worker that is told to revoke", () => {
  let app: Tq;
  let worker: InsideWorker;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  const told: Told[] = [];
  let files = 0;
  const file = (): string => {
    files += 1;
    return folder.file(`marks-${files}`);
  };
  const linesOf = (path: string): string[] => (existsSync(path) ? readFileSync(path, "utf8").split("\n") : []);
  const running = (path: string, count = 1) => until(() => linesOf(path).length > count, { timeout: 20 });
  const errorOf = (result: { get(options: object): Promise<unknown> }) => result.get({ timeout: 20, propagate: false });

  beforeAll(async () => {
    folder = await temporaryFolder();
    const store = randomUUID();
    process.env.ACTS_QUEUE = "celery";
    app = new Tq("acts", { broker: `memory://${store}`, backend: `cache+memory://${store}` });
    // Known by name here; the code is the children's.
    for (const name of ["acts.add", "acts.slow"]) app.task(name, () => undefined);
    app.task("acts.slowLate", { acksLate: true }, () => undefined);
    app.signals.connect("taskRevoked", (details) => void told.push(details));
    worker = await workInside(app, { pool: "prefork", appSpec: acts, concurrency: 1 });
  });
  afterAll(async () => {
    await worker?.stop();
    await app?.close();
    await folder?.[Symbol.asyncDispose]();
  });

  test("does not run what it was told of before: it is REVOKED, acknowledged, logged and signalled", async () => {
    const id = randomUUID();
    await worker.revocation.revoke([id]);
    // Shown at once, though nobody has heard of the task yet (protocol 10.4).
    const before = await (await app.backend()).load(id);
    expect(before).toMatchObject({ status: "REVOKED", children: null, result: { exc_message: ["revoked"] } });
    const path = file();
    const result = await app.sendTask("acts.slow", [path, "a", 0], { taskId: id });
    expect(await errorOf(result)).toBeInstanceOf(TaskRevokedError);
    await until(() => told.some((one) => one.id === id));
    expect(told.find((one) => one.id === id)).toEqual({
      task: "acts.slow",
      id,
      terminated: false,
      signum: null,
      expired: false,
      headers: expect.objectContaining({ id, task: "acts.slow" }),
    });
    expect(worker.log()).toContain(`Tasks flagged as revoked: ${id}`);
    await until(() => worker.log().includes(`Discarding revoked task: acts.slow[${id}]`));
    expect(worker.revokes.ids()).toContain(id);
    expect(linesOf(path)).toEqual([]);
  });

  test("nor what a child already has in its hand behind another one", async () => {
    // Of short tasks the next ones are handed out ahead.
    const short = await Promise.all(Array.from({ length: 12 }, (_, n) => app.sendTask("acts.add", [n, 1])));
    for (const result of short) await result.get({ timeout: 20 });
    const [first, second] = [file(), file()];
    const long = await app.sendTask("acts.slow", [first, "a", 2]);
    const behind = await app.sendTask("acts.slow", [second, "b", 0]);
    await running(first);
    await until(() => worker.state.reserved.size === 1);
    await worker.revocation.revoke([behind.id]);
    await until(() => told.some(({ id }) => id === behind.id));
    expect([...worker.state.active].map(({ id }) => id)).toEqual([long.id]);
    expect(await errorOf(behind)).toBeInstanceOf(TaskRevokedError);
    await long.get({ timeout: 20 });
    expect(linesOf(second)).toEqual([]);
  });

  test("does not run what waits for a slot, nor what is held for its time", async () => {
    const path = file();
    const first = await app.sendTask("acts.slow", [path, "first", 1.2]);
    await running(path);
    const waiting = await app.sendTask("acts.slow", [path, "waiting", 0]);
    const held = await app.sendTask("acts.slow", [path, "held", 0], { countdown: 0.9 });
    await until(() => worker.state.reserved.size === 1 && worker.state.scheduled.size === 1);
    await worker.revocation.revoke([waiting.id, held.id]);
    expect(await first.get({ timeout: 20 })).toBe("first");
    await until(() => [waiting, held].every(({ id }) => told.some((one) => one.id === id)));
    expect(linesOf(path)).toEqual(["begin first", "end first", ""]);
    await until(() => worker.state.reserved.size + worker.state.scheduled.size === 0);
  });

  test("revokes by stamped header, what came before and what comes after", async () => {
    const path = file();
    const stamped = (tenant: unknown) => ({ headers: { stamped_headers: ["tenant"], stamps: { tenant } } });
    const first = await app.sendTask("acts.slow", [path, "first", 0.5]);
    await running(path);
    const before = await app.sendTask("acts.slow", [path, "before", 0], stamped(["acme", "other"]));
    await until(() => worker.state.reserved.size === 1);
    worker.revocation.revokeByStampedHeaders({ tenant: ["acme"] });
    const after = await app.sendTask("acts.slow", [path, "after", 0], stamped("acme"));
    const another = await app.sendTask("acts.slow", [path, "another", 0], stamped("free"));
    expect(await errorOf(before)).toBeInstanceOf(TaskRevokedError);
    expect(await errorOf(after)).toBeInstanceOf(TaskRevokedError);
    expect(await another.get({ timeout: 20 })).toBe("another");
    await first.get({ timeout: 20 });
    expect(linesOf(path).join()).not.toMatch(/before|after/);
    expect(worker.log()).toContain(`acts.slow[${after.id}] (revoked by header: {'tenant': 'acme'})`);
  });

  test("terminates what runs with the signal given, and says so in result, log and signal", async () => {
    for (const task of ["acts.slow", "acts.slowLate"]) {
      const path = file();
      const result = await app.sendTask(task, [path, "long", 60]);
      await running(path);
      expect(await worker.revocation.terminate([result.id, "unknown"], "SIGKILL")).toEqual([result.id]);
      const error = await until(async () => {
        const meta = await (await app.backend()).load(result.id);
        return JSON.stringify(meta?.result).includes("terminated") ? meta : undefined;
      });
      expect(error).toMatchObject({ status: "REVOKED", result: { exc_type: "TaskRevokedError" } });
      expect(worker.log()).toContain(`Terminating ${result.id} (Signals.SIGKILL)`);
      expect(told.find((one) => one.id === result.id)).toMatchObject({ terminated: true, signum: 9, expired: false });
      expect(linesOf(path)).toEqual(["begin long", ""]);
    }
    expect(await (await app.sendTask("acts.add", [1, 2])).get({ timeout: 20 })).toBe(3);
  });

  test("terminates by stamped header and tells which stamps it found", async () => {
    const path = file();
    const headers = { stamped_headers: ["batch"], stamps: { batch: "b1" } };
    await app.sendTask("acts.slow", [path, "long", 60], { headers });
    await running(path);
    await until(() => worker.state.active.size === 1); // what the child has begun, the worker hears of a moment later
    expect(worker.revocation.terminateByStampedHeaders({ batch: "none" }, "SIGTERM").size).toBe(0);
    const found = worker.revocation.terminateByStampedHeaders({ batch: ["b1", "b2"] }, "SIGTERM");
    expect([...found].map(([header, values]) => [header, [...values]])).toEqual([["batch", ["b1"]]]);
    await until(() => worker.state.active.size === 0);
  });

  test("knows nothing to terminate when nobody runs it", async () => {
    expect(await worker.revocation.terminate([randomUUID()])).toEqual([]);
  });
});
