import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { TimeLimitExceeded } from "../../src/errors.ts";
import { linesOf } from "../contract/pool.ts";
import { type BrokerKind, brokerKinds } from "../helpers/brokers.ts";
import { root } from "../helpers/build.ts";
import { childrenOf, isAlive } from "../helpers/child.ts";
import { temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker } from "../helpers/worker.ts";

const apps = join(root, "test", "apps");
const [kind] = brokerKinds as unknown as [BrokerKind];

/** A worker over the embedded store and a client of it. */
async function stage(args: readonly string[], options: { app?: string; env?: Record<string, string> } = {}) {
  const broker = await kind.make();
  const folder = await temporaryFolder();
  const file = folder.file("marks");
  const env = {
    ...broker.env,
    ACTIONS_QUEUE: broker.queue,
    ACTS_QUEUE: broker.queue,
    LOADING_QUEUE: broker.queue,
    HOOKS_FILE: file,
    ...options.env,
  };
  const worker = startWorker({ app: join(apps, options.app ?? "actions.ts"), args, env });
  const app = new Tq("client", {
    broker: broker.env.TQ_BROKER_URL,
    backend: broker.env.TQ_RESULT_BACKEND,
    taskDefaultQueue: broker.queue,
  });
  return {
    worker,
    app,
    file,
    run: async (task: string, args: readonly unknown[] = []) =>
      await (await app.sendTask(task, args)).get({ timeout: 20 }),
    async [Symbol.asyncDispose]() {
      for (const part of [app, worker, folder, broker]) await part[Symbol.asyncDispose]();
    },
  };
}

describe("children", () => {
  test("that never yield end with their parent too, also when it is killed", async () => {
    await using scene = await stage(["-c", "2"]);
    const { worker, app, file } = scene;
    await worker.ready();
    await app.sendTask("actions.hang", [file]);
    await until(() => linesOf(file).length === 1, { message: "an endless loop" });
    const children = childrenOf(worker.pid);
    expect(children).toHaveLength(2);
    const titles = children.map((pid) => readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").trim());
    expect(titles.sort()).toEqual(
      [1, 2].map((n) => expect.stringMatching(`^\\[tq: celery@.+:ForkPoolWorker-${n}\\]$`)),
    );
    process.kill(worker.pid, "SIGKILL");
    await until(() => children.every((pid) => !isAlive(pid)), { message: "the end of the children", timeout: 5 });
  });
});

describe("an app", () => {
  test("that is slow to load gets the time in each child that it took in the worker", async () => {
    const slow = ["-c", "2", "--", "worker.proc_alive_timeout=1"];
    await using scene = await stage(slow, { app: "loading.ts", env: { LOADING_SECONDS: "3" } });
    await scene.worker.ready();
    expect(scene.worker.output).not.toContain("Timed out");
    expect(await scene.run("loading.ok")).toBe("ok");
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
  });

  test("that one child fails to load costs that child, with the reason, and is loaded by its successor", async () => {
    await using folder = await temporaryFolder();
    const env = { LOADING_FAILS_ONCE: folder.file("failed") };
    await using scene = await stage(["-c", "2"], { app: "loading.ts", env });
    await scene.worker.ready();
    expect(scene.worker.output).toMatch(
      /ERROR\/MainProcess\] ForkPoolWorker-\d did not start, and is replaced: Unable to load the tq application\.\nWhile loading .*loading\.ts: no database yet/,
    );
    expect(scene.worker.output).not.toMatch(/^ {4}at /m);
    expect(childrenOf(scene.worker.pid)).toHaveLength(2);
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
  });
});

describe("tq worker", () => {
  test("-P threads runs tasks in threads of its process", async () => {
    await using scene = await stage(["-P", "threads", "-c", "2"]);
    await scene.worker.ready();
    expect(await scene.run("actions.where")).toMatch(new RegExp(`^${scene.worker.pid}/[1-9]`));
    expect(childrenOf(scene.worker.pid)).toEqual([]);
    await scene.worker.printed(/INFO\/ThreadPoolWorker-\d\] Task actions.where\[.*succeeded/);
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
  });

  test("-P gevent runs many tasks at once in its event loop, under --time-limit, and logs what they print", async () => {
    await using scene = await stage(["-P", "gevent", "-c", "40", "--time-limit", "2"]);
    const { worker, app, run } = scene;
    await worker.ready();
    expect(worker.output).toContain(".> concurrency: 40 (async)");
    const many = Array.from({ length: 40 }, () => run("actions.wait", [0.5]));
    expect(new Set(await Promise.all(many))).toEqual(new Set([`${worker.pid}/0`]));
    const { id } = await app.sendTask("actions.print");
    await worker.printed(new RegExp(`WARNING/MainProcess\\] actions\\.print\\[${id}\\]: printed nicely$`));
    const late = await app.sendTask("actions.wait", [60]);
    expect(await late.get({ timeout: 20, propagate: false })).toBeInstanceOf(TimeLimitExceeded);
    expect(await worker.term()).toEqual({ code: 0, signal: null });
  });

  test("-P custom runs tasks in the pool of a module, and says so when there is none", async () => {
    await using scene = await stage(["-P", "custom"], { env: { TQ_CUSTOM_WORKER_POOL: "./own-pool.ts" } });
    await scene.worker.ready();
    expect(await scene.run("actions.ok", [5])).toBe(5);
    await scene.worker.printed(/INFO\/OwnPool\] Task actions.ok/);
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
    await using without = await stage(["-P", "custom"]);
    expect((await without.worker.exited).code).not.toBe(0);
    expect(without.worker.output).toContain("--pool custom needs the module of the pool");
  });

  test("-c 1 --async 20 runs twenty tasks at once in one child, over as many prefetched messages", async () => {
    await using scene = await stage(["-c", "1", "--async", "20"]);
    await scene.worker.ready();
    const begun = performance.now();
    const pids = await Promise.all(Array.from({ length: 20 }, () => scene.run("actions.wait", [1])));
    expect(performance.now() - begun).toBeLessThan(8_000);
    expect(new Set(pids).size).toBe(1);
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
  });

  test("--autoscale grows with the load and shrinks when it is over", async () => {
    await using scene = await stage(["--autoscale", "3,1", "--prefetch-multiplier", "1"], {
      env: { AUTOSCALE_KEEPALIVE: "1" },
    });
    const { worker, run, app } = scene;
    await worker.ready();
    expect(worker.output).toContain(".> concurrency: {min=1, max=3} (prefork)");
    // What is fetched ahead is as for the largest size, and follows it.
    const prefetched = async () => Object.values((await app.control.inspect().stats()) ?? {})[0]?.prefetch_count;
    expect(await prefetched()).toBe(3);
    await app.control.autoscale(5, 1);
    expect(await prefetched()).toBe(5);
    await app.control.autoscale(3, 1);
    expect(childrenOf(worker.pid)).toHaveLength(1);
    const load = Array.from({ length: 6 }, () => run("actions.wait", [1.5]));
    await worker.printed(/INFO\/MainProcess\] Scaling up \d processes\.$/);
    await until(() => childrenOf(worker.pid).length === 3, { message: "three children" });
    await Promise.all(load);
    await worker.printed(/INFO\/MainProcess\] Scaling down \d processes\.$/);
    await until(() => childrenOf(worker.pid).length === 1, { message: "one child" });
    expect(await worker.term()).toEqual({ code: 0, signal: null });
  });

  test("-P processes --autoscale goes by the rule of a module of one's own", async () => {
    const rule = ["-P", "processes", "--autoscale", "3,1", "--", "worker.autoscaler=./own-autoscaler.ts"];
    await using scene = await stage(rule);
    await scene.worker.ready();
    const running = scene.run("actions.wait", [1]);
    await scene.worker.printed(/INFO\/MainProcess\] Scaling up 2 processes\.$/);
    await running;
    await scene.worker.printed(/INFO\/MainProcess\] Scaling down 2 processes\.$/);
    expect(await scene.worker.term()).toEqual({ code: 0, signal: null });
  });

  test("--log-format json writes one document per line, with the task of what tasks print and log", async () => {
    await using scene = await stage(["-c", "1", "--log-format", "json", "--quiet"]);
    const { worker, app } = scene;
    await worker.printed(/ready\."/);
    const print = await app.sendTask("actions.print");
    const log = await app.sendTask("actions.log");
    await worker.printed(/by self.log/);
    await worker.printed(/without an end/);
    await worker.term();
    const documents = worker.lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line));
    expect(documents).toContainEqual(
      expect.objectContaining({
        level: "WARNING",
        processName: "ForkPoolWorker-1",
        taskName: "actions.print",
        taskId: print.id,
        message: "printed nicely",
      }),
    );
    expect(documents).toContainEqual(
      expect.objectContaining({ level: "INFO", name: "actions", taskId: log.id, message: "by getTaskLogger" }),
    );
  });
});

describe("an app's hooks", () => {
  test("hear of every step of the worker and its children, and its services start and stop with them", async () => {
    await using scene = await stage([], { app: "hooks.ts", env: { HOOKS_CONCURRENCY: "3" } });
    const { worker, file, run } = scene;
    await worker.ready();
    expect(await run("hooks.add", [1, 2])).toBe(3);
    expect(await worker.term()).toEqual({ code: 0, signal: null });
    const lines = linesOf(file);
    const precedes = (first: string | RegExp, second: string | RegExp): void => {
      const at = (what: string | RegExp): number =>
        lines.findIndex((line) => (typeof what === "string" ? line === what : what.test(line)));
      expect([at(first), at(second)], `${first} and ${second} of\n${lines.join("\n")}`).not.toContain(-1);
      expect(at(first), `${first} before ${second} of\n${lines.join("\n")}`).toBeLessThan(at(second));
    };
    precedes("afterSetupLogger", "celerydInit");
    precedes("afterSetupTaskLogger", "celerydInit");
    precedes("celerydInit", "celerydAfterSetup");
    precedes("celerydAfterSetup", "workerInit");
    precedes("workerInit", "workerBeforeCreateProcess 1");
    precedes("workerBeforeCreateProcess 1", "workerProcessInit");
    precedes("workerProcessInit", /^probe starts on celery@.+ beside 3$/);
    precedes(/^probe starts/, "last starts, main thread true");
    precedes("last starts, main thread true", "workerReady");
    precedes("workerReady", "workerShuttingDown");
    precedes("workerShuttingDown", "last stops");
    precedes("last stops", "probe stops");
    precedes("probe stops", "workerProcessShutdown");
    precedes("workerProcessShutdown", "workerShutdown");
  });

  test("may take over the log, and a service may stop the worker with an exit code of its own", async () => {
    await using scene = await stage(["-P", "solo"], { app: "hooks.ts", env: { HOOKS_LOG: "1", HOOKS_STOP: "1" } });
    const { code } = await scene.worker.exited;
    expect(code).toBe(7);
    expect(linesOf(scene.file)).toContainEqual(expect.stringMatching(/^log info .*ready\./));
    expect(scene.worker.output).not.toContain("MainProcess] ");
  });

  test("may answer over HTTP how the worker is, as the example does", async () => {
    await using scene = await stage(["-c", "1"], {
      app: join("..", "..", "examples", "service", "app.ts"),
      env: { HEALTH_PORT: "0" },
    });
    const { worker } = scene;
    const line = await worker.printed(/health is told on port \d+/);
    const url = `http://127.0.0.1:${/port (\d+)/.exec(line)?.[1]}`;
    expect(await (await fetch(url)).json()).toEqual({
      hostname: expect.stringMatching(/^celery@/),
      active: 0,
      reserved: 0,
      scheduled: 0,
      processed: 0,
    });
    await worker.ready();
    expect((await fetch(`${url}/drain`, { method: "POST" })).status).toBe(202);
    expect(await worker.exited).toEqual({ code: 0, signal: null });
  });
});
