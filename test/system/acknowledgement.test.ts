import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

/** Each end once, and the lines its runs leave. Whatever is not said to run again is acknowledged or dead. */
const ends: Readonly<Record<string, readonly string[]>> = {
  success: ["success"],
  failure: ["failure"],
  deadFailure: ["deadFailure"],
  retry: ["retry 0", "retry 1"],
  ignore: ["ignore"],
  requeued: ["requeued", "requeued again"],
  rejected: ["rejected"],
  tooLong: ["tooLong"],
  tooLongOnce: ["tooLongOnce", "tooLongOnce again"],
  lost: ["lost"],
  lostOnce: ["lostOnce", "lostOnce again"],
};

for (const kind of brokerKinds) {
  describeWith(kind.needs, `acknowledging on ${kind.name}`, () => {
    test("each end leaves of its message what it should, and a worker killed afterwards brings back no other", {
      timeout: 240_000,
    }, async () => {
      await using broker = await kind.make();
      await using folder = await temporaryFolder();
      const file = folder.file("lines");
      const env = { ...broker.env, ACKS_QUEUE: broker.queue, ACKS_FILE: file };
      const lines = (): string[] => {
        try {
          return readFileSync(file, "utf8").split("\n").filter(Boolean);
        } catch {
          return [];
        }
      };
      await using app = new Tq("client", {
        broker: broker.env.TQ_BROKER_URL,
        backend: broker.env.TQ_RESULT_BACKEND,
        taskDefaultQueue: broker.queue,
      });
      const start = () => startWorker({ app: join(root, "test", "apps", "acks.ts"), args: ["-c", "4"], env });
      const expired = await app.sendTask("acks.never", [], { expires: new Date(Date.now() - 1_000) });
      await using first = start();
      await first.ready({ timeout: 60 });
      const revoked = await app.sendTask("acks.never", [], { countdown: 3 });
      await revoked.revoke();
      const results = [];
      for (const name of Object.keys(ends)) results.push({ name, result: await app.sendTask(`acks.${name}`) });
      const expected = Object.values(ends).flat().sort();
      await until(() => lines().length >= expected.length, { timeout: 60, message: `all ends\n${first.output}` });
      // A message is settled right after its result is stored; those two leave none.
      for (const { name, result } of results)
        if (name !== "ignore" && name !== "rejected") await result.get({ timeout: 60, propagate: false });
      // What expires in a queue RabbitMQ drops itself, as for Celery.
      for (const result of kind.name === "RabbitMQ" ? [revoked] : [expired, revoked])
        await until(async () => (await result.state()) === "REVOKED", {
          timeout: 60,
          message: `REVOKED\n${first.output}`,
        });
      for (const name of ["heldLate", "heldEarly"]) await app.sendTask(`acks.${name}`);
      await until(() => lines().length >= expected.length + 2, { timeout: 60, message: "both to be held" });
      // A task takes its turn behind them: what was acknowledged before has been told the broker once its result is there.
      await (await app.sendTask("acks.success")).get({ timeout: 60 });
      const own = await app.broker();
      const dead = async (): Promise<unknown[]> =>
        (await own.deadLetters.list()).map(({ message }) => message?.headers.task).sort();
      await until(async () => (await dead()).length >= 2, { timeout: 30, message: "two dead letters" });
      await first.kill9Group();

      await using next = start();
      await next.ready({ timeout: 60 });
      await until(() => lines().includes("heldLate again"), { timeout: 60, message: next.output });
      await (await app.sendTask("acks.success")).get({ timeout: 60 });
      expect(await next.term({ timeout: 30 })).toEqual({ code: 0, signal: null });
      expect(lines().sort()).toEqual(
        [...expected, "heldEarly", "heldLate", "heldLate again", "success", "success"].sort(),
      );
      expect(await dead()).toEqual(["acks.deadFailure", "acks.rejected"]);
      expect(await own.size(broker.queue)).toBe(0);
    });
  });
}
