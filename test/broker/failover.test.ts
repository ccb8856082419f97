import { randomUUID } from "node:crypto";
import { describe, expect, test } from "vitest";
import type { Broker } from "../../src/broker/broker.ts";
import { createBroker } from "../../src/broker/connect.ts";
import { createFailoverBroker } from "../../src/broker/failover.ts";
import { createMemoryBroker } from "../../src/broker/memory/broker.ts";
import { type BrokerLog, defaultBrokerOptions } from "../../src/broker/options.ts";
import { BrokerConnectionError } from "../../src/errors.ts";
import { brokerContract, messageOf, queueOf } from "../contract/broker.ts";

/** A memory broker that can be made unreachable, and counts the attempts. */
interface Switched {
  readonly broker: Broker;
  reachable: boolean;
  attempts: number;
}

function switched(name: string): Switched {
  const memory = createMemoryBroker(`memory://${name}-${randomUUID()}`, defaultBrokerOptions);
  const state: { reachable: boolean; attempts: number } = { reachable: true, attempts: 0 };
  const connect = async (): Promise<void> => {
    state.attempts += 1;
    if (!state.reachable) throw new BrokerConnectionError(`${name} does not answer`);
    await memory.connect();
  };
  const broker = new Proxy(memory, {
    get: (target, key) => {
      if (key === "connect") return connect;
      const value = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
  return Object.assign(state, { broker });
}

const namesIn = (url: string): string => url.replace(/^memory:\/\/(\w+)-.*$/, "$1");

brokerContract("failover", async () => {
  const urls = [`memory://${randomUUID()}`, `memory://${randomUUID()}`];
  return {
    prefix: "",
    capabilities: { outlivedByHeld: false },
    connect: async (overrides) => {
      const broker = await createBroker(urls, { ...defaultBrokerOptions, ...overrides });
      await broker.connect();
      return broker;
    },
    abandon: (broker) => broker.close(),
    dispose: async () => undefined,
  };
});

describe("a broker of several URLs", () => {
  test("is the first that answers, and does its work there", async () => {
    const [a, b] = [switched("a"), switched("b")];
    a.reachable = false;
    const broker = createFailoverBroker([a.broker, b.broker], {});
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("b");
    const queue = queueOf("q");
    await broker.declare(queue);
    await broker.publish(messageOf("x"), { exchange: "", routingKey: "q" });
    expect(await b.broker.size("q")).toBe(1);
    await broker.close();
  });

  test("stays where it is while that can be reached, and goes round when it cannot", async () => {
    const brokers = [switched("a"), switched("b"), switched("c")];
    const [a, b, c] = brokers as [Switched, Switched, Switched];
    const moves: object[] = [];
    const log = { warn: (fields: object) => moves.push(fields) } as unknown as BrokerLog;
    const broker = createFailoverBroker([a.broker, b.broker, c.broker], { logger: log });
    await broker.connect();
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("a");
    a.reachable = false;
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("b");
    a.reachable = true;
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("b");
    b.reachable = false;
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("c");
    c.reachable = false;
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("a");
    expect(moves).toHaveLength(3);
    await broker.close();
  });

  test("says why none of them can be reached", async () => {
    const [a, b] = [switched("a"), switched("b")];
    a.reachable = false;
    b.reachable = false;
    const broker = createFailoverBroker([a.broker, b.broker], {});
    await expect(broker.connect()).rejects.toThrow(/none of 2 brokers.*a does not answer; b does not answer/);
    await expect(broker.connect()).rejects.toBeInstanceOf(BrokerConnectionError);
    b.reachable = true;
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("b");
    await broker.close();
  });

  test("makes one attempt for all who ask at once", async () => {
    const [a, b] = [switched("a"), switched("b")];
    a.reachable = false;
    const broker = createFailoverBroker([a.broker, b.broker], {});
    await Promise.all([broker.connect(), broker.connect(), broker.connect()]);
    expect([a.attempts, b.attempts]).toEqual([1, 1]);
    await broker.close();
  });

  test("tries the others in random order when told to shuffle", async () => {
    const [a, b, c] = [switched("a"), switched("b"), switched("c")];
    a.reachable = false;
    const broker = createFailoverBroker([a.broker, b.broker, c.broker], { failoverStrategy: "shuffle" }, () => 0);
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("c");
    expect(b.attempts).toBe(0);
    await broker.close();
  });

  test("tries those a function gives, in its order, as often as it would go on giving them", async () => {
    const [a, b, c] = [switched("a"), switched("b"), switched("c")];
    a.reachable = false;
    const urls = ["a://", "b://", "c://"];
    const seen: (readonly string[])[] = [];
    function* failoverStrategy(given: readonly string[]) {
      seen.push(given);
      for (;;) yield* ["a://", "c://"];
    }
    const broker = createFailoverBroker([a.broker, b.broker, c.broker], { failoverStrategy, urls });
    await broker.connect();
    expect(namesIn(broker.displayUrl)).toBe("c");
    expect([b.attempts, seen]).toEqual([0, [urls]]);
    await broker.close();
    const wrong = createFailoverBroker([a.broker, b.broker], { failoverStrategy: () => ["redis://u:pw@x"], urls });
    await expect(wrong.connect()).rejects.toThrow(
      "brokerFailoverStrategy must give URLs out of those it gets, gave: redis://u:**@x",
    );
  });

  test("stops trying when told to", async () => {
    const [a, b] = [switched("a"), switched("b")];
    const broker = createFailoverBroker([a.broker, b.broker], {});
    const reason = new Error("enough");
    await expect(broker.connect(AbortSignal.abort(reason))).rejects.toBe(reason);
    expect([a.attempts, b.attempts]).toEqual([0, 0]);
    await broker.close();
  });
});

test("without any URL the error says what one looks like", async () => {
  await expect(createBroker([], defaultBrokerOptions)).rejects.toThrow(/give one, such as redis:/);
});

test("one text may hold several URLs", async () => {
  const broker = await createBroker(["memory://x;memory://y"], defaultBrokerOptions);
  await broker.connect();
  expect(broker.displayUrl).toBe("memory://x");
  await broker.close();
});
