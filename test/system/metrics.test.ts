import { readFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { notReady } from "../../src/worker/metrics-server.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { freePort } from "../helpers/ports.ts";
import { describeWith, freshRedis, hasProc } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

test("ready means consuming", () => {
  const well = { connected: true, consuming: true, phase: "running" };
  expect(notReady(well)).toBeNull();
  expect(notReady({ ...well, connected: false })).toBe("not connected to the broker");
  expect(notReady({ ...well, consuming: false })).toBe("not consuming");
  expect(notReady({ ...well, phase: "warm" })).toBe("stopping");
});

for (const kind of brokerKinds) {
  describeWith(kind.needs, `--metrics-port on ${kind.name}`, () => {
    let broker: BrokerUnderTest;
    let app: Tq;
    let worker: WorkerHandle;
    let base: string;
    const get = async (path: string): Promise<{ readonly status: number; readonly text: string }> => {
      const response = await fetch(`${base}${path}`);
      return { status: response.status, text: await response.text() };
    };
    /** A figure by its name and labels, as the text has it; NaN when it has none. */
    const figure = async (name: string): Promise<number> => {
      const { text } = await get("/metrics");
      const line = text.split("\n").find((one) => one.startsWith(`${name} `));
      return line === undefined ? Number.NaN : Number(line.slice(name.length + 1));
    };
    const becomes = (name: string, value: number): Promise<boolean> =>
      until(async () => (await figure(name)) === value, {
        timeout: 15,
        interval: 0.1,
        message: `${name} to be ${value}`,
      });

    beforeAll(async () => {
      broker = await kind.make();
      app = new Tq("client", {
        broker: broker.env.TQ_BROKER_URL,
        backend: broker.env.TQ_RESULT_BACKEND,
        taskDefaultQueue: broker.queue,
      });
      const settings = { taskDefaultQueue: broker.queue, workerUnknownTasks: "deadletter" };
      const env = { ...broker.env, TQ_SETTINGS: JSON.stringify(settings) };
      const port = await freePort();
      base = `http://127.0.0.1:${port}`;
      worker = startWorker({ env, args: ["-c", "1", "--prefetch-multiplier", "1", "--metrics-port", String(port)] });
      await worker.ready();
    });
    afterAll(async () => {
      for (const part of [worker, app, broker]) await part?.[Symbol.asyncDispose]();
    });

    test("the figures follow what happens", async () => {
      expect(await get("/livez")).toEqual({ status: 200, text: "ok\n" });
      expect(await get("/readyz")).toEqual({ status: 200, text: "ok\n" });
      expect((await get("/elsewhere")).status).toBe(404);
      expect((await fetch(`${base}/metrics`, { method: "POST" })).status).toBe(405);
      const send = (name: string, args: readonly unknown[] = [], options = {}) => app.sendTask(name, args, options);
      await (await send("wire.add", [1, 1])).get({ timeout: 10 });
      await send("wire.fail", ["x"]);
      await send("wire.flaky", [1]);
      await send("wire.kill_child");
      await send("wire.no_such_task");
      await send("wire.add", [1, 1], { countdown: 3_600 });
      await becomes('tq_tasks_succeeded_total{task="wire.add"}', 1);
      await becomes('tq_tasks_failed_total{task="wire.fail"}', 1);
      await becomes('tq_tasks_retried_total{task="wire.flaky"}', 1);
      await becomes('tq_tasks_lost_total{task="wire.kill_child"}', 1);
      await becomes('tq_tasks_failed_total{task="unknown"}', 1);
      await becomes("tq_pool_restarts_total", 1);
      await becomes("tq_messages_parked", 1);
      await becomes("tq_dead_letters", 1);
      expect(await figure('tq_task_run_seconds_count{task="wire.add"}')).toBe(1);
      expect(await figure('tq_task_wait_seconds_count{task="wire.add"}')).toBe(1);
      expect(await figure("tq_pool_slots")).toBe(1);
      expect(await figure("tq_broker_connected")).toBe(1);
      // One runs, one is in hand, three wait.
      for (let count = 0; count < 5; count += 1) await send("wire.sleep", [1.5]);
      await becomes("tq_tasks_active", 1);
      await until(async () => (await figure(`tq_queue_length{queue="${broker.queue}"}`)) >= 2, { interval: 0.1 });
      const age = `tq_queue_oldest_message_age_seconds{queue="${broker.queue}"}`;
      // RabbitMQ shows no message without handing it over: there it is what it can be at most.
      await until(async () => (await figure(age)) > 0.5, { interval: 0.1 });
      expect(await figure(age)).toBeLessThan(30);
      expect(await figure("tq_pool_slots_busy")).toBe(1);
      await becomes(`tq_queue_length{queue="${broker.queue}"}`, 0);
      await becomes(age, 0);
    });

    test.runIf(hasProc() && kind.name === "the embedded store")(
      "asking for its health costs a worker less than a millisecond",
      async () => {
        const ticks = (): number => {
          const fields = readFileSync(`/proc/${worker.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
          return Number(fields[11]) + Number(fields[12]); // utime and stime, in hundredths of a second
        };
        const asked = 400;
        const before = ticks();
        for (let count = 0; count < asked; count += 2) await Promise.all([get("/livez"), get("/readyz")]);
        expect(((ticks() - before) * 10) / asked).toBeLessThan(1);
      },
    );

    test("a worker on its way down is alive and not ready", async () => {
      worker.signal("SIGTERM");
      await until(async () => (await get("/readyz")).status === 503, { timeout: 5 });
      expect((await get("/readyz")).text).toBe("stopping\n");
      expect((await get("/livez")).status).toBe(200);
      expect(await worker.exited).toMatchObject({ code: 0 });
      await expect(get("/livez")).rejects.toThrow();
    });
  });
}

describeWith("redis-server", "/livez and /readyz", () => {
  test("a worker without its broker is alive, and ready only while it consumes", async () => {
    await using redis = await freshRedis();
    await redis.kill();
    const port = await freePort();
    const env = { TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: `${redis.url}/1` };
    await using worker = startWorker({ env, args: ["-P", "solo", "--metrics-port", String(port)] });
    const ask = async (path: string): Promise<string> => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`);
      return `${response.status} ${(await response.text()).trim()}`;
    };
    const answers = (expected: string): Promise<boolean> =>
      until(async () => (await ask("/readyz")) === expected, { timeout: 20, interval: 0.05, message: expected });
    await worker.printed("consumer: Cannot connect to");
    expect(await ask("/readyz")).toBe("503 not connected to the broker");
    expect(await ask("/livez")).toBe("200 ok");
    await redis.restart();
    await answers("200 ok");
    await redis.kill();
    await answers("503 not connected to the broker");
    expect(await ask("/livez")).toBe("200 ok");
    await redis.restart();
    await answers("200 ok");
    // Ready means that what is sent now runs.
    await using app = new Tq("client", { broker: env.TQ_BROKER_URL, backend: env.TQ_RESULT_BACKEND });
    expect(await (await app.sendTask("wire.add", [1, 2])).get({ timeout: 10 })).toBe(3);
  });
});
