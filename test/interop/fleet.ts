import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { root } from "../helpers/build.ts";
import { type Child, startChild } from "../helpers/child.ts";
import { type PythonClient, startPythonClient } from "../helpers/python-client.ts";
import { celeryBin, describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { shapeOf } from "../helpers/shape.ts";
import { until } from "../helpers/until.ts";
import { pythonEnv, pythonFolder, startCeleryWorker, startWorker, type WorkerHandle } from "../helpers/worker.ts";

const python = "python@fleet";
const tq = "tq@fleet";
const both = [python, tq];

/** The replies of both workers to one question, by whoever asks. */
type Replies = Readonly<Record<string, unknown>>;
type Ask = (method: string, ...args: readonly unknown[]) => Promise<Replies>;

/** A client of either language: what it asks and tells both workers at once. */
interface Commander {
  readonly name: "Python" | "tq";
  readonly inspect: Ask;
  readonly control: (method: string, args: Readonly<Record<string, unknown>>) => Promise<Replies>;
}

/** Lines of a log at which an operator would look, but for what is said of the machine it runs on. */
const complaints = (worker: WorkerHandle): string[] =>
  worker.lines.filter(
    (line) => /(WARNING|ERROR|CRITICAL)\//.test(line) && !/superuser|Got shutdown|Control command error/.test(line),
  );

/** A fleet of a Python worker and a tq worker on one broker: whoever steers it cannot tell them apart. */
export function fleetOver(transport: "redis" | "amqp"): void {
  const needs =
    transport === "redis" ? (["redis-server", "celery"] as const) : (["vhost", "redis-server", "celery"] as const);
  describeWith(needs, `a mixed fleet over ${transport}`, () => {
    const servers: AsyncDisposable[] = [];
    let env: Record<string, string>;
    let pythonWorker: WorkerHandle;
    let tqWorker: WorkerHandle;
    let late: WorkerHandle | undefined;
    let client: PythonClient;
    let app: Tq;

    beforeAll(async () => {
      const redis = await freshRedis();
      servers.push(redis);
      let url = `${redis.url}/0`;
      if (transport === "amqp") {
        const vhost = await freshVhost();
        servers.push(vhost);
        url = vhost.url;
      }
      env = { TQ_BROKER_URL: url, TQ_RESULT_BACKEND: `${redis.url}/1`, TQ_SETTINGS: '{"worker_pool_restarts": true}' };
      app = new Tq("fleet", { broker: url, backend: env.TQ_RESULT_BACKEND as string });
      // tq first, with something revoked: what starts later learns of it.
      tqWorker = startWorker({
        args: ["-n", tq, "-c", "2", "-E", "-Q", "celery,for-tq"],
        env,
      });
      const starting = startPythonClient(env);
      await tqWorker.ready();
      await app.control.revoke("revoked-before", { reply: true, destination: tq, timeout: 10 });
      pythonWorker = startCeleryWorker({
        args: ["-n", python, "-c", "2", "-E", "-Q", "celery,for-python"],
        env,
        neighbourly: true,
      });
      await pythonWorker.ready({ timeout: 40 });
      client = await starting;
    });

    afterAll(async () => {
      await app?.close();
      for (const part of [client, late, tqWorker, pythonWorker, ...servers.reverse()])
        await part?.[Symbol.asyncDispose]();
    });

    test("its members mingle, whoever comes first", async () => {
      await pythonWorker.printed("mingle: sync with 1 nodes");
      await pythonWorker.printed("mingle: sync complete");
      await tqWorker.printed(`sync with ${python}`);
      const told = (await client.inspect("revoked", { destination: [python], timeout: 10 })) as Replies;
      expect(told[python]).toContain("revoked-before");
      late = startWorker({ args: ["-n", "late@fleet", "-P", "solo"], env });
      await late.printed("mingle: sync with 2 nodes");
      await pythonWorker.printed("sync with late@fleet");
      const known = await app.control.inspect({ destination: "late@fleet", timeout: 10 }).revoked();
      expect(known?.["late@fleet"]).toContain("revoked-before");
      await late.term();
    });

    for (const language of ["Python", "tq"] as const) {
      describe(`steered from ${language}`, () => {
        const options = { destination: both, timeout: 10 };
        const commander: Commander =
          language === "Python"
            ? {
                name: language,
                inspect: async (method, ...args) => (await client.inspect(method, options, ...args)) as Replies,
                control: async (method, args) =>
                  Object.assign(
                    {},
                    ...((await client.control("broadcast", [method], {
                      ...options,
                      arguments: args,
                      reply: true,
                    })) as Replies[]),
                  ) as Replies,
              }
            : {
                name: language,
                inspect: async (method, ...args) => {
                  const inspect = app.control.inspect(options) as unknown as Record<
                    string,
                    (...args: readonly unknown[]) => Promise<Replies>
                  >;
                  const name = method.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
                  return await (inspect[name] as (...args: readonly unknown[]) => Promise<Replies>).call(
                    inspect,
                    ...args,
                  );
                },
                control: async (method, args) =>
                  Object.assign(
                    {},
                    ...(await app.control.broadcast(method, args, { ...options, reply: true })),
                  ) as Replies,
              };

        /** What both answered, alike. */
        async function same(method: string, args: Readonly<Record<string, unknown>>, expected: unknown): Promise<void> {
          expect(await commander.control(method, args), method).toEqual({ [python]: expected, [tq]: expected });
        }

        test("both answer every question in the same shape", async () => {
          // Two for each: from one queue either may take all.
          for (const queue of ["for-python", "for-tq", "for-python", "for-tq"]) {
            await app.sendTask("wire.sleep", [60], { queue });
          }
          const busy = await until(async () => {
            const replies = await commander.inspect("active");
            return both.every((node) => (replies[node] as unknown[]).length === 2) && replies;
          });
          expect(shapeOf((busy[tq] as unknown[])[0])).toEqual(shapeOf((busy[python] as unknown[])[0]));
          const ids = both.flatMap((node) => (busy[node] as { id: string }[]).map(({ id }) => id));
          const found = await commander.inspect("query_task", ...ids);
          for (const node of both) {
            expect(Object.keys(found[node] as object), node).toHaveLength(2);
            expect(Object.values(found[node] as object).map(([state]: unknown[]) => state)).toEqual([
              "active",
              "active",
            ]);
          }
          for (const method of ["ping", "clock", "active_queues", "memdump", "report"] as const) {
            const replies = await commander.inspect(method);
            expect(shapeOf(replies[tq]), method).toEqual(shapeOf(replies[python]));
          }
          for (const method of ["reserved", "scheduled", "revoked", "registered", "conf", "memsample"] as const) {
            expect(Object.keys(await commander.inspect(method)).sort(), method).toEqual(both);
          }
          const stats = await commander.inspect("stats");
          for (const part of [
            (one: unknown) => one,
            (one: unknown) => (one as Record<string, unknown>).broker,
          ] as const) {
            expect(Object.keys(part(stats[tq]) as object).sort()).toEqual(
              Object.keys(part(stats[python]) as object).sort(),
            );
          }
          const { pool } = stats[python] as { pool: object };
          for (const key of Object.keys(pool)) expect((stats[tq] as { pool: object }).pool).toHaveProperty([key]);

          const ended = await commander.control("revoke", { task_id: ids, terminate: true, signal: "SIGKILL" });
          for (const node of both) expect(ended[node]).toEqual({ ok: expect.stringMatching(/^terminate: .*, /) });
          for (const id of ids) await until(async () => (await app.asyncResult(id).state()) === "REVOKED");
        });

        test("both show what waits for its time, in memory or parked", async () => {
          for (const queue of ["for-python", "for-tq"])
            await app.sendTask("wire.add", [1, 2], { queue, countdown: 3_600 });
          type Scheduled = { readonly eta: string; readonly request: { readonly id: string } };
          const shows = transport === "redis" ? both : [python];
          const waiting = await until(async () => {
            const replies = (await commander.inspect("scheduled")) as Record<string, readonly Scheduled[]>;
            return shows.every((node) => (replies[node] ?? []).length > 0) && replies;
          });
          // RabbitMQ shows nobody what it delays.
          if (transport === "amqp") return expect(waiting[tq]).toEqual([]);
          const [theirs, own] = both.map((node) => waiting[node]?.[0] as Scheduled);
          expect(shapeOf(own)).toEqual(shapeOf(theirs));
          expect(Math.abs(Date.parse(own?.eta as string) - Date.now() - 3_600_000)).toBeLessThan(120_000);
          const id = own?.request.id as string;
          const found = (await commander.inspect("query_task", id)) as Record<string, Record<string, unknown[]>>;
          expect(found[tq]?.[id]?.[0]).toBe("scheduled");
          expect(found[python]).toEqual({});
        });

        test("both do what they are told, and say so in the same words", async () => {
          const id = `revoked-by-${language}`;
          await same("revoke", { task_id: id }, { ok: `tasks {'${id}'} flagged as revoked` });
          await same("revoke", { task_id: [id], terminate: true }, { ok: "terminate: tasks unknown" });
          const stamps = { headers: { tenant: [id] } };
          await same("revoke_by_stamped_headers", stamps, {
            ok: `headers {'tenant': ['${id}']} flagged as revoked, but not terminated`,
          });
          await same(
            "rate_limit",
            { task_name: "wire.add", rate_limit: "100/m" },
            { ok: "new rate limit set successfully" },
          );
          await same(
            "rate_limit",
            { task_name: "wire.add", rate_limit: 0 },
            { ok: "rate limit disabled successfully" },
          );
          await same("rate_limit", { task_name: "nope", rate_limit: "1/s" }, { error: "unknown task" });
          await same(
            "rate_limit",
            { task_name: "wire.add", rate_limit: "abc" },
            {
              error: `Invalid rate limit string: ValueError("could not convert string to float: 'abc'")`,
            },
          );
          await same(
            "time_limit",
            { task_name: "wire.mul", hard: 60, soft: 30 },
            { ok: "time limits set successfully" },
          );
          await same("add_consumer", { queue: "dyn" }, { ok: "add consumer dyn" });
          const consumed = await until(async () => {
            const queues = (await commander.inspect("active_queues")) as Record<string, readonly { name: string }[]>;
            return both.every((node) => queues[node]?.some(({ name }) => name === "dyn")) && queues;
          });
          const [one, other] = both.map((node) => consumed[node]?.find(({ name }) => name === "dyn"));
          expect(shapeOf(other)).toEqual(shapeOf(one));
          await same("cancel_consumer", { queue: "dyn" }, { ok: "no longer consuming from dyn" });
          await same("pool_grow", { n: 1 }, { ok: "pool will grow" });
          await same("pool_shrink", { n: 1 }, { ok: "pool will shrink" });
          await same("autoscale", { max: 3, min: 1 }, { error: "ValueError('Autoscale not enabled')" });
          await same("enable_events", {}, { ok: "task events already enabled" });
          await same("disable_events", {}, { ok: "task events already disabled" });
          await same("heartbeat", {}, null);
          await same("nonsense", {}, { error: "KeyError('nonsense')" });
        });

        test("only those named or matching answer", async () => {
          if (language === "Python") {
            expect(await client.control("ping", [], { destination: [tq], timeout: 10 })).toEqual([
              { [tq]: { ok: "pong" } },
            ]);
            expect(await client.inspect("ping", { pattern: "tq*", matcher: "glob", limit: 1, timeout: 10 })).toEqual({
              [tq]: { ok: "pong" },
            });
            expect(
              await client.inspect("ping", { pattern: "(tq|x)@", matcher: "pcre", limit: 1, timeout: 10 }),
            ).toEqual({ [tq]: { ok: "pong" } });
          } else {
            const inspect = (pattern: string, matcher: "glob" | "pcre") =>
              app.control.inspect({ pattern, matcher, limit: 1, timeout: 10 }).ping();
            expect(await inspect("py*", "glob")).toEqual({ [python]: { ok: "pong" } });
            expect(await inspect("(py)thon", "pcre")).toEqual({ [python]: { ok: "pong" } });
          }
        });
      });
    }

    test("the commands of both show both, alike", async () => {
      const celery = (...args: string[]): Child =>
        startChild(join(celeryBin(), "celery"), ["-A", "wire", ...args], {
          cwd: pythonFolder,
          env: pythonEnv({ ...env, NO_COLOR: "1" }),
        });
      const ours = (...args: string[]): Child =>
        startChild(process.execPath, [join(root, "bin/tq.js"), ...args], {
          cwd: root,
          env: { ...process.env, ...env, NO_COLOR: "1" },
        });
      const names = both.join(",");
      const calls = [
        ["status", "-d", names, "-t", "20"],
        ["inspect", "ping", "-d", names, "-t", "20"],
        ["control", "rate_limit", "wire.add", "0", "-d", names, "-t", "20"],
      ];
      for (const args of calls) {
        const children = [celery(...args), ours(...args)];
        try {
          for (const child of children) expect(await child.exited, child.output).toEqual({ code: 0, signal: null });
          const [theirs, own] = children.map(({ lines }) => [...lines].sort().join("\n"));
          expect(own, args.join(" ")).toBe(theirs);
        } finally {
          for (const child of children) await child.kill();
        }
      }
    });

    test("nobody has anything to complain of but what was asked wrongly", () => {
      const expected =
        /unknown task|KeyError|nonsense|autoscale|Autoscale|rate limit|No such control|objgraph|terminat|SIGKILL|ForkPoolWorker|WorkerLost|psutil/i;
      for (const worker of [pythonWorker, tqWorker]) {
        expect(complaints(worker).filter((line) => !expected.test(line))).toEqual([]);
      }
      for (const line of [...pythonWorker.lines, ...tqWorker.lines])
        expect(line).not.toMatch(/mingle: sync with .* failed|Substantial drift|missed heartbeat/);
    });

    test("both stop when told, without a word", async () => {
      expect(await client.control("shutdown", [], { reply: true, timeout: 0.5 })).toEqual([]);
      for (const worker of [tqWorker, pythonWorker]) expect((await worker.exited).code).toBe(0);
    });
  });
}
