import { randomUUID } from "node:crypto";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { pythonEnv, pythonFolder, startCeleryWorker, startWorker, type WorkerHandle } from "../helpers/worker.ts";

const wire = join(root, "test", "apps", "wire.ts");

/** What the two dumps may differ in: when it came in, at which clock, and `2.0`, which JSON writes as 2 here. */
const comparable = (line: string): string =>
  line
    .replace(/local_received=[\d.]+/, "local_received=")
    .replace(/clock=\d+/, "clock=")
    .replace(/\[[^\]]*\+00:00\]/, "[when]")
    .replace(/=(\d+)\.0\b/g, "=$1")
    .replace(/loadavg=\[[^\]]*\]/, "loadavg=")
    .replace(/runtime=[\d.e-]+/, "runtime=");

for (const kind of brokerKinds.filter(({ name }) => name !== "the embedded store")) {
  describeWith([...kind.needs, "celery"], `Python and tq workers on ${kind.name}`, () => {
    let broker: BrokerUnderTest;
    let app: Tq;
    let env: Readonly<Record<string, string>>;
    let ours: WorkerHandle;
    let theirs: WorkerHandle;
    let ourDump: Child;
    let theirDump: Child;

    beforeAll(async () => {
      broker = await kind.make();
      env = { ...broker.env, TQ_SETTINGS: "{}" };
      app = new Tq("client", { broker: broker.env.TQ_BROKER_URL, backend: broker.env.TQ_RESULT_BACKEND });
      const args = ["-E", "-c", "1", "-l", "DEBUG"];
      theirs = startCeleryWorker({ env, args: [...args, "-n", "py@fleet", "-Q", "pyq"], neighbourly: true });
      theirDump = startChild(join(celeryBin(), "python"), ["-m", "celery", "-A", "wire", "events", "--dump"], {
        cwd: pythonFolder,
        env: pythonEnv(env),
      });
      ourDump = startChild(process.execPath, [join(root, "bin", "tq.js"), "-A", wire, "events", "--dump"], {
        cwd: root,
        env: { ...process.env, NO_COLOR: "1", ...env },
      });
      await theirs.ready();
      ours = startWorker({ env, args: [...args, "-n", "ts@fleet", "-Q", "tsq"] });
      await ours.ready();
      await Promise.all([ourDump, theirDump].map((dump) => dump.printed("ts@fleet")));
    });
    afterAll(async () => {
      for (const child of [ourDump, theirDump, ours, theirs]) await child?.[Symbol.asyncDispose]();
      await app?.close();
      await broker?.[Symbol.asyncDispose]();
    });

    /**
     * An election, acknowledged by all: the task runs once, by whoever wins. Python does not stand in it: a
     * Celery worker that hears its own acknowledgement before another candidate ends with an IndexError.
     */
    const settleElection = async (standing: readonly WorkerHandle[]): Promise<void> => {
      const id = randomUUID();
      const options = { task_id: id, queue: "tsq" };
      const action = { task: "wire.add", args: [40, 2], kwargs: {}, options, subtask_type: null, immutable: false };
      await app.control.election(randomUUID(), "task", action, { destination: ["ts@fleet", "ts2@fleet"] });
      expect(await app.asyncResult(id).get({ timeout: 15 })).toBe(42);
      await Promise.all(standing.map((worker) => worker.printed(/I won the election|node .* elected for/)));
      expect(standing.filter((worker) => worker.output.includes("I won the election"))).toHaveLength(1);
      await until(() => ourDump.lines.some((line) => line.includes(id) && line.includes("task succeeded")));
      expect(ourDump.lines.filter((line) => line.includes(id) && line.includes("task received"))).toHaveLength(1);
    };

    test("tq events --dump and celery events --dump say the same of both", async () => {
      const ids: string[] = [];
      for (const queue of ["pyq", "tsq"]) {
        for (const [name, args] of [
          ["wire.add", [1, 2]],
          ["wire.event", []],
        ] as const) {
          ids.push((await app.sendTask(name, args, { queue })).id);
        }
      }
      const about = (dump: Child, id: string): readonly string[] => dump.lines.filter((line) => line.includes(id));
      for (const id of ids) {
        for (const dump of [ourDump, theirDump]) {
          await until(() => about(dump, id).some((line) => line.includes("task succeeded:")), {
            message: `the end of ${id} in ${dump === ourDump ? "our" : "their"} dump`,
          });
        }
        const said = about(theirDump, id).map(comparable).sort();
        expect(about(ourDump, id).map(comparable).sort()).toEqual(said);
        expect(said.length).toBeGreaterThanOrEqual(3);
      }
      for (const node of ["ts@fleet", "py@fleet"]) {
        const beat = (dump: Child): string =>
          dump.lines.find((line) => line.startsWith(`${node} `) && line.includes("heartbeat: active=")) ?? "";
        const [here, there] = await until(() => {
          const both = [beat(ourDump), beat(theirDump)];
          return both.every(Boolean) && both;
        });
        const fields = (line = ""): string[] => [...line.matchAll(/(\w+)=/g)].map(([, name]) => name as string);
        expect(fields(here)).toEqual(fields(there));
      }
    });

    test("they hear of each other's coming and going, and neither has anything to warn of", async () => {
      await ours.printed("py@fleet joined the party");
      await theirs.printed("ts@fleet joined the party");
      const second = startWorker({ env, args: ["-c", "1", "-P", "solo", "-n", "ts2@fleet", "-Q", "none"] });
      try {
        await second.ready();
        await ours.printed("ts2@fleet joined the party");
        await theirs.printed("ts2@fleet joined the party");
        await settleElection([ours, second]);
        await second.term();
        await ours.printed("ts2@fleet left");
        await theirs.printed("ts2@fleet left");
      } finally {
        await second[Symbol.asyncDispose]();
      }
      const worries = (worker: WorkerHandle): readonly string[] =>
        worker.lines.filter((line) => /(WARNING|ERROR|CRITICAL)\//.test(line) && !/superuser|root/i.test(line));
      expect({ ours: worries(ours), theirs: worries(theirs) }).toEqual({ ours: [], theirs: [] });
    });

    test("a neighbour that dies is missed", async ({ skip }) => {
      if (kind.name !== "Redis") skip("one broker shows it"); // it takes its time
      await theirs.kill9Group();
      await ours.printed("missed heartbeat from py@fleet", { timeout: 25 });
    });
  });
}
