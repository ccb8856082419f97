import { expect, test, vi } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { workInside } from "../helpers/inside.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

for (const kind of brokerKinds.slice(0, 2)) {
  describeWith(kind.needs, `tasks for later on ${kind.name}`, () => {
    test("wait in the broker, start in time, and a restart doubles none", { timeout: 120_000 }, async () => {
      await using broker = await kind.make();
      await using app = new Tq("app", {
        broker: broker.env.TQ_BROKER_URL,
        backend: "disabled://",
        taskDefaultQueue: broker.queue,
        taskIgnoreResult: true,
      });
      const ran: { readonly number: number; readonly late: number }[] = [];
      const due = Date.now() + 8_000;
      const note = app.task("app.note", (number: number) => void ran.push({ number, late: Date.now() - due }));
      const count = 2_000;
      const far = Array.from({ length: count }, (_, number) => note.applyAsync([-number - 1], { countdown: 3_600 }));
      const near = Array.from({ length: 300 }, (_, number) => note.applyAsync([number], { eta: new Date(due) }));
      await Promise.all([...far, ...near]);
      const own = await app.broker();
      {
        await using first = await workInside(app);
        // All have been taken, and none is held: they wait where a killed worker cannot lose them.
        await until(async () => (await own.size(broker.queue)) === 0, { timeout: 30 });
        await until(() => first.state.scheduled.size + first.state.reserved.size === 0, { timeout: 10 });
        expect(ran).toEqual([]);
      }
      await using _second = await workInside(app);
      await until(() => ran.length >= 300, { timeout: 60 });
      expect(ran.map(({ number }) => number).sort((a, b) => a - b)).toEqual(Array.from({ length: 300 }, (_, n) => n));
      const lateness = ran.map(({ late }) => late).sort((a, b) => a - b);
      expect(lateness[0]).toBeGreaterThanOrEqual(0);
      // A loaded machine is given ten times what an idle one needs.
      expect(lateness[Math.floor(lateness.length * 0.99)]).toBeLessThan(10_000);
    });

    test("wait in hand no more at once than workerEtaTaskLimit", { timeout: 60_000 }, async () => {
      await using broker = await kind.make();
      await using app = new Tq("app", {
        broker: broker.env.TQ_BROKER_URL,
        backend: "disabled://",
        taskDefaultQueue: broker.queue,
        taskIgnoreResult: true,
        workerPrefetchMultiplier: 0,
        workerEtaTaskLimit: 2,
      });
      const ran: number[] = [];
      const note = app.task("app.note", (number: number) => void ran.push(number));
      await using worker = await workInside(app);
      const { scheduled } = worker.state;
      const add = vi.spyOn(scheduled, "add");
      let most = 0;
      add.mockImplementation((request) => {
        const set = Set.prototype.add.call(scheduled, request) as typeof scheduled;
        most = Math.max(most, scheduled.size);
        return set;
      });
      let sent = 0;
      // What comes late on a loaded machine is due already and waits nowhere.
      for (let round = 0; round < 10 && most < 2; round += 1) {
        const eta = new Date(Date.now() + 900);
        await note.delayMany(
          Array.from({ length: 20 }, (_, n) => [sent + n]),
          { eta },
        );
        sent += 20;
        await until(() => ran.length >= sent, { timeout: 20 });
      }
      expect(most).toBe(2);
      expect(ran.sort((a, b) => a - b)).toEqual(Array.from({ length: sent }, (_, n) => n));
    });
  });
}
