import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import type { Receiver } from "../../src/events/receiver.ts";
import type { Event, ReceivedEvent } from "../../src/protocol/event.ts";
import { type BrokerKind, type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

interface Captured {
  readonly body: Event | readonly Event[];
}

/** The events real Celery sent, by type: what ours must look like. */
const golden = new Map<string, Event>();
for (const name of ["event_task_pool_solo", "event_worker_online_heartbeat", "event_worker_offline"]) learn(name);
for (const name of ["event_task_sent"]) learn(name);
const custom = JSON.parse(readFileSync(new URL("../fixtures/event_custom.json", import.meta.url), "utf8"));
for (const { body } of custom.decoded.events as Captured[]) for (const one of [body].flat()) golden.set(one.type, one);

function learn(name: string): void {
  const { decoded } = JSON.parse(readFileSync(new URL(`../fixtures/${name}.json`, import.meta.url), "utf8"));
  for (const { body } of decoded as Captured[]) for (const one of [body].flat()) golden.set(one.type, one);
}

const kindOf = (value: unknown): string => (value === null ? "null" : Array.isArray(value) ? "array" : typeof value);

/** Fields and the kinds of their values, in the order of the wire; what the receiver adds left out. */
function shape({ local_received: _, ...event }: Event): readonly (readonly [string, string])[] {
  return Object.entries(event).map(([key, value]) => [key, kindOf(value)] as const);
}

for (const kind of brokerKinds as readonly BrokerKind[]) {
  describeWith(kind.needs, `events on ${kind.name}`, () => {
    let broker: BrokerUnderTest;
    let app: Tq;
    let receiver: Receiver;
    let worker: WorkerHandle;
    const events: ReceivedEvent[] = [];
    const stopping = new AbortController();
    let watching: Promise<void>;
    const of = (uuid: string): ReceivedEvent[] => events.filter((event) => event.uuid === uuid);
    const typesOf = (uuid: string): string[] => of(uuid).map(({ type }) => type);
    const told = (uuid: string, type: string): Promise<ReceivedEvent> =>
      until(() => of(uuid).find((event) => event.type === type), { message: `${type}, after ${typesOf(uuid)}` });

    beforeAll(async () => {
      broker = await kind.make();
      app = new Tq("client", {
        broker: broker.env.TQ_BROKER_URL,
        backend: broker.env.TQ_RESULT_BACKEND,
        taskDefaultQueue: broker.queue,
        taskSendSentEvent: true,
      });
      receiver = await app.events.receiver();
      watching = (async () => {
        for await (const event of receiver.events({ signal: stopping.signal })) events.push(event);
      })();
      const settings = JSON.stringify({ taskDefaultQueue: broker.queue, taskSendSentEvent: true });
      const args = ["-c", "1", "-E", "-n", "w1@events", "--heartbeat-interval", "1"];
      worker = startWorker({ env: { ...broker.env, TQ_SETTINGS: settings }, args });
      await worker.ready();
    });
    afterAll(async () => {
      await worker?.[Symbol.asyncDispose]();
      stopping.abort();
      await watching;
      await receiver?.close();
      await app?.close();
      await broker?.[Symbol.asyncDispose]();
    });

    test("a task's life is told step by step, with Celery's fields in Celery's order", async () => {
      const { id } = await app.sendTask("wire.add", [1, 1]);
      const succeeded = await told(id, "task-succeeded");
      expect(typesOf(id).sort()).toEqual(["task-received", "task-sent", "task-started", "task-succeeded"]);
      for (const event of of(id)) expect(shape(event)).toEqual(shape(golden.get(event.type) as Event));
      const received = await told(id, "task-received");
      expect(received).toMatchObject({ hostname: "w1@events", args: "(1, 1)", kwargs: "{}", root_id: id, retries: 0 });
      expect(succeeded).toMatchObject({ result: "2", pid: received.pid });
      expect(Math.abs(succeeded.timestamp - Date.now() / 1000)).toBeLessThan(60);
      const clocks = ["task-received", "task-started", "task-succeeded"].map(
        (type) => of(id).find((event) => event.type === type)?.clock ?? 0,
      );
      expect(clocks).toEqual([...clocks].sort((a, b) => a - b));
      expect(await told(id, "task-sent")).toMatchObject({
        queue: broker.queue,
        exchange: "",
        routing_key: broker.queue,
      });
    });

    test("failures, retries, rejections, expiries and events of one's own are told too", async () => {
      const send = async (name: string, args: readonly unknown[] = [], options = {}): Promise<string> =>
        (await app.sendTask(name, args, options)).id;
      const failed = await send("wire.fail", ["broken"]);
      expect(await told(failed, "task-failed")).toMatchObject({
        exception: "ValueError('broken')",
        traceback: expect.stringContaining("ValueError: broken"),
      });
      const flaky = await send("wire.flaky", [1]);
      expect(await told(flaky, "task-retried")).toMatchObject({
        exception: "RuntimeError('try 0')",
        traceback: expect.any(String),
      });
      await told(flaky, "task-succeeded");
      const rejected = await send("wire.reject");
      expect(await told(rejected, "task-rejected")).toMatchObject({ requeue: false });
      const expired = await send("wire.add", [1, 1], { expires: new Date(Date.now() - 60_000) });
      if (kind.name !== "RabbitMQ") {
        // RabbitMQ drops it itself.
        expect(await told(expired, "task-revoked")).toMatchObject({ terminated: false, signum: null, expired: true });
        expect(typesOf(expired)).not.toContain("task-received");
      }
      const unknown = await send("wire.no_such_task");
      expect(await told(unknown, "task-failed")).toMatchObject({ exception: "NotRegistered('wire.no_such_task')" });
      const own = await send("wire.event");
      const event = await told(own, "task-custom");
      expect(shape(event)).toEqual(shape(golden.get("task-custom") as Event));
      expect(event).toMatchObject({ hostname: "w1@events", foo: "bar" });
      const lost = await send("wire.kill_child");
      expect(await told(lost, "task-failed")).toMatchObject({ exception: expect.stringContaining("WorkerLostError") });
    });

    test("the worker tells that it is there, alive, and gone", async () => {
      const ofType = (type: string): ReceivedEvent | undefined => events.find((event) => event.type === type);
      await until(() => ofType("worker-heartbeat"));
      await worker.term();
      await until(() => ofType("worker-offline"));
      for (const type of ["worker-online", "worker-heartbeat", "worker-offline"]) {
        const event = ofType(type) as ReceivedEvent;
        expect(shape(event)).toEqual(shape(golden.get(type) as Event));
        expect(event).toMatchObject({ hostname: "w1@events", freq: 1, sw_ident: "tq", sw_sys: "Linux" });
      }
      expect(ofType("worker-offline")).toMatchObject({ active: 0, processed: expect.any(Number) });
    });
  });
}
