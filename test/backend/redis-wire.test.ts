import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";
import { expect, test } from "vitest";
import type { ResultBackend } from "../../src/backend/backend.ts";
import { type BackendOptions, defaultBackendOptions } from "../../src/backend/options.ts";
import { encodeRecord } from "../../src/backend/record.ts";
import { createRedisBackend } from "../../src/backend/redis/backend.ts";
import { createTaskMeta, type TaskMeta } from "../../src/protocol/task-meta.ts";
import { loadSerializer } from "../../src/serialization/registry.ts";
import { metaOf, recordOf } from "../contract/backend.ts";
import { startProxy } from "../fault/proxy.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { until } from "../helpers/until.ts";

async function kit() {
  const server = await freshRedis();
  const client = new Redis(server.url);
  client.on("error", () => undefined);
  const backends: ResultBackend[] = [];
  return {
    server,
    client,
    backend(options: Partial<BackendOptions> = {}, url = server.url): ResultBackend {
      const backend = createRedisBackend(url, { ...defaultBackendOptions, ...options });
      backends.push(backend);
      return backend;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(backends.map((backend) => backend.close()));
      client.disconnect();
      await server[Symbol.asyncDispose]();
    },
  };
}

interface Command {
  readonly db: number;
  readonly cmd: readonly string[];
}

function captured<Shape>(name: string): Shape {
  const path = new URL(`../fixtures/${name}.json`, import.meta.url);
  return (JSON.parse(readFileSync(path, "utf8")) as { captured: Shape }).captured;
}

const commandsOf = (name: string, command: string): string[][] =>
  captured<{ redis_commands: Command[] }>(name)
    .redis_commands.filter(({ db, cmd }) => db === 1 && cmd[0] === command)
    .map(({ cmd }) => [...cmd]);

async function collect(metas: AsyncIterable<TaskMeta>): Promise<TaskMeta[]> {
  const found: TaskMeta[] = [];
  for await (const meta of metas) found.push(meta);
  return found;
}

describeWith("redis-server", "the Redis result store's keys", () => {
  test.each(["result_success", "result_failure", "result_started", "result_group_saved"])(
    "%s: key, value, lifetime and channel are Celery's",
    async (name) => {
      await using all = await kit();
      const backend = all.backend();
      const heard: [string, string][] = [];
      const ear = all.client.duplicate();
      await ear.psubscribe("*");
      ear.on("pmessage", (_pattern, channel: string, payload: string) => heard.push([channel, payload]));
      const sets = commandsOf(name, "SETEX");
      expect(sets.length).toBeGreaterThan(0);
      for (const [, key, seconds, value] of sets as [string, string, string, string][]) {
        const id = key.replace(/^celery-task(set)?-meta-/, "");
        const document = JSON.parse(value);
        if (key.startsWith("celery-taskset")) await backend.saveGroup(id, document.result);
        else {
          const record = await encodeRecord(createTaskMeta(document), {
            serializer: "json",
            replyTo: null,
            correlationId: null,
          });
          await backend.store(record);
          expect(await backend.load(id)).toEqual(document);
        }
        expect(JSON.parse((await all.client.get(key)) as string)).toEqual(document);
        expect(Math.abs((await all.client.ttl(key)) - Number(seconds))).toBeLessThanOrEqual(2);
        await until(() => heard.length > 0);
        const [channel, payload] = heard.shift() as [string, string];
        expect([channel, JSON.parse(payload)]).toEqual([key, document]);
      }
      ear.disconnect();
    },
  );

  test("with expires null a value has no lifetime", async () => {
    await using all = await kit();
    const backend = all.backend({ expires: null });
    const meta = metaOf(1);
    await backend.store(recordOf(meta));
    await backend.saveGroup("g", [["g", null], []]);
    expect(await all.client.ttl(`celery-task-meta-${meta.task_id}`)).toBe(-1);
    expect(await all.client.ttl("celery-taskset-meta-g")).toBe(-1);
  });

  test("global_keyprefix stands before every key, with Celery's underscore", async () => {
    await using all = await kit();
    const { db1_midway: midway } = captured<{ db1_midway: Record<string, { value: unknown }> }>(
      "result_global_keyprefix",
    );
    const expected = Object.keys(midway).map((key) => key.replace(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/, "id"));
    const backend = all.backend({ transportOptions: { global_keyprefix: "bk" } });
    await backend.store(recordOf(metaOf(1, { task_id: "id" })));
    await backend.openChord("id", 2);
    await backend.addChordPart("id", { taskId: "id", index: 0, state: "SUCCESS", result: 2 });
    const keys = await all.client.keys("*");
    expect(keys.filter((key) => !key.includes("tq:")).sort()).toEqual([...new Set(expected)].sort());
    expect(keys.every((key) => key.startsWith("bk_"))).toBe(true);
    const other = all.backend({ transportOptions: { global_keyprefix: "bk:" } });
    await other.store(recordOf(metaOf(1, { task_id: "x" })));
    expect(await all.client.exists("bk:celery-task-meta-x")).toBe(1);
  });

  test("a SUCCESS is known whatever serializer wrote it, and whatever order its keys have", async () => {
    await using all = await kit();
    // A SUCCESS and another result as a real worker wrote them with this serializer.
    const python = (name: string, success: boolean): Buffer => {
      const keys = captured<Record<string, { value: unknown }>>(`result_serializer_${name}`);
      for (const [key, { value }] of Object.entries(keys)) {
        if (!key.startsWith("celery-task-meta-")) continue;
        const bytes =
          typeof value === "string"
            ? Buffer.from(value)
            : Buffer.from((value as { readonly __b64__: string }).__b64__, "base64");
        if (bytes.includes("SUCCESS") === success) return bytes;
      }
      throw new Error(`${name} has no such result`);
    };
    const backend = all.backend();
    const stored: Record<string, Buffer> = {
      pickle: python("pickle", true),
      yaml: python("yaml", true),
      msgpack: python("msgpack", true),
      "our msgpack": Buffer.from((await loadSerializer("msgpack")).encode(createTaskMeta(metaOf("x")))),
      "by hand": Buffer.from('{"result": {"status": "FAILURE"}, "status": "SUCCESS"}'),
    };
    for (const [name, value] of Object.entries(stored)) {
      await all.client.set(`celery-task-meta-${name}`, value);
      await backend.store(recordOf(metaOf("late", { task_id: name, status: "FAILURE" })));
      expect(await all.client.getBuffer(`celery-task-meta-${name}`), name).toEqual(value);
    }
    const open: Record<string, string | Buffer> = {
      "a failure in pickle": python("pickle", false),
      "a failure in yaml": python("yaml", false),
      "a failure in msgpack": python("msgpack", false),
      "progress named SUCCESS": '{"status": "PROGRESS", "result": {"status": "SUCCESS"}, "task_id": "x"}',
      "a failure": '{"result": "SUCCESS", "status": "FAILURE"}',
      garbage: "{nonsense",
      "yaml failure": "result: SUCCESS\nstatus: FAILURE\n",
    };
    for (const [name, value] of Object.entries(open)) {
      await all.client.set(`celery-task-meta-${name}`, value);
      await backend.store(recordOf(metaOf("new", { task_id: name })));
      expect((await backend.load(name))?.result, name).toBe("new");
    }
  });

  test("results of other serializers are stored as bytes, and read where they are accepted", async () => {
    await using all = await kit();
    const accept = new Set(["application/x-msgpack"]);
    const backend = all.backend({ serializer: "msgpack", accept });
    const meta = createTaskMeta({ task_id: "m", status: "SUCCESS", result: { n: 1 } });
    await backend.store(await encodeRecord(meta, { serializer: "msgpack", replyTo: null, correlationId: null }));
    expect((await all.client.getBuffer("celery-task-meta-m"))?.[0]).toBe(0x86);
    expect(await backend.load("m")).toEqual(meta);
    expect(await collect(backend.watch(["m"], {}))).toEqual([meta]);
    await expect(all.backend().load("m")).rejects.toMatchObject({ name: "ContentDisallowed" });
  });
});

describeWith("redis-server", "the Redis result store's chords", () => {
  const part = (taskId: string, index: number | null, result: unknown = index) =>
    ({ taskId, index, state: "SUCCESS", result }) as const;

  test("stand as Celery's do, midway", async () => {
    await using all = await kit();
    const [adds] = commandsOf("chord_success", "ZADD") as [string[]];
    const [, key, score, member] = adds as [string, string, string, string];
    const group = key.replace(/^celery-taskset-meta-(.*)\.j$/, "$1");
    const [, taskId, state, result] = JSON.parse(member) as [number, string, string, unknown];
    const backend = all.backend();
    await backend.openChord(group, 2);
    await backend.addChordPart(group, { taskId, index: Number(score), state, result });
    expect(await all.client.zrange(key, "0", "-1")).toEqual([member]);
    expect(await all.client.zscore(key, member)).toBe(score);
    expect(await all.client.get(`celery-taskset-meta-${group}.s`)).toBe("2");
    for (const suffix of ["j", "s"]) {
      expect(await all.client.ttl(`celery-taskset-meta-${group}.${suffix}`)).toBeGreaterThan(86_390);
    }
    await backend.closeChord(group);
    expect(await all.client.dbsize()).toBe(0);
  });

  test("count the parts that Python workers bring, and those that were added later", async () => {
    await using all = await kit();
    const backend = all.backend();
    await backend.openChord("g", 2);
    await all.client.zadd("celery-taskset-meta-g.j", 0, '[1, "py", "SUCCESS", 10]');
    await all.client.incrby("celery-taskset-meta-g.t", 1);
    expect(await backend.addChordPart("g", part("b", 2))).toBeUndefined();
    expect(await backend.addChordPart("g", part("a", 1))).toEqual([part("py", 0, 10), part("a", 1), part("b", 2)]);
  });

  test("count a task once, also when a Python worker counted it before", async () => {
    await using all = await kit();
    const backend = all.backend();
    await backend.openChord("g", 2);
    await all.client.zadd("celery-taskset-meta-g.j", 0, '[1, "a", "SUCCESS", 1.0]');
    expect(await backend.addChordPart("g", part("a", 0, 1))).toBeUndefined();
    expect(await all.client.zcard("celery-taskset-meta-g.j")).toBe(1);
    expect(await backend.addChordPart("g", part("b", 0, 2))).toHaveLength(2);
  });

  test("without order are a list, as with result_chord_ordered off", async () => {
    await using all = await kit();
    const backend = all.backend({ transportOptions: { result_chord_ordered: false } });
    await backend.openChord("g", 2);
    await backend.addChordPart("g", part("b", 1, 3));
    expect(await all.client.lrange("celery-taskset-meta-g.j", 0, -1)).toEqual(['[1, "b", "SUCCESS", 3]']);
    const parts = await backend.addChordPart("g", part("a", 0, 2));
    expect(parts?.map(({ taskId, result }) => [taskId, result])).toEqual([
      ["b", 3],
      ["a", 2],
    ]);
  });

  test("are handed out again to the task that fired them and died before it could tell", async () => {
    await using all = await kit();
    const [one, two] = [all.backend(), all.backend()];
    await one.openChord("g", 2);
    await one.addChordPart("g", part("a", 0));
    expect(await one.addChordPart("g", part("b", 1))).toHaveLength(2);
    // Its message comes again to another worker, at once.
    expect(await two.addChordPart("g", part("b", 1))).toHaveLength(2);
    expect(await two.addChordPart("g", part("a", 0))).toBeUndefined();
    // And once more, while the one before is still at it, and gets it done.
    const third = one.addChordPart("g", part("b", 1));
    await two.closeChord("g");
    expect(await third).toBeUndefined();
    expect(await two.addChordPart("g", part("b", 1))).toBeUndefined();
  });
});

describeWith("redis-server", "the Redis result store and a bad link", () => {
  test("waiters outlive a lost connection and miss nothing that was stored meanwhile", async () => {
    await using all = await kit();
    await using proxy = await startProxy(all.server.url);
    const reader = all.backend({}, proxy.url);
    const writer = all.backend();
    const metas = Array.from({ length: 30 }, (_, index) => metaOf(index));
    const watching = collect(
      reader.watch(
        metas.map(({ task_id }) => task_id),
        {},
      ),
    );
    await until(async () => (await all.client.pubsub("NUMSUB", `celery-task-meta-${metas[0]?.task_id}`))[1] === 1);
    await writer.store(recordOf(metas[0] as TaskMeta));
    proxy.cut();
    await Promise.all(metas.slice(1, 20).map((meta) => writer.store(recordOf(meta))));
    proxy.restore();
    await Promise.all(metas.slice(20).map((meta) => writer.store(recordOf(meta))));
    expect((await watching).map(({ result }) => result).sort()).toEqual(metas.map(({ result }) => result).sort());
  });

  test("a store rejects when patience ends, and goes through when the link is back before", async () => {
    await using all = await kit();
    await using proxy = await startProxy(all.server.url);
    const backend = all.backend({ transportOptions: { retry_policy: { timeout: 1.5 } } }, proxy.url);
    await backend.store(recordOf(metaOf(1)));
    proxy.cut();
    const began = performance.now();
    await expect(backend.store(recordOf(metaOf(2)))).rejects.toMatchObject({ name: "BackendConnectionError" });
    expect(performance.now() - began).toBeLessThan(4_000);
    const meta = metaOf(3);
    const storing = backend.store(recordOf(meta));
    proxy.restore();
    await storing;
    expect((await backend.load(meta.task_id))?.result).toBe(3);
  });

  test("10,000 are awaited on one connection, which is told them in few commands", async () => {
    await using all = await kit();
    const backend = all.backend();
    const ids = Array.from({ length: 10_000 }, () => randomUUID());
    const watching = collect(backend.watch(ids, { signal: AbortSignal.timeout(20_000) }));
    await until(async () => (await all.client.pubsub("NUMSUB", `celery-task-meta-${ids.at(-1)}`))[1] === 1);
    const stats = (await all.client.info("commandstats")) as string;
    const calls = (command: string): number => Number(new RegExp(`cmdstat_${command}:calls=(\\d+)`).exec(stats)?.[1]);
    expect(calls("subscribe")).toBe(10);
    await Promise.all(ids.map((task_id, index) => backend.store(recordOf(metaOf(index, { task_id })))));
    expect(await watching).toHaveLength(10_000);
    await until(async () => (await all.client.pubsub("NUMSUB", `celery-task-meta-${ids[0]}`))[1] === 0);
  });

  test("a server that cannot be reached is said, without its password", async () => {
    const backend = createRedisBackend("redis://:s3cret@127.0.0.1:1/0", {
      ...defaultBackendOptions,
      transportOptions: { retry_policy: { timeout: 0.1 } },
    });
    const error = await backend.load("x").catch((reason: Error) => reason);
    expect(error).toMatchObject({ name: "BackendConnectionError" });
    expect(String(error)).not.toContain("s3cret");
    await backend.close();
  });
});
