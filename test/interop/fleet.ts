import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Tq } from "../../src/app/app.ts";
import { isAlive } from "../helpers/child.ts";
import { sections, startCommands } from "../helpers/commands.ts";
import { type PythonClient, startPythonClient } from "../helpers/python-client.ts";
import { describeWith, freshRedis, freshVhost } from "../helpers/services.ts";
import { shapeOf } from "../helpers/shape.ts";
import { until } from "../helpers/until.ts";
import { startCeleryWorker, startWorker, type WorkerHandle } from "../helpers/worker.ts";

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

/** What was printed of each node, but for its numbers and the names of its files. */
function sameWords(output: string): Record<string, string> {
  const words = (lines: readonly string[]): string =>
    lines
      .join("\n")
      .replace(/tq-heap-\w+/g, "")
      .replace(/\d+(\.\d+)?/g, "#");
  return Object.fromEntries(Object.entries(sections(output)).map(([node, lines]) => [node, words(lines)]));
}

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
          // Celery ends a process that has nothing to do: those that were killed above have their successors by then.
          await until(async () => {
            const stats = (await commander.inspect("stats"))[python] as { pool: { processes: number[] } };
            const { processes } = stats.pool;
            return processes.length === 3 && processes.every(isAlive);
          });
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

    test("every command of both command lines shows and steers both, in the same words", async () => {
      await using celery = startCommands("Python", env);
      await using ours = startCommands("tq", env);
      const to = ["-d", both.join(","), "-t", "20"];
      const inspect = [
        ...[
          "active",
          "active_queues",
          "clock",
          "conf",
          "memdump",
          "memdump 2",
          "memsample",
          "objgraph",
          "ping",
          "registered",
        ],
        ...["report", "reserved", "revoked", "scheduled", "stats", "query_task nobody"],
      ];
      const control = [
        ...["add_consumer dyn", "cancel_consumer dyn", "autoscale 3 1", "enable_events", "disable_events"],
        ...["enable_events", "election", "heartbeat", "pool_grow 1", "pool_shrink 1", "rate_limit wire.add 0"],
        ...["revoke nobody", "revoke_by_stamped_headers tenant=nobody", "terminate SIGTERM nobody"],
        "time_limit wire.mul 60 30",
      ];
      await app.control.inspect({ destination: both, timeout: 10 }).memdump(); // forgets the samples of other tests
      const refused = { autoscale: both, election: both, objgraph: [python] };
      const calls = [
        ["status"],
        ...inspect.map((one) => ["inspect", ...one.split(" ")]),
        ...control.map((one) => ["control", ...one.split(" ")]),
      ];
      for (const call of calls) {
        const [theirs, own] = await Promise.all([celery.run("-A", "wire", ...call, ...to), ours.run(...call, ...to)]);
        const name = call.join(" ");
        expect([theirs.code, own.code], `${name}:\n${theirs.output}\n${own.output}`).toEqual([0, 0]);
        expect(sameWords(own.output), name).toEqual(sameWords(theirs.output));
        const errors = refused[call[1] as keyof typeof refused] ?? [];
        for (const node of both) {
          expect(sections(own.output)[node]?.[0], `${name} of ${node}`).toBe(errors.includes(node) ? "ERROR" : "OK");
        }
        for (const { output } of [theirs, own]) {
          expect(output).not.toMatch(/Traceback/);
          const snapshot = /"filename": "(.*\.heapsnapshot)"/.exec(output)?.[1];
          if (snapshot !== undefined) rmSync(dirname(snapshot), { recursive: true });
        }
      }
      // What Celery keeps to itself is kept here too; programs read both alike.
      for (const commands of [celery, ours]) {
        const wire = commands === celery ? ["-A", "wire"] : [];
        expect((await commands.run(...wire, "inspect", "hello", ...to)).code).toBe(2);
        const { output } = await commands.run(...wire, "inspect", "ping", "--json", ...to);
        expect(JSON.parse(output)).toEqual({ [python]: { ok: "pong" }, [tq]: { ok: "pong" } });
      }
    });

    test("nobody has anything to complain of but what was asked wrongly", () => {
      const expected =
        /unknown task|KeyError|nonsense|autoscale|Autoscale|election|rate limit|No such control|objgraph|terminat|SIGKILL|ForkPoolWorker|WorkerLost|psutil/i;
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
