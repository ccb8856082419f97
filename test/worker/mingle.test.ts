import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { describeWith } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const acts = `${root}/test/apps/acts.ts`;

for (const kind of brokerKinds) {
  describeWith(kind.needs, `workers that start on ${kind.name}`, () => {
    let broker: BrokerUnderTest;
    let app: Tq;
    let first: WorkerHandle;
    let second: WorkerHandle;

    const start = (name: string, ...args: string[]): WorkerHandle =>
      startWorker({
        app: acts,
        args: ["-P", "solo", "-n", name, ...args],
        env: { ...broker.env, ACTS_QUEUE: broker.queue },
      });

    beforeAll(async () => {
      broker = await kind.make();
      app = new Tq("client", { broker: broker.env.TQ_BROKER_URL, backend: broker.env.TQ_RESULT_BACKEND });
      first = start("w1@mingle");
      await first.ready();
    });

    afterAll(async () => {
      for (const part of [app, first, second, broker]) await part?.[Symbol.asyncDispose]();
    });

    test("say that they look for neighbours before they are ready, and what they found when they know", async () => {
      const { lines } = first;
      const at = (text: string): number => lines.findIndex((line) => line.includes(text));
      expect(at("mingle: searching for neighbors")).toBeGreaterThan(at("Connected to"));
      expect(at("ready.")).toBeGreaterThan(at("mingle: searching for neighbors"));
      await first.printed("mingle: all alone");
      expect(at("mingle: all alone")).toBeGreaterThan(at("ready."));
    });

    test("are there for remote control once they are ready", async () => {
      const replies = await app.control.ping({ destination: ["w1@mingle"], timeout: 10 });
      expect(replies).toEqual([{ "w1@mingle": { ok: "pong" } }]);
    });

    test("take in what their neighbours have revoked", async () => {
      const revoked = { "revoked-before": [12_345.5, "revoked-before"] as const };
      const hello = await app.control.inspect({ limit: 1, timeout: 10 }).hello("other@mingle", revoked);
      expect(Object.keys(hello?.["w1@mingle"]?.revoked ?? {})).toEqual(["revoked-before"]);
      second = start("w2@mingle");
      await second.ready();
      await second.printed("mingle: sync with 1 nodes");
      await second.printed("mingle: sync complete");
      await first.printed("sync with w2@mingle");
      const told = await app.control.inspect({ destination: "w2@mingle", timeout: 10 }).hello("other@mingle");
      expect(Object.keys(told?.["w2@mingle"]?.revoked ?? {})).toEqual(["revoked-before"]);
    });

    test("answer side by side, and only those asked", async () => {
      const both = await app.control.inspect({ limit: 2, timeout: 10 }).ping();
      expect(both).toEqual({ "w1@mingle": { ok: "pong" }, "w2@mingle": { ok: "pong" } });
      const inspect = (pattern: string, matcher: "glob" | "pcre") =>
        app.control.inspect({ pattern, matcher, limit: 1, timeout: 10 }).ping();
      expect(Object.keys((await inspect("*2@mingle", "glob")) ?? {})).toEqual(["w2@mingle"]);
      expect(Object.keys((await inspect("w[13]@", "pcre")) ?? {})).toEqual(["w1@mingle"]);
      expect(await app.control.inspect({ destination: "nobody@mingle", timeout: 0.2 }).ping()).toBeNull();
    });

    test("do not look for neighbours when told not to", async () => {
      await second.term();
      second = start("w3@mingle", "--without-mingle");
      await second.ready();
      expect(await app.control.inspect({ destination: "w3@mingle", timeout: 10 }).ping()).not.toBeNull();
      expect(second.output).not.toContain("mingle:");
      await until(
        async () => (await app.control.inspect({ timeout: 0.3, limit: 2 }).ping())?.["w2@mingle"] === undefined,
      );
    });
  });
}
