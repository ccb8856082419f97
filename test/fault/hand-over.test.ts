import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import type { Delivery } from "../../src/broker/broker.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { planSignature } from "../../src/canvas/plan.ts";
import { Tq } from "../../src/index.ts";
import { brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const count = 100;
const chords = 8;
const strikes = 4;

/**
 * Where messages and results are in one store, a task's result, what follows it and its
 * acknowledgement are one step: however often its worker dies, each follower leaves exactly once.
 * Where they are apart (RabbitMQ, with results in Redis), followers leave before the task is
 * acknowledged: one may leave twice, with the id it had the first time, and none is lost.
 */
for (const kind of brokerKinds) {
  const isOneStep = kind.name !== "RabbitMQ";
  const promise = isOneStep ? "once: none is lost, none is doubled" : "at least once: none is lost";
  describeWith(kind.needs, `A worker that is killed again and again on ${kind.name}`, () => {
    test(`hands over each callback, next step of a chain, retry, errback and chord body ${promise}`, {
      timeout: 120_000,
    }, async () => {
      await using store = await kind.make();
      const app = new Tq("handing", { broker: store.env.TQ_BROKER_URL, backend: store.env.TQ_RESULT_BACKEND });
      const signature = (task: string, args: unknown[], options: Record<string, unknown>) => ({
        task,
        args,
        kwargs: {},
        options,
        subtask_type: null,
        immutable: false,
      });
      const next = (id: string) => signature("handing.next", [], { queue: "next", task_id: id });
      const expected: string[] = [];
      const expect1 = (id: string): string => {
        expected.push(id);
        return id;
      };
      const watched: string[] = [];
      for (let n = 0; n < count; n += 1) {
        const follower = next(expect1(`after-${n}`));
        const [task, options] = [
          ["handing.step", { link: follower }],
          ["handing.step", { chain: [follower] }],
          ["handing.again", { link: follower }],
          ["handing.fails", { linkError: follower }],
        ][n % 4] as [string, object];
        watched.push((await app.sendTask(task, [n], options)).id);
      }
      for (let n = 0; n < chords; n += 1) {
        const header = createGroup([1, 2, 3].map((m) => signature("handing.step", [m], {})));
        const plan = planSignature(createChord(header, next(expect1(`body-${n}`))), {
          newId: () => crypto.randomUUID(),
        });
        await app.sender.sendPlan(plan);
        watched.push(...plan.calls.map(({ options }) => String(options.task_id)));
      }

      const start = async (): Promise<WorkerHandle> => {
        const worker = startWorker({ app: `${root}/test/apps/handing.ts`, env: store.env, args: ["-c", "2"] });
        await worker.ready();
        return worker;
      };
      let worker = await start();
      try {
        for (let strike = 0; strike < strikes; strike += 1) {
          await delay(60 + Math.random() * 250);
          await worker.kill9Group();
          worker = await start();
        }
        const backend = await app.backend();
        const seen = new Set<string>();
        for await (const meta of backend.watch(watched, { signal: AbortSignal.timeout(60_000) }))
          seen.add(meta.task_id);
        expect(seen.size).toBe(watched.length);
        const broker = await app.createBroker("read");
        await broker.connect();
        const taken: Delivery[] = [];
        const flow = await broker.subscribe({
          node: "counter@test",
          prefetch: 0,
          onDelivery: (delivery) => void taken.push(delivery),
          onLost: () => undefined,
        });
        await flow.consume(app.topology.queueNamed("next"));
        const ids = (): string[] => taken.map(({ message }) => String(message.headers.id));
        await until(() => new Set(ids()).size >= expected.length, {
          timeout: 30,
          message: `${expected.length} followers`,
        });
        await worker.term();
        // What is doubled arrives with the others; a moment for it, once all is quiet.
        await until(async () => (await broker.size("celery")) === 0 && (await broker.size("next")) === 0);
        const left = isOneStep ? ids() : [...new Set(ids())];
        expect(left.sort()).toEqual([...expected].sort());
        await broker.close();
      } finally {
        await worker.kill9Group();
        await app.close();
      }
    });
  });
}
