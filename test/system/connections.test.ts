import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import type { RedisServer } from "../helpers/redis-server.ts";
import { describeWith, freshRedis, hasProc } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

/** Connections this process has to a port of the loopback, by its own ports. */
function connectionsOf(pid: number, port: number): string[] {
  const inodes = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return []; // closed meanwhile
      }
    }),
  );
  const there = `0100007F:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return readFileSync(`/proc/${pid}/net/tcp`, "utf8")
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .flatMap(([, local = "", remote, , , , , , , inode = ""]) =>
      remote === there && inodes.has(inode) ? [local.split(":")[1] as string] : [],
    );
}

describeWith("redis-server", "a worker on Redis", () => {
  let redis: RedisServer;
  let app: Tq;

  beforeAll(async () => {
    redis = await freshRedis();
    app = new Tq("client", { broker: `${redis.url}/0`, backend: `${redis.url}/1` });
  });
  afterAll(async () => {
    for (const part of [app, redis]) await part?.[Symbol.asyncDispose]();
  });

  // With a second broker in reserve.
  const stand = (url: string): string => `${url}/0;redis://127.0.0.1:1/0`;
  for (const [pool, brokers] of [
    ["prefork", (url: string) => `${url}/0`],
    ["solo", stand],
  ] as const) {
    test.runIf(hasProc())(`has three connections at most, whatever it does (${pool})`, async () => {
      const env = { TQ_BROKER_URL: brokers(redis.url), TQ_RESULT_BACKEND: `${redis.url}/1` };
      // A neighbour: someone to mingle and gossip with.
      await using neighbour = startWorker({ env, args: ["-P", "solo", "-Q", "elsewhere", "-n", `by-${pool}@here`] });
      await neighbour.ready();
      const seen = new Set<string>();
      let most = 0;
      await using worker = startWorker({ env, args: ["-P", pool, "-c", "2", "-E", "-n", `${pool}@here`] });
      const looking = setInterval(() => {
        if (!worker.running) return;
        const now = connectionsOf(worker.pid, redis.port);
        for (const port of now) seen.add(port);
        most = Math.max(most, now.length);
      }, 10);
      try {
        await worker.ready();
        await worker.printed("mingle: sync complete");
        const inspect = app.control.inspect({ destination: `${pool}@here`, timeout: 10 });
        const results = [
          ...(await Promise.all(Array.from({ length: 200 }, (_, n) => app.sendTask("wire.add", [n, n])))),
          // What sends by itself, what the parent stores alone, and what goes wrong.
          await app.sendTask("wire.spawn", [1]),
          await app.sendTask("wire.flaky", [2]),
          await app.sendTask("wire.event"),
          await app.sendTask("wire.progress", [3]),
        ];
        for (let asked = 0; asked < 10; asked += 1) expect(await inspect.ping()).not.toBeNull();
        for (const result of results) await result.get({ timeout: 20 });
        const failed = await app.sendTask("wire.fail", ["on purpose"]);
        await until(async () => (await failed.state()) === "FAILURE");
      } finally {
        clearInterval(looking);
      }
      expect(most).toBe(3);
      // Nor does it make one for a moment and another one after.
      expect(seen.size).toBe(3);
      expect(await worker.term()).toMatchObject({ code: 0 });
    });
  }
});
