import { Redis } from "ioredis";
import { expect, test } from "vitest";
import { Tq } from "../../../src/app/app.ts";
import { describeWith, freshRedis } from "../../helpers/services.ts";
import { startWorker } from "../../helpers/worker.ts";

describeWith("redis-server", "remote control switched off", () => {
  test("leaves a worker that works, answers nothing and binds no mailbox", async () => {
    await using redis = await freshRedis();
    const env = { TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: `${redis.url}/1` };
    await using app = new Tq("client", { broker: env.TQ_BROKER_URL, backend: env.TQ_RESULT_BACKEND });
    const look = new Redis(env.TQ_BROKER_URL);
    const mailboxes = async (): Promise<number> => Number(await look.call("PUBSUB", "NUMPAT"));
    try {
      const args = (node: string): string[] => ["-n", node, "-c", "1", "--without-gossip"];
      await using deaf = startWorker({
        args: args("deaf@off"),
        env: { ...env, TQ_SETTINGS: '{"worker_enable_remote_control": false}' },
      });
      await deaf.ready();
      expect(await (await app.sendTask("wire.add", [1, 2])).get({ timeout: 10 })).toBe(3);
      expect(await mailboxes()).toBe(0);
      expect(await look.keys("_kombu.binding.*pidbox*")).toEqual([]);
      expect(deaf.output).not.toContain("mingle:");
      await using heard = startWorker({ args: args("heard@off"), env });
      await heard.ready();
      // The same question reaches who listens.
      expect(await app.control.ping({ timeout: 2 })).toEqual([{ "heard@off": { ok: "pong" } }]);
      expect(await mailboxes()).toBeGreaterThan(0);
    } finally {
      look.disconnect();
    }
  });
});
