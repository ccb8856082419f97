import { existsSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { createWire } from "../apps/wire-tasks.ts";
import { greet } from "../helpers/ports.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";
import { startProxy } from "./proxy.ts";

/**
 * A broker does what it is told and its answer never arrives: the messages were handed out, to
 * nobody. They are not forgotten for as long as the worker lives.
 */
describeWith("redis-server", "an answer that is lost", () => {
  test("a take whose answer is lost with its connection is delivered again to the same worker", async () => {
    await using folder = await temporaryFolder();
    await using redis = await freshRedis();
    await using proxy = await startProxy(redis.url);
    const path = folder.file("ran");
    const env = { TQ_RESULT_BACKEND: "disabled://" };
    const { app, handles } = createWire({ ...env, TQ_BROKER_URL: `${redis.url}/0` });
    await using worker = startWorker({ env: { ...env, TQ_BROKER_URL: `${proxy.url}/0` }, args: ["-c", "2"] });
    await worker.ready();
    const record = handles.get("wire.record_late");
    const ran = (): string[] => (existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : []);
    try {
      await record?.delay(path, "first");
      await until(() => ran().includes("first"));
      const ids = Array.from({ length: 5 }, (_, i) => String(i));
      proxy.mute();
      await record?.delayMany(ids.map((id) => [path, id]));
      const unacked = async (): Promise<boolean> =>
        !String(await greet(redis.port, "HLEN unacked\r\n")).startsWith(":0");
      await until(unacked, { timeout: 15, message: "the worker to take what it will not hear of" });
      proxy.restore();
      await until(() => ids.every((id) => ran().includes(id)), { timeout: 20, message: `all of ${ids}` }).catch(
        (error: Error) => {
          throw new Error(`${error.message}; ran: ${ran()}\n${worker.output}`);
        },
      );
      expect(worker.running).toBe(true);
    } finally {
      await app.close();
      await worker.term();
    }
  }, 60_000);
});
