import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test, vi } from "vitest";
import type { Broker, Delivery } from "../../src/broker/broker.ts";
import { defaultBrokerOptions } from "../../src/broker/options.ts";
import { createSqliteBroker, type SqliteBroker } from "../../src/broker/sqlite/broker.ts";
import { Queries } from "../../src/broker/sqlite/queries.ts";
import { openSqlite } from "../../src/system/sqlite.ts";
import { brokerContract, messageOf, queueOf, textOf } from "../contract/broker.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";

brokerContract("sqlite", async () => {
  const folder = await temporaryFolder();
  const url = `sqlite://${folder.file("tq.db")}`;
  return {
    prefix: "",
    connect: async (overrides) => {
      // Each broker is on a machine of its own, so that leases are what tells who lives.
      const transportOptions = { machine: randomUUID() };
      const broker = createSqliteBroker(url, { ...defaultBrokerOptions, transportOptions, ...overrides });
      await broker.connect();
      return broker;
    },
    abandon: (broker) => (broker as SqliteBroker).abandon(),
    dispose: () => folder[Symbol.asyncDispose](),
  };
});

/** A connected broker, closed at the end of its block. */
async function brokerOn(path: string, transportOptions = {}): Promise<Broker & AsyncDisposable> {
  const broker = createSqliteBroker(`sqlite://${path}`, { ...defaultBrokerOptions, transportOptions });
  await broker.connect();
  return Object.assign(broker, { [Symbol.asyncDispose]: () => broker.close() });
}

const work = queueOf("work");
const peerProgram = fileURLToPath(new URL("sqlite-peer.mjs", import.meta.url));

function startPeer(role: "produce" | "consume" | "hold", folder: TemporaryFolder, name: string): Child {
  return startChild(process.execPath, [peerProgram, role, folder.file("tq.db"), folder.file(`${role}.txt`), name]);
}

function notesOf(folder: TemporaryFolder, role: string): string[] {
  const file = folder.file(`${role}.txt`);
  return existsSync(file) ? readFileSync(file, "utf8").split("\n").filter(Boolean) : [];
}

describe("with several processes", () => {
  test("kill -9 of producers and consumers at any moment loses no confirmed message", {
    timeout: 120_000,
  }, async () => {
    await using folder = await temporaryFolder();
    const start = (round: number): Child[] => [
      startPeer("produce", folder, `p${round}`),
      startPeer("consume", folder, `c${round}`),
    ];
    for (let round = 0; round < 6; round += 1) {
      const before = notesOf(folder, "consume").length;
      const peers = start(round);
      await until(() => notesOf(folder, "consume").length > before + 50, { timeout: 20, interval: 0.003 });
      // A moment at random: in the middle of whatever they do.
      const moment = performance.now() + Math.random() * 40;
      await until(() => performance.now() > moment, { interval: 0.001 });
      await Promise.all(peers.map((peer) => peer.kill()));
    }
    const confirmed = notesOf(folder, "produce");
    expect(confirmed.length).toBeGreaterThan(300);

    await using broker = await brokerOn(folder.file("tq.db"));
    const seen = new Set(notesOf(folder, "consume"));
    const subscription = await broker.subscribe({
      node: "last",
      prefetch: 0,
      onLost: () => undefined,
      onDelivery: (delivery) => {
        seen.add(textOf(delivery.message).trim());
        void delivery.ack();
      },
    });
    await subscription.consume(work);
    const lost = (): string[] => confirmed.filter((id) => !seen.has(id));
    await until(() => lost().length === 0, { timeout: 15, message: "every confirmed message" }).catch(() => undefined);
    expect(lost()).toEqual([]);

    const db = await openSqlite(folder.file("tq.db"));
    const countOf = (table: string): Promise<unknown> =>
      db.read(() => db.sql(`SELECT count(*) AS count FROM ${table}`).get()?.count);
    await until(async () => (await countOf("message")) === 0, { message: "the last acks" });
    expect(await countOf("large_body")).toBe(0);
    expect(await db.read(() => db.sql("PRAGMA integrity_check").get())).toEqual({ integrity_check: "ok" });
    await db.close();
  });

  test("what a killed process held comes back within seconds, in order and in front", async () => {
    await using folder = await temporaryFolder();
    await using broker = await brokerOn(folder.file("tq.db"));
    await broker.declare(work);
    for (const body of ["a", "b", "c"]) await broker.publish(messageOf(body), { exchange: "", routingKey: "work" });
    const holder = startPeer("hold", folder, "w1");
    await until(() => notesOf(folder, "hold").length === 3);
    await broker.publish(messageOf("d"), { exchange: "", routingKey: "work" });
    await until(() => notesOf(folder, "hold").length === 4);

    const taken: Delivery[] = [];
    const subscription = await broker.subscribe({
      node: "w2",
      prefetch: 0,
      onLost: () => undefined,
      onDelivery: (delivery) => void taken.push(delivery),
    });
    await subscription.consume(work);
    await holder.kill();
    const killed = performance.now();
    await until(() => taken.length === 4, { timeout: 10 });
    expect(performance.now() - killed).toBeLessThan(5_000);
    expect(taken.map(({ message }) => textOf(message))).toEqual(["a", "b", "c", "d"]);
    expect(taken.every(({ redelivered }) => redelivered)).toBe(true);
  });

  test("a process that is stopped for longer than its lease keeps what it holds", async () => {
    await using folder = await temporaryFolder();
    await using broker = await brokerOn(folder.file("tq.db"), { lease: 1 });
    await broker.declare(work);
    await broker.publish(messageOf("a"), { exchange: "", routingKey: "work" });
    const holder = startPeer("hold", folder, "w1");
    await until(() => notesOf(folder, "hold").length === 1);
    holder.signal("SIGSTOP");
    const taken: Delivery[] = [];
    const subscription = await broker.subscribe({
      node: "w2",
      prefetch: 0,
      onLost: () => undefined,
      onDelivery: (delivery) => void taken.push(delivery),
    });
    await subscription.consume(work);
    const patience = performance.now() + 3_000;
    await until(() => performance.now() > patience);
    expect(taken).toEqual([]);
    holder.signal("SIGCONT");
    await holder.kill();
    await until(() => taken.length === 1, { timeout: 10 });
  });
});

describe("the file", () => {
  test("is for its owner only, and so is a folder made for it", async () => {
    await using folder = await temporaryFolder();
    const path = folder.file("fresh", "tq.db");
    await using broker = await brokerOn(path);
    await broker.declare(work);
    await broker.publish(messageOf("a"), { exchange: "", routingKey: "work" });
    const modeOf = (name: string): string => (statSync(name).mode & 0o777).toString(8);
    expect(modeOf(folder.file("fresh"))).toBe("700");
    expect([modeOf(path), modeOf(`${path}-wal`), modeOf(`${path}-messages.bell`)]).toEqual(["600", "600", "600"]);
  });

  test("is never opened through a symbolic link", async () => {
    await using folder = await temporaryFolder();
    writeFileSync(folder.file("precious"), "");
    symlinkSync(folder.file("precious"), folder.file("tq.db"));
    const broker = createSqliteBroker(`sqlite://${folder.file("tq.db")}`, defaultBrokerOptions);
    await expect(broker.connect()).rejects.toMatchObject({
      name: "BrokerConnectionError",
      message: expect.stringContaining("symbolic link"),
    });
    expect(readFileSync(folder.file("precious"), "utf8")).toBe("");
  });

  test("that is no database is refused with its name, and left as it is", async () => {
    await using folder = await temporaryFolder();
    writeFileSync(folder.file("tq.db"), "these are my notes, not a database".repeat(100));
    const broker = createSqliteBroker(`sqlite://${folder.file("tq.db")}`, defaultBrokerOptions);
    await expect(broker.connect()).rejects.toThrow(/tq\.db.*not a database/);
    expect(readFileSync(folder.file("tq.db"), "utf8")).toMatch(/^these are my notes/);
    await broker.close();
  });

  test("of a newer version is refused with what to do", async () => {
    await using folder = await temporaryFolder();
    await (await brokerOn(folder.file("tq.db"))).close();
    const db = await openSqlite(folder.file("tq.db"));
    await db.write(() => db.sql("UPDATE schema_part SET version = 99 WHERE part = 'broker'").run());
    await db.close();
    const broker = createSqliteBroker(`sqlite://${folder.file("tq.db")}`, defaultBrokerOptions);
    await expect(broker.connect()).rejects.toThrow(/newer version of tq.*upgrade/);
  });

  test("wakes a waiting consumer by its own counter where the bell cannot be heard", async () => {
    await using folder = await temporaryFolder();
    await using broker = await brokerOn(folder.file("tq.db"), { safety_poll: 0.1 });
    await broker.declare(work);
    // Nobody can write to or watch a bell that is a dangling link.
    const deaf = folder.file("deaf.db");
    symlinkSync(folder.file("nowhere"), `${deaf}-messages.bell`);
    await using reader = await brokerOn(deaf, { safety_poll: 0.1 });
    const taken: string[] = [];
    const subscription = await reader.subscribe({
      node: "w1",
      prefetch: 0,
      onLost: () => undefined,
      onDelivery: (delivery) => void taken.push(textOf(delivery.message)),
    });
    await subscription.consume(work);
    const producer = startChild(process.execPath, [peerProgram, "produce", deaf, folder.file("produce.txt"), "p"]);
    await until(() => taken.length > 0, { timeout: 10 });
    await producer.kill();
    await subscription.close();
  });
});

test("a message for an exchange nobody declared is refused, not dropped", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"));
  await expect(broker.publish(messageOf("x"), { exchange: "nowhere", routingKey: "k" })).rejects.toThrow(
    /no exchange "nowhere"/,
  );
  // A broadcast without listeners is no mistake.
  await broker.publish(messageOf("x"), { exchange: "nowhere", routingKey: "", type: "fanout" });
});

test("a queue deleted by another process is made again for the next message of whoever declared it", async () => {
  await using folder = await temporaryFolder();
  await using one = await brokerOn(folder.file("tq.db"));
  await using two = await brokerOn(folder.file("tq.db"));
  await one.declare(work);
  await two.delete(work);
  await one.declare(work);
  await one.publish(messageOf("x"), { exchange: "work", routingKey: "work" });
  expect(await two.size("work")).toBe(1);
});

test("each queue more is looked at by itself, and what waits in it comes", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"));
  const looks = vi.spyOn(Queries.prototype, "hasWaiting");
  const deliveries: Delivery[] = [];
  const subscription = await broker.subscribe({
    node: "n@h",
    prefetch: 10,
    onDelivery: (delivery) => deliveries.push(delivery),
    onLost: () => undefined,
  });
  const names = Array.from({ length: 200 }, (_, n) => `many-${n}`);
  await broker.declare(queueOf("many-150"));
  await broker.publish(messageOf("x"), { exchange: "", routingKey: "many-150" });
  for (const name of names) await subscription.consume(queueOf(name));
  await until(() => deliveries.length === 1);
  // Beside the upkeep of a second or two, which looks at all of them.
  expect(looks.mock.calls.length).toBeLessThan(200 * 20);
  looks.mockRestore();
  await subscription.close();
});

test("an auto-delete queue goes with its last consumer", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"));
  const queue = queueOf("reply", { autoDelete: true, durable: false });
  const options = { node: "n", prefetch: 0, onDelivery: () => undefined, onLost: () => undefined };
  const [first, second] = [await broker.subscribe(options), await broker.subscribe(options)];
  await first.consume(queue);
  await second.consume(queue);
  await first.close();
  await broker.publish(messageOf("x"), { exchange: "reply", routingKey: "reply" });
  await second.close();
  await broker.publish(messageOf("y"), { exchange: "reply", routingKey: "reply" });
  expect(await broker.size("reply")).toBe(0);
});

test("the ack of a consumer that was taken for dead still counts, and it goes on", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"), { lease: 0.3, machine: "elsewhere" });
  const taken: Delivery[] = [];
  const subscription = await broker.subscribe({
    node: "w1",
    prefetch: 1,
    onLost: () => undefined,
    onDelivery: (delivery) => void taken.push(delivery),
  });
  await subscription.consume(work);
  await broker.publish(messageOf("a"), { exchange: "", routingKey: "work" });
  await until(() => taken.length === 1);
  const db = await openSqlite(folder.file("tq.db"));
  await db.write(() => {
    db.sql("DELETE FROM consumer").run();
    db.sql("UPDATE message SET state = 0, redelivered = 1").run();
  });
  await until(() => db.read(() => db.sql("SELECT 1 FROM consumer").get()), {
    message: "the consumer to register again",
  });
  expect(await broker.size("work")).toBe(1);
  await taken[0]?.ack();
  expect(await broker.size("work")).toBe(0);
  await broker.publish(messageOf("b"), { exchange: "", routingKey: "work" });
  await until(() => taken.length === 2);
  await db.close();
});

test("parking until a date that is none brings the message back at once, not never", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"));
  const taken: Delivery[] = [];
  const subscription = await broker.subscribe({
    node: "w1",
    prefetch: 1,
    onLost: () => undefined,
    onDelivery: (delivery) => void taken.push(delivery),
  });
  await subscription.consume(work);
  await broker.publish(messageOf("a"), { exchange: "", routingKey: "work" });
  await until(() => taken.length === 1);
  await taken[0]?.park(new Date(Number.NaN));
  await until(() => taken.length === 2, { timeout: 2 });
});

test("a subscription closed in the middle of its upkeep leaves no timer running", async () => {
  await using folder = await temporaryFolder();
  await using broker = await brokerOn(folder.file("tq.db"), { lease: 0.003, safety_poll: 0.001 });
  const timers = (): number => process.getActiveResourcesInfo().filter((name) => name === "Timeout").length;
  const before = timers();
  for (let round = 0; round < 150; round += 1) {
    const subscription = await broker.subscribe({
      node: "n",
      prefetch: 1,
      onDelivery: () => undefined,
      onLost: () => undefined,
    });
    await subscription.consume(work);
    const begun = performance.now();
    while (performance.now() - begun < (round % 5) / 2) await new Promise((resolve) => setImmediate(resolve));
    await subscription.close();
  }
  await until(() => timers() <= before, { timeout: 3, message: "the timers of closed subscriptions have ended" });
});
