import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { Redis } from "ioredis";
import { afterEach, describe, expect, test, vi } from "vitest";
import { chain, group, Tq } from "../../src/index.ts";
import { Transactions } from "../../src/system/sqlite-transactions.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";

/** That many calls run, and how fast, is in `live.test.ts`; here it is what publishing them asks of a broker. */
afterEach(() => void vi.restoreAllMocks());

function workflows(app: Tq) {
  const add = app.task("bulk.add", (x: number, y: number) => x + y);
  return {
    wide: group(Array.from({ length: 10_000 }, (_, n) => add.s(n, n))),
    long: chain(Array.from({ length: 1000 }, () => add.s(1))),
    one: add.s(1, 1),
  };
}

describeWith("redis-server", "publishing on Redis", () => {
  test("a group of 10,000 takes few commands, a chain of 1,000 a handful", async () => {
    await using server = await freshRedis();
    await using app = new Tq("bulk", { broker: `${server.url}/0`, backend: `${server.url}/1` });
    const eye = new Redis(server.url);
    try {
      const asked = async (work: () => Promise<unknown>): Promise<number> => {
        await eye.config("RESETSTAT");
        await work();
        const lines = (await eye.info("commandstats")).matchAll(/cmdstat_([^:]+):calls=(\d+)/g);
        return [...lines]
          .filter(([, name]) => !/^(config|info|ping)/.test(String(name)))
          .reduce((sum, [, , calls]) => sum + Number(calls), 0);
      };
      const { wide, long, one } = workflows(app);
      await one.delay();
      expect(await asked(() => wide.delay())).toBeLessThan(200);
      expect(await eye.llen("celery")).toBe(10_001);
      expect(await asked(() => long.delay(0))).toBeLessThan(10);
      expect(await eye.llen("celery")).toBe(10_002);
    } finally {
      eye.disconnect();
    }
  });
});

describe("publishing in the embedded store", () => {
  test("a group of 10,000 takes few transactions, a chain of 1,000 one or two", async () => {
    // Those of one tick share a transaction: there are no more of them than this.
    const writes = vi.spyOn(Transactions.prototype, "write");
    await using folder = await temporaryFolder();
    const url = `sqlite://${folder.file("tq.db")}`;
    await using app = new Tq("bulk", { broker: url, backend: url });
    const { wide, long, one } = workflows(app);
    await one.delay();
    expect(writes.mock.calls.length).toBeGreaterThan(0);
    writes.mockClear();
    await wide.delay();
    expect(writes.mock.calls.length).toBeLessThan(100);
    writes.mockClear();
    await long.delay(0);
    expect(writes.mock.calls.length).toBeLessThan(8);
    expect(await (await app.broker()).size("celery")).toBe(10_002);
  });
});

/** A way to a server on which everything is late by so many milliseconds, in each direction; none at first. */
async function distant(url: string): Promise<AsyncDisposable & { readonly url: string; lateMs: number }> {
  const target = new URL(url);
  const there = { port: Number(target.port || 5672), host: target.hostname, noDelay: true };
  const timers = new Set<NodeJS.Timeout>();
  const ends = new Set<{ destroy(): void }>();
  const server = createServer({ noDelay: true }, (client) => {
    const upstream = connect(there);
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      ends.add(from);
      const later = (work: () => void): void => {
        const timer = setTimeout(() => {
          timers.delete(timer);
          work();
        }, way.lateMs);
        timers.add(timer);
      };
      from.on("data", (chunk) => later(() => void to.write(chunk)));
      from.on("end", () => later(() => void to.end()));
      from.on("error", () => undefined);
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  target.hostname = "127.0.0.1";
  target.port = String((server.address() as AddressInfo).port);
  const way = {
    url: target.href,
    lateMs: 0,
    async [Symbol.asyncDispose]() {
      for (const timer of timers) clearTimeout(timer);
      for (const end of ends) end.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return way;
}

describeWith(["amqp", "vhost"], "publishing on RabbitMQ", () => {
  test("a group of 10,000 takes a few round trips, a chain of 1,000 no more than a call", async () => {
    const roundTripMs = 600;
    await using vhost = await freshVhost();
    await using link = await distant(vhost.url);
    await using app = new Tq("bulk", { broker: link.url, backend: "cache+memory://bulk" });
    const { wide, long, one } = workflows(app);
    await one.delay();
    link.lateMs = roundTripMs / 2;
    const tripsOf = async (work: () => Promise<unknown>): Promise<number> => {
      const began = performance.now();
      await work();
      return (performance.now() - began) / roundTripMs;
    };
    // Confirms of thousands are under way at once; what else it takes is this machine's time.
    expect(await tripsOf(() => wide.delay())).toBeLessThan(40);
    expect(await tripsOf(() => long.delay(0))).toBeLessThan(5);
    expect(await (await app.broker()).size("celery")).toBe(10_002);
  });
});
