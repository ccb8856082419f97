import { randomUUID } from "node:crypto";
import { lstatSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { ImproperlyConfigured, TaskRevokedError } from "../../src/errors.ts";
import { silentLogger } from "../../src/log.ts";
import { Revokes } from "../../src/worker/revokes.ts";
import { StateFile } from "../../src/worker/state-file.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { workInside } from "../helpers/inside.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

/** A memory of revokes with its file, as one run of a worker has it. */
async function run(path: string) {
  const revokes = new Revokes();
  const file = new StateFile({ path, revokes, logger: silentLogger });
  await file.start();
  return { revokes, stop: () => file.stop() };
}

describe("the state file", () => {
  test("keeps what was revoked over restarts, with its age", async () => {
    await using folder = await temporaryFolder();
    const path = folder.file("w1.db");
    const one = await run(path);
    one.revokes.merge({ ids: [["old", Date.now() / 1000 - 5_000]], stamps: [] });
    one.revokes.revoke(["a"]);
    one.revokes.revokeByStampedHeaders({ tenant: ["acme", 7] });
    const before = one.revokes.record();
    await one.stop();
    const two = await run(path);
    expect(two.revokes.record()).toEqual(before);
    await two.stop();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("has what was revoked shortly before its process was killed", async () => {
    await using folder = await temporaryFolder();
    const path = folder.file("w1.db");
    const killed = await run(path);
    for (let count = 0; count < 2_000; count += 1) killed.revokes.revoke([`id-${count}`]);
    await until(() => readFileSync(path, "utf8").includes("id-1999"));
    killed.revokes.revoke(["one more"]);
    await until(() => readFileSync(path, "utf8").includes("one more"));
    // No stop: what is in the file is all that a killed process leaves.
    const next = await run(path);
    expect(next.revokes.ids()).toHaveLength(2_001);
    await next.stop();
    await killed.stop();
    expect(readdirSync(folder.path)).toEqual(["w1.db"]);
  });

  test("that is none of ours is refused by name and left as it is", async () => {
    await using folder = await temporaryFolder();
    for (const content of ["x\u009cpickle", '{"version": 2}', "[]", '{"version": 1, "revoked": {"a": 1}}', ""]) {
      const path = folder.file("celery.db");
      writeFileSync(path, content);
      const revokes = new Revokes();
      const file = new StateFile({ path, revokes, logger: silentLogger });
      const error = await file.start().catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(ImproperlyConfigured);
      expect(String(error)).toContain(path);
      revokes.revoke(["a"]);
      await file.stop();
      expect(readFileSync(path, "utf8")).toBe(content);
    }
  });

  test("is never read or written through a link", async () => {
    await using folder = await temporaryFolder();
    writeFileSync(folder.file("precious"), "mine");
    symlinkSync(folder.file("precious"), folder.file("state"));
    await expect(run(folder.file("state"))).rejects.toThrow(/symbolic link/);
    expect(readFileSync(folder.file("precious"), "utf8")).toBe("mine");
    expect(lstatSync(folder.file("state")).isSymbolicLink()).toBe(true);
  });

  test("in a folder that is not there is told at the start", async () => {
    await expect(run("/nowhere/at/all/state.db")).rejects.toThrow(/ENOENT/);
  });
});

for (const kind of brokerKinds) {
  describeWith(kind.needs, `a revoke on ${kind.name}`, () => {
    test("issued while no worker runs is honoured by the one that starts", async () => {
      await using broker = await kind.make();
      await using app = new Tq("app", {
        broker: broker.env.TQ_BROKER_URL,
        backend: broker.env.TQ_RESULT_BACKEND,
        taskDefaultQueue: broker.queue,
      });
      const ran: string[] = [];
      const mark = app.task("app.mark", (name: string) => ran.push(name));
      const [byId, runs] = [await mark.delay("by id"), await mark.delay("runs")];
      const stamps = { headers: { stamped_headers: ["tenant"], stamps: { tenant: "acme" } } };
      const byStamp = await mark.applyAsync(["by stamp"], stamps);
      await app.control.revoke([byId.id, randomUUID()]);
      await app.control.revokeByStampedHeaders({ tenant: ["acme"] });
      // Meant for one worker alone: nobody else has to know.
      await app.control.revoke(runs.id, { destination: "other@host" });
      await using folder = await temporaryFolder();
      const statedb = folder.file("%n.db");
      await using worker = await workInside(app, { statedb, hostname: "w1@host" });
      expect(await runs.get({ timeout: 20 })).toBe(1);
      for (const result of [byId, byStamp]) {
        expect(await result.get({ timeout: 20, propagate: false })).toBeInstanceOf(TaskRevokedError);
      }
      expect(ran).toEqual(["runs"]);
      expect(worker.revokes.ids()).toContain(byId.id);
      await until(() => readFileSync(folder.file("w1.db"), "utf8").includes(byId.id));
    });
  });
}
