import { expect, test } from "vitest";
import type { Broker } from "../../src/broker/broker.ts";
import { createMemoryBroker } from "../../src/broker/memory/broker.ts";
import { BrokerConnectionError } from "../../src/errors.ts";
import { Dispatcher } from "../../src/events/dispatcher.ts";
import { Receiver } from "../../src/events/receiver.ts";
import { LamportClock } from "../../src/protocol/clock.ts";
import type { ReceivedEvent } from "../../src/protocol/event.ts";
import { until } from "../helpers/until.ts";

const settings = {
  eventExchange: "celeryev",
  eventQueuePrefix: "celeryev",
  eventQueueTtl: 5,
  eventQueueExpires: 60,
  eventQueueExclusive: true,
  eventQueueDurable: false,
  eventSerializer: "json",
};

/** A dispatcher on a memory broker that can be taken away, and all it has said. */
async function stage(groups: "all" | readonly string[]) {
  const open = async (): Promise<Broker> => {
    const broker = createMemoryBroker(`memory://events-${stages}`, { transportOptions: {}, maxBodySize: 1e6 } as never);
    await broker.connect();
    return broker;
  };
  stages += 1;
  const broker = await open();
  const messages: { readonly routingKey: string; readonly count: number }[] = [];
  let away = false;
  const watched: Broker = Object.create(broker, {
    publish: {
      value: async (message: never, address: { readonly routingKey: string }) => {
        if (away) throw new BrokerConnectionError("away");
        const body = JSON.parse(Buffer.from((message as { body: string }).body, "base64").toString());
        messages.push({ routingKey: address.routingKey, count: Array.isArray(body) ? body.length : 1 });
        await broker.publish(message, address as never);
      },
    },
    publishMany: {
      value: async (all: readonly { readonly message: never; readonly address: never }[]) => {
        for (const { message, address } of all) await watched.publish(message, address);
      },
    },
    transport: { value: "memory" },
  });
  const clock = new LamportClock();
  const receiver = new Receiver({ settings, clock: new LamportClock(), broker, node: "reader", ownsBroker: true });
  const events: ReceivedEvent[] = [];
  const subscription = await receiver.listen(
    (event) => events.push(event),
    () => undefined,
  );
  const dispatcher = new Dispatcher({ broker: () => watched, clock, hostname: "w@h", groups });
  return {
    dispatcher,
    events,
    messages,
    clock,
    types: () => events.map(({ type }) => type),
    setAway: (value: boolean) => {
      away = value;
    },
    async [Symbol.asyncDispose]() {
      await subscription.close();
      await receiver.close();
    },
  };
}
let stages = 0;

test("task events of one tick travel as a list, worker events by themselves, in order of their clocks", async () => {
  await using scene = await stage("all");
  for (const uuid of ["a", "b", "c"]) scene.dispatcher.send("task-started", { uuid });
  scene.dispatcher.send("worker-heartbeat", { freq: 2 });
  await scene.dispatcher.flush();
  await until(() => scene.events.length === 4);
  expect([...scene.messages].sort((a, b) => b.count - a.count)).toEqual([
    { routingKey: "task.multi", count: 3 },
    { routingKey: "worker.heartbeat", count: 1 },
  ]);
  const tasks = scene.events.filter(({ uuid }) => uuid !== undefined);
  expect(tasks.map(({ uuid, clock }) => [uuid, clock])).toEqual([
    ["a", 1],
    ["b", 2],
    ["c", 3],
  ]);
});

test("many task events are split into messages a reader can take", async () => {
  await using scene = await stage("all");
  for (let index = 0; index < 250; index += 1) scene.dispatcher.send("task-started", { uuid: `${index}` });
  await scene.dispatcher.flush();
  expect(scene.messages.map(({ count }) => count)).toEqual([100, 100, 50]);
});

test("a group that is off costs no message and no tick of the clock; it is switched at run time", async () => {
  await using scene = await stage(["worker"]);
  const { dispatcher, clock } = scene;
  dispatcher.send("task-started", { uuid: "a" });
  expect([clock.value, dispatcher.sends("task"), dispatcher.disable("task")]).toEqual([0, false, false]);
  expect([dispatcher.enable("task"), dispatcher.enable("task"), dispatcher.sends("task")]).toEqual([true, false, true]);
  dispatcher.send("task-started", { uuid: "b" });
  expect(dispatcher.disable("task")).toBe(true);
  dispatcher.send("task-started", { uuid: "c" });
  await dispatcher.flush();
  await until(() => scene.events.length === 1);
  expect(scene.events[0]).toMatchObject({ uuid: "b", hostname: "w@h" });
});

test("with -E nothing can be switched, as in Celery: it is on and stays on", async () => {
  await using scene = await stage("all");
  expect([scene.dispatcher.enable("task"), scene.dispatcher.disable("task"), scene.dispatcher.sends("task")]).toEqual([
    false,
    false,
    true,
  ]);
});

test("task events wait for the connection, in bounds; heartbeats of the past are dropped", async () => {
  await using scene = await stage("all");
  const { dispatcher } = scene;
  scene.setAway(true);
  for (let index = 0; index < 10_250; index += 1) dispatcher.send("task-started", { uuid: `${index}` });
  dispatcher.send("worker-heartbeat", { freq: 2 });
  await dispatcher.flush();
  expect(scene.events).toEqual([]);
  await expect(dispatcher.publish("task-custom", { uuid: "x" })).rejects.toThrow(BrokerConnectionError);
  scene.setAway(false);
  dispatcher.resume();
  await dispatcher.flush();
  await until(() => scene.events.length >= 10_250 - dispatcher.dropped);
  expect(dispatcher.dropped).toBeGreaterThanOrEqual(250);
  expect(scene.events.at(-1)?.uuid).toBe("10249");
  expect(scene.types()).not.toContain("worker-heartbeat");
});

test("what is no event is told and passed over", async () => {
  const damage: string[] = [];
  const broker = createMemoryBroker("memory://damage", { transportOptions: {}, maxBodySize: 1e6 } as never);
  const parts = { settings, clock: new LamportClock(), broker, node: "reader", ownsBroker: true };
  await using receiver = new Receiver({ ...parts, onDamage: (reason) => damage.push(reason) });
  const events: ReceivedEvent[] = [];
  const subscription = await receiver.listen(
    (event) => events.push(event),
    () => undefined,
  );
  const good = { hostname: "h", timestamp: 1, type: "task-x", uuid: "u", clock: 5 };
  const { uuid: _, ...nameless } = good;
  const bodies = [JSON.stringify([1, null, { type: "x" }, nameless, good]), "no json"];
  for (const body of bodies) {
    await broker.publish(
      {
        headers: {},
        properties: {},
        contentType: "application/json",
        contentEncoding: "utf-8",
        body: Buffer.from(body).toString("base64"),
      },
      { exchange: "celeryev", routingKey: "task.multi", type: "topic" },
    );
  }
  await until(() => events.length === 1 && damage.length === 5);
  expect(events[0]).toMatchObject({ ...good, local_received: expect.any(Number) });
  await subscription.close();
});
