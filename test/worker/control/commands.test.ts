import { randomUUID } from "node:crypto";
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Tq } from "../../../src/app/app.ts";
import type { TaskInfo } from "../../../src/control/replies.ts";
import { root } from "../../helpers/build.ts";
import { childrenOf } from "../../helpers/child.ts";
import { describeWith, freshRedis } from "../../helpers/services.ts";
import { shapeOf } from "../../helpers/shape.ts";
import { until } from "../../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../../helpers/worker.ts";

interface Fixture {
  readonly decoded: {
    readonly request: readonly {
      readonly body: { readonly method: string; readonly arguments: Record<string, unknown> };
    }[];
    readonly replies: readonly { readonly body: Readonly<Record<string, unknown>> }[];
  };
}

const fixture = (name: string): Fixture =>
  JSON.parse(readFileSync(join(root, "test", "fixtures", `${name}.json`), "utf8")) as Fixture;

/** What Celery's worker answered. */
const answerOf = (name: string): unknown => Object.values(fixture(name).decoded.replies[0]?.body ?? {})[0];

/** What it was asked. */
const argumentsOf = (name: string): Record<string, unknown> => fixture(name).decoded.request[0]?.body.arguments ?? {};

const node = "w1@commands";

describeWith("redis-server", "a worker answers as Celery's do:", () => {
  let redis: Awaited<ReturnType<typeof freshRedis>>;
  let app: Tq;
  let worker: WorkerHandle;

  beforeAll(async () => {
    redis = await freshRedis();
    const env = { TQ_BROKER_URL: `${redis.url}/0`, TQ_RESULT_BACKEND: `${redis.url}/1` };
    app = new Tq("client", { broker: env.TQ_BROKER_URL, backend: env.TQ_RESULT_BACKEND });
    worker = startWorker({ app: join(root, "test/apps/steered.ts"), args: ["-n", node, "-c", "2"], env });
    await worker.ready();
  });

  afterAll(async () => {
    for (const part of [app, worker, redis]) await part?.[Symbol.asyncDispose]();
  });

  async function ask<Value = unknown>(method: string, args: Record<string, unknown> = {}): Promise<Value> {
    const replies = await app.control.inspect({ destination: node, timeout: 10 }).request<Value>(method, args);
    if (replies === null) throw new Error(`no answer to ${method}:\n${worker.output}`);
    return replies[node] as Value;
  }

  const active = (): Promise<readonly TaskInfo[]> => ask<readonly TaskInfo[]>("active");
  const idle = (): Promise<unknown> => until(async () => (await active()).length === 0, { message: "no task runs" });

  test("what it is, how it does and what it is told to be", async () => {
    expect(await ask("ping")).toEqual({ ok: "pong" });
    const stats = await ask<{ pool: Record<string, unknown>; broker: Record<string, unknown>; clock: unknown }>(
      "stats",
    );
    const golden = answerOf("control_inspect_stats") as typeof stats & Record<string, unknown>;
    expect(Object.keys(stats)).toEqual(Object.keys(golden));
    expect(shapeOf({ ...stats, pool: 0, broker: 0, total: 0 })).toEqual(
      shapeOf({ ...golden, pool: 0, broker: 0, total: 0 }),
    );
    expect(Object.keys(stats.broker)).toEqual(Object.keys(golden.broker));
    expect(stats.broker).toMatchObject({ hostname: "127.0.0.1", virtual_host: "0", transport: "redis", ssl: false });
    expect(stats.pool).toMatchObject({
      "max-concurrency": 2,
      processes: expect.arrayContaining(childrenOf(worker.pid)),
    });
    expect(Object.keys(golden.pool).filter((key) => !(key in stats.pool))).toEqual([]);
    expect(shapeOf(await ask("clock"))).toEqual(shapeOf(answerOf("control_inspect_clock")));
    const report = await ask<{ ok: string }>("report");
    expect(report.ok).toContain("software -> tq:");
    const conf = await ask<Record<string, unknown>>("conf");
    expect(conf).toMatchObject({ broker_url: `${redis.url}/0`, worker_pool_restarts: true });
    expect(conf).not.toHaveProperty("worker_concurrency");
    const all = await ask<Record<string, unknown>>("dump_conf", { with_defaults: true });
    for (const key of ["broker_url", "task_default_queue", "worker_prefetch_multiplier", "result_expires"]) {
      expect(all).toHaveProperty([key]);
    }
    expect(all).toMatchObject({ task_default_queue: "celery", redis_password: "********" });
  });

  test("which tasks it has, with which attributes", async () => {
    const all = await ask<string[]>("registered", { taskinfoitems: [] });
    expect(all).toEqual(["wt.add", "wt.limited [rate_limit=10/m]", "wt.slow", "wt.spin"]);
    expect(await ask<string[]>("dump_tasks")).toEqual(all);
    expect(await ask<string[]>("registered", argumentsOf("control_inspect_registered_attrs"))).toContain(
      "wt.limited [max_retries=2 serializer=json rate_limit=10/m]",
    );
    expect(await ask<string[]>("registered", { builtins: true })).toContain("celery.backend_cleanup");
    expect(await ask("registered", { taskinfoitems: "x" })).toEqual({ error: expect.stringMatching(/^ValueError\(/) });
  });

  test("what it runs, holds, and where a task is", async () => {
    const calls = Array.from({ length: 5 }, () => app.sendTask("wt.slow", [60], { shadow: "shadowed" }));
    const ids = (await Promise.all(calls)).map(({ id }) => id);
    const running = await until(async () => {
      const now = await active();
      return now.length === 2 && now;
    });
    const [golden] = answerOf("control_inspect_active") as [TaskInfo];
    for (const info of running) {
      expect(shapeOf(info)).toEqual(shapeOf(golden));
      expect(Object.keys(info)).toEqual(Object.keys(golden));
      expect(info).toMatchObject({ name: "shadowed", type: "wt.slow", args: [60], hostname: node, acknowledged: true });
      expect(info.delivery_info).toEqual({ exchange: "", routing_key: "celery", priority: 0, redelivered: false });
      expect(childrenOf(worker.pid)).toContain(info.worker_pid);
      expect(Date.now() / 1000 - (info.time_start as number)).toBeLessThan(30);
    }
    const [safe] = await ask<readonly TaskInfo[]>("active", { safe: true });
    const [goldenSafe] = answerOf("control_inspect_active_safe") as [TaskInfo];
    expect(shapeOf(safe)).toEqual(shapeOf(goldenSafe));
    expect(safe).toMatchObject({ args: "(60,)", kwargs: "{}" });

    const reserved = await until(async () => {
      const waiting = await ask<readonly TaskInfo[]>("reserved");
      return waiting.length === 3 && waiting;
    });
    expect(shapeOf(reserved[0])).toEqual(shapeOf((answerOf("control_inspect_reserved") as unknown[])[0]));
    const [first, waiting] = [running[0]?.id as string, reserved[0]?.id as string];
    const found = await ask<Record<string, [string, TaskInfo]>>("query_task", { ids: [first, waiting, "unknown"] });
    expect(Object.keys(found)).toHaveLength(2);
    expect(found[first]).toEqual(["active", { ...running[0] }]);
    expect(found[waiting]?.[0]).toBe("reserved");
    expect(await ask("query_task", { ids: waiting })).toHaveProperty([waiting]);

    // The rest of this test ends what it began.
    const stopped = await ask("revoke", { task_id: first, terminate: true, signal: "SIGKILL" });
    expect(stopped).toEqual({ ok: `terminate: ${first}` });
    await expect(app.asyncResult(first).get({ timeout: 10 })).rejects.toThrow();
    expect(await app.asyncResult(first).state()).toBe("REVOKED");
    const rest = ids.filter((id) => id !== first);
    const all = await ask<{ ok: string }>("terminate", { task_id: rest, signal: "TERM" });
    expect(all.ok.replace("terminate: ", "").split(", ").sort()).toEqual([...rest].sort());
    await idle();
    expect(await ask("revoked")).toEqual(expect.arrayContaining(ids));
  });

  test("revokes, in Celery's words", async () => {
    for (const name of ["control_revoke", "control_revoke_list", "control_revoke_terminate_unknown"]) {
      expect(await ask("revoke", argumentsOf(name))).toEqual(answerOf(name));
    }
    expect(await ask("dump_revoked")).toEqual(expect.arrayContaining(["aaaa-1", "aaaa-2", "aaaa-3", "aaaa-4"]));
    expect(await app.asyncResult("aaaa-2").state()).toBe("REVOKED");
    const stamps = "control_revoke_by_stamped_headers";
    expect(await ask("revoke_by_stamped_headers", argumentsOf(stamps))).toEqual(answerOf(stamps));
    expect(await ask("revoke_by_stamped_headers", { headers: ["tenant=acme"], terminate: true })).toEqual({
      ok: "headers {'tenant': 'acme'} were not terminated",
    });
    const id = randomUUID();
    await ask("revoke", { task_id: [id] });
    await app.sendTask("wt.add", [1, 1], { taskId: id });
    await worker.printed(`Discarding revoked task: wt.add[${id}]`);
    for (const wrong of [{ task_id: [1] }, { task_id: id, terminate: true, signal: "SIGNOTHING" }]) {
      expect(await ask("revoke", wrong)).toEqual({ error: expect.stringMatching(/^ValueError\(/) });
    }
  });

  test("limits of time take effect on the next task", async () => {
    expect(await ask("time_limit", { task_name: "wt.spin", hard: 1, soft: null })).toEqual(
      answerOf("control_time_limit"),
    );
    const result = await app.sendTask("wt.spin", [60]);
    await expect(result.get({ timeout: 20 })).rejects.toThrow(/TimeLimitExceeded|^1$/);
    expect(await ask("registered", { taskinfoitems: ["time_limit"] })).toContain("wt.spin [time_limit=1]");
    expect(await ask("time_limit", { task_name: "wt.spin" })).toEqual(answerOf("control_time_limit"));
    expect(await ask("time_limit", { task_name: "nope" })).toEqual(answerOf("control_time_limit_unknown"));
    expect(await ask("time_limit", { task_name: "wt.spin", soft: "soon" })).toEqual({ error: expect.any(String) });
  });

  test("limits of rate, in Celery's words", async () => {
    for (const name of ["", "_invalid", "_off", "_unknown"]) {
      const fixture = `control_rate_limit${name}`;
      const args = { ...argumentsOf(fixture) };
      expect(await ask("rate_limit", args)).toEqual(answerOf(fixture));
      if (name === "") expect(await ask("registered")).toContain("wt.add [rate_limit=100/m]");
    }
    expect(await ask("rate_limit", { task_name: "wt.add", rate_limit: "" })).toEqual(
      answerOf("control_rate_limit_off"),
    );
    for (const wrong of [{}, [1], -1, "1/y", "fast/m"]) {
      expect(await ask("rate_limit", { task_name: "wt.add", rate_limit: wrong })).toEqual({
        error: expect.stringMatching(/^Invalid rate limit string/),
      });
    }
  });

  test("queues come and go while it works", async () => {
    const queues = await ask<unknown[]>("active_queues");
    expect(queues).toEqual(answerOf("control_inspect_active_queues"));
    expect(await ask("add_consumer", argumentsOf("control_add_consumer"))).toEqual(answerOf("control_add_consumer"));
    const now = await ask<unknown[]>("active_queues");
    const golden = answerOf("control_inspect_active_queues_after_add") as { name: string }[];
    expect(now[1]).toEqual(golden.find(({ name }) => name === "dyn"));
    const result = await app.sendTask("wt.add", [2, 3], { queue: "dyn" });
    expect(await result.get({ timeout: 10 })).toBe(5);
    expect(await ask("cancel_consumer", { queue: "dyn" })).toEqual(answerOf("control_cancel_consumer"));
    expect(await ask<unknown[]>("active_queues")).toHaveLength(1);
    expect(await ask("add_consumer", { queue: "", exchange_type: "direct" })).toEqual({ error: expect.any(String) });
    expect(await ask("add_consumer", { queue: "q", colour: "red" })).toEqual({ error: expect.any(String) });
  });

  test("its pool grows, shrinks and starts anew", async () => {
    const children = async (): Promise<number[]> =>
      (await ask<{ pool: { processes: number[] } }>("stats")).pool.processes;
    const before = await children();
    expect(await ask("pool_grow", { n: 1 })).toEqual(answerOf("control_pool_grow"));
    await until(async () => (await children()).length === 3);
    expect(await ask<{ prefetch_count: number }>("stats")).toMatchObject({ prefetch_count: 12 });
    expect(await ask("pool_shrink", { n: 1 })).toEqual(answerOf("control_pool_shrink"));
    await until(async () => (await children()).length === 2);
    expect(await ask("pool_restart", argumentsOf("control_pool_restart"))).toEqual(answerOf("control_pool_restart"));
    await until(async () => !(await children()).some((pid) => before.includes(pid)));
    expect(await ask("autoscale", { max: 5, min: 2 })).toEqual(answerOf("control_autoscale_disabled"));
    for (const n of [0, -1, 1.5, "many", 1e9, null]) {
      expect(await ask("pool_grow", { n })).toEqual({ error: expect.stringMatching(/^ValueError\(/) });
    }
    expect(await ask("pool_shrink", { n: 100 })).toEqual({ error: expect.stringMatching(/one has to stay/) });
  });

  test("events go on and off", async () => {
    expect(await ask("enable_events")).toEqual({ ok: "task events enabled" });
    expect(await ask("enable_events")).toEqual({ ok: "task events already enabled" });
    expect(await ask("disable_events")).toEqual({ ok: "task events disabled" });
    expect(await ask("disable_events")).toEqual({ ok: "task events already disabled" });
    expect(await ask("heartbeat")).toBeNull();
  });

  test("where its memory goes", async () => {
    const sample = await ask<string>("memsample");
    expect(sample).toMatch(/^\d+(\.\d+)?MB$/);
    const dump = await ask<string>("memdump", { samples: 10 });
    expect(dump).toContain(`- rss (sample):\n-    > ${sample},\n- rss (end): `);
    expect(await ask("memdump", { samples: "x" })).toEqual({ error: expect.any(String) });
    const { filename } = await ask<{ filename: string }>("objgraph", { num: 200, max_depth: 10, type: "Request" });
    try {
      expect(existsSync(filename)).toBe(true);
      expect(statSync(dirname(filename)).mode & 0o777).toBe(0o700);
    } finally {
      rmSync(dirname(filename), { recursive: true });
    }
  });

  test("what it does not know, cannot do, or is asked wrongly", async () => {
    expect(await ask("does_not_exist")).toEqual(answerOf("control_unknown_command"));
    expect(await ask("rate_limit", { bogus: 1 })).toEqual(answerOf("control_bad_arguments"));
    expect(await ask("__proto__")).toEqual({ error: "KeyError('__proto__')" });
    expect(await ask("hello", { from_node: node, revoked: {} })).toEqual(answerOf("control_inspect_hello_self"));
    expect(shapeOf(await ask("hello", { from_node: "x@y", revoked: { z: 5 } }))).toMatchObject({
      clock: "number",
      revoked: expect.any(Object),
    });
  });

  test("commands of the app's own, and when they fail", async () => {
    expect(await ask("set_cache_level", { level: 7, why: "it is late", tags: ["a", "b"] })).toEqual({
      ok: "level 7, tags a+b",
    });
    expect(await ask("cache_level")).toEqual({ level: 7, node });
    expect(await ask("dump_cache_level")).toEqual({ level: 7, node });
    expect(await ask("set_cache_level")).toEqual({
      error: `TypeError("set_cache_level() missing 1 required positional argument: 'level'")`,
    });
    expect(await ask("set_cache_level", { level: "high" })).toEqual({
      error: expect.stringContaining("a whole number"),
    });
    expect(await ask("break_down")).toEqual({ error: `RangeError("it's broken")` });
    await worker.printed("Error in remote control command break_down: it's broken");
    await worker.printed("RangeError: it's broken");
  });

  test("shutting down, without an answer and without a trace", async () => {
    const replies = await app.control.shutdown({ destination: node, reply: true, timeout: 0.3 });
    expect(replies).toEqual([]);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
    expect(worker.output).toContain("Got shutdown from remote");
    const broker = await app.broker();
    await until(async () => (await app.control.inspect({ timeout: 0.1 }).ping()) === null);
    expect(broker.transport).toBe("redis");
  });
});
