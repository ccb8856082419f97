import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { freePort } from "../helpers/ports.ts";
import { celeryBin, describeWith } from "../helpers/services.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { pythonEnv, pythonFolder, startWorker, type WorkerHandle } from "../helpers/worker.ts";

const kind = brokerKinds.find(({ name }) => name === "Redis") as (typeof brokerKinds)[number];
const node = "w1@flower";

describeWith([...kind.needs, "celery"], "a real Flower shows and steers a tq worker", () => {
  let broker: BrokerUnderTest;
  let folder: Awaited<ReturnType<typeof temporaryFolder>>;
  let app: Tq;
  let worker: WorkerHandle;
  let flower: Child;
  let base: string;

  const page = async (path: string): Promise<string> => {
    const response = await fetch(`${base}${path}`);
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path} gave ${response.status}: ${text.slice(0, 500)}`);
    return text;
  };
  const post = async (path: string, form: Readonly<Record<string, string>> = {}): Promise<string> => {
    const response = await fetch(`${base}/api${path}`, { method: "POST", body: new URLSearchParams(form) });
    const text = await response.text();
    if (response.status !== 200) throw new Error(`${path} gave ${response.status}: ${text.slice(0, 500)}`);
    return text;
  };
  const shows = (path: string, ...texts: readonly string[]): Promise<string> =>
    until(
      async () => {
        const text = await page(path);
        const missing = texts.find((one) => !text.includes(one));
        if (missing !== undefined) throw new Error(`${path} does not show ${missing}:\n${text.slice(0, 2_000)}`);
        return text;
      },
      { timeout: 20, interval: 0.25, message: `${path} to show ${texts}` },
    );

  beforeAll(async () => {
    broker = await kind.make();
    folder = await temporaryFolder();
    const env = { ...broker.env, TQ_SETTINGS: JSON.stringify({ worker_send_task_events: true }) };
    app = new Tq("client", { broker: broker.env.TQ_BROKER_URL, backend: broker.env.TQ_RESULT_BACKEND });
    const port = await freePort();
    base = `http://127.0.0.1:${port}`;
    flower = startChild(
      join(celeryBin(), "python"),
      ["-m", "celery", "-A", "wire", "flower", "--address=127.0.0.1", `--port=${port}`, "--inspect_timeout=5000"],
      { cwd: pythonFolder, env: pythonEnv({ ...env, FLOWER_UNAUTHENTICATED_API: "true", HOME: folder.path }) },
    );
    worker = startWorker({ env, args: ["-E", "-c", "1", "-n", node] });
    await worker.ready();
    await until(() => page("/healthcheck"), { timeout: 40, interval: 0.25, message: "Flower to serve" });
  });
  afterAll(async () => {
    for (const part of [flower, worker, app, folder, broker]) await part?.[Symbol.asyncDispose]();
  });

  test("workers page, tasks page and task page", async () => {
    await shows("/workers", node);
    const workers = await until(
      async () => {
        const all = JSON.parse(await page(`/api/workers?refresh=true&workername=${node}`));
        return all[node]?.stats !== undefined && all;
      },
      { timeout: 20, interval: 0.5, message: "Flower to have asked the worker" },
    );
    expect(workers[node]).toMatchObject({
      stats: { total: {}, broker: { transport: "redis" }, pool: { "max-concurrency": 1 } },
      active: [],
      registered: expect.arrayContaining([expect.stringContaining("wire.add")]),
      active_queues: [expect.objectContaining({ name: "celery", routing_key: "celery" })],
    });
    await shows(`/worker/${node}`, "celery", "wire.add", "Max concurrency");
    const added = await app.sendTask("wire.add", [20, 22]);
    const failed = await app.sendTask("wire.fail", ["out of petals"]);
    await shows(`/task/${added.id}`, "wire.add", "(20, 22)", "SUCCESS", "42", node);
    await shows(`/task/${failed.id}`, "FAILURE", "out of petals");
    await shows("/tasks", "tasks-table");
    const tasks = JSON.parse(await page("/api/tasks"));
    expect(tasks[added.id]).toMatchObject({ name: "wire.add", state: "SUCCESS", worker: node, result: "42" });
  });

  test("grow, shrink, rate limit, revoke and shutdown", async () => {
    const width = async (): Promise<number> =>
      JSON.parse(await page(`/api/workers?refresh=true&workername=${node}`))[node]?.stats?.pool?.["max-concurrency"];
    expect(await post(`/worker/pool/grow/${node}`, { n: "2" })).toContain("Growing");
    await until(async () => (await width()) === 3, { timeout: 20, interval: 0.5 });
    expect(await post(`/worker/pool/shrink/${node}`, { n: "2" })).toContain("Shrinking");
    await until(async () => (await width()) === 1, { timeout: 20, interval: 0.5 });
    expect(await post("/task/rate-limit/wire.add", { workername: node, ratelimit: "200/m" })).toContain(
      "new rate limit set successfully",
    );
    const revoked = await app.sendTask("wire.sleep", [60]);
    await shows(`/task/${revoked.id}`, "STARTED");
    expect(await post(`/task/revoke/${revoked.id}`, { terminate: "true" })).toContain("Revoked");
    await shows(`/task/${revoked.id}`, "REVOKED");
    expect(await post(`/worker/shutdown/${node}`)).toContain("Shutting down");
    expect(await worker.exited).toMatchObject({ code: 0 });
  });
});
