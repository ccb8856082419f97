import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { ChordPart, ResultBackend } from "../../src/backend/backend.ts";
import type { BackendOptions } from "../../src/backend/options.ts";
import type { ResultRecord } from "../../src/backend/record.ts";
import type { TaskMeta } from "../../src/protocol/task-meta.ts";
import { until } from "../helpers/until.ts";

/** What a store cannot do, so that the sentence about it is skipped by name. All true when left out. */
export interface BackendCapabilities {
  /** Another connection sees results stored through the first. */
  readonly shared: boolean;
  /** Results outlive their first reader; states that are not ready can be loaded. */
  readonly persistent: boolean;
  readonly groups: boolean;
  readonly chords: boolean;
  /** Results are gone after `expires` seconds. */
  readonly expiry: boolean;
}

/** One store and ways into it. */
export interface BackendFixture {
  /** A further backend object on the same store, as another process would have. */
  connect(overrides?: Partial<BackendOptions>): Promise<ResultBackend>;
  readonly capabilities?: Partial<BackendCapabilities>;
  dispose(): PromiseLike<void>;
}

/** A meta as a worker would make it; a SUCCESS with the result given unless told otherwise. */
export function metaOf(result: unknown, overrides: Partial<TaskMeta> = {}): TaskMeta {
  return {
    task_id: randomUUID(),
    status: "SUCCESS",
    result,
    traceback: null,
    children: [],
    date_done: "2026-02-03T04:05:06.789012+00:00",
    ...overrides,
  };
}

/** The record of a meta, in JSON, addressed to whoever asked. */
export function recordOf(meta: TaskMeta, reader?: ResultBackend): ResultRecord {
  return {
    taskId: meta.task_id,
    state: meta.status,
    contentType: "application/json",
    contentEncoding: "utf-8",
    body: JSON.stringify(meta),
    binary: false,
    replyTo: reader?.replyTo || null,
    correlationId: meta.task_id,
  };
}

/** Defines the tests every result store must pass. `make` is called once per suite. */
export function backendContract(name: string, make: () => Promise<BackendFixture>): void {
  describe(`${name} keeps the result store's contract:`, () => {
    let fixture: BackendFixture;
    let open: ResultBackend[] = [];

    beforeAll(async () => {
      fixture = await make();
    });
    afterAll(async () => {
      await fixture?.dispose();
    });
    afterEach(async () => {
      await Promise.all(open.map((backend) => backend.close()));
      open = [];
    });

    const can = (capability: keyof BackendCapabilities): boolean => fixture.capabilities?.[capability] ?? true;
    const connect = async (overrides?: Partial<BackendOptions>): Promise<ResultBackend> => {
      const backend = await fixture.connect(overrides);
      open.push(backend);
      await backend.prepare();
      return backend;
    };
    /** A writer and a reader: two connections where the store is shared. */
    const pair = async (): Promise<[writer: ResultBackend, reader: ResultBackend]> => {
      const reader = await connect();
      return [can("shared") ? await connect() : reader, reader];
    };
    const loaded = (backend: ResultBackend, taskId: string, state = "SUCCESS"): Promise<TaskMeta> =>
      until(
        async () => {
          const meta = await backend.load(taskId);
          return meta?.status === state ? meta : undefined;
        },
        { timeout: 5, message: `${taskId} to be ${state}` },
      ) as Promise<TaskMeta>;
    const collect = async (metas: AsyncIterable<TaskMeta>): Promise<TaskMeta[]> => {
      const found: TaskMeta[] = [];
      for await (const meta of metas) found.push(meta);
      return found;
    };
    const failure = (message: string, overrides: Partial<TaskMeta> = {}): TaskMeta =>
      metaOf(
        { exc_type: "ValueError", exc_message: [message], exc_module: "builtins" },
        { status: "FAILURE", traceback: "Traceback (most recent call last): …", ...overrides },
      );

    describe("results", () => {
      test("nothing is known of an id never stored", async () => {
        const backend = await connect();
        expect(await backend.load(randomUUID())).toBeUndefined();
      });

      test("a stored meta comes back as it was, key for key", async () => {
        const [writer, reader] = await pair();
        const meta = metaOf(
          { sum: 4, text: "Zoë 李 🎈", list: [1, null, true, { deep: [] }], big: 2 ** 40, half: 0.5 },
          {
            children: [[["child-1", [["parent-1", null], null]], null]],
            group_id: "g1",
            parent_id: "p1",
            name: "proj.add",
            args: [2, 2],
            kwargs: {},
            worker: "w1@host",
            retries: 1,
            queue: "celery",
          },
        );
        await writer.store(recordOf(meta, reader));
        expect(await loaded(reader, meta.task_id)).toEqual(meta);
      });

      test("a failure keeps type, arguments, module and traceback", async () => {
        const [writer, reader] = await pair();
        const meta = failure("bad");
        await writer.store(recordOf(meta, reader));
        expect(await loaded(reader, meta.task_id, "FAILURE")).toEqual(meta);
      });

      test("a result of 2 MB passes", async () => {
        const [writer, reader] = await pair();
        const meta = metaOf("x".repeat(2_000_000));
        await writer.store(recordOf(meta, reader));
        expect((await loaded(reader, meta.task_id)).result === meta.result).toBe(true);
      });

      test("many stored in one tick are all kept", async () => {
        const [writer, reader] = await pair();
        const metas = Array.from({ length: 200 }, (_, index) => metaOf(index));
        await Promise.all(metas.map((meta) => writer.store(recordOf(meta, reader))));
        const results = await Promise.all(metas.map(async ({ task_id }) => (await loaded(reader, task_id)).result));
        expect(results).toEqual(metas.map(({ result }) => result));
      });

      test("a later state replaces an earlier one", async ({ skip }) => {
        if (!can("persistent")) skip();
        const [writer, reader] = await pair();
        const task_id = randomUUID();
        for (const status of ["STARTED", "PROGRESS", "RETRY", "FAILURE", "SUCCESS"]) {
          await writer.store(recordOf(metaOf(status, { task_id, status }), reader));
          expect((await loaded(reader, task_id, status)).result).toBe(status);
        }
      });

      test("SUCCESS is never replaced, not even by another SUCCESS", async ({ skip }) => {
        if (!can("persistent")) skip();
        const [writer, reader] = await pair();
        const meta = metaOf("first");
        await writer.store(recordOf(meta, reader));
        await writer.store(recordOf(failure("late", { task_id: meta.task_id }), reader));
        await writer.store(recordOf(metaOf(null, { task_id: meta.task_id, status: "STARTED" }), reader));
        await reader.store(recordOf(metaOf("second", { task_id: meta.task_id }), reader));
        expect(await reader.load(meta.task_id)).toEqual(meta);
      });

      test("SUCCESS among many states stored at once stays", async ({ skip }) => {
        if (!can("persistent")) skip();
        const [writer, reader] = await pair();
        const meta = metaOf("won");
        await Promise.all(
          Array.from({ length: 40 }, (_, index) => {
            const other = failure(String(index), { task_id: meta.task_id });
            return (index % 2 ? writer : reader).store(recordOf(index === 20 ? meta : other, reader));
          }),
        );
        expect(await reader.load(meta.task_id)).toEqual(meta);
      });

      test("a forgotten result is unknown, and may be stored anew", async ({ skip }) => {
        if (!can("persistent")) skip();
        const [writer, reader] = await pair();
        const meta = metaOf("first");
        await writer.store(recordOf(meta, reader));
        await reader.forget(meta.task_id);
        expect(await writer.load(meta.task_id)).toBeUndefined();
        await reader.forget(meta.task_id);
        await writer.store(recordOf(failure("after", { task_id: meta.task_id }), reader));
        expect((await reader.load(meta.task_id))?.status).toBe("FAILURE");
      });

      test("results outlive the connection that stored them", async ({ skip }) => {
        if (!can("shared") || !can("persistent")) skip();
        const [writer, reader] = await pair();
        const meta = metaOf("kept");
        await writer.store(recordOf(meta, reader));
        await writer.close();
        expect(await (await connect()).load(meta.task_id)).toEqual(meta);
      });

      test("results expire", async ({ skip }) => {
        if (!can("expiry")) skip();
        const backend = await connect({ expires: 1 });
        const meta = metaOf("short-lived");
        await backend.store(recordOf(meta, backend));
        expect(await backend.load(meta.task_id)).toEqual(meta);
        await until(async () => (await backend.load(meta.task_id)) === undefined, { timeout: 4 });
        expect(await backend.cleanup()).toBeGreaterThanOrEqual(0);
      });

      test("with expires null results are kept", async ({ skip }) => {
        if (!can("persistent")) skip();
        const backend = await connect({ expires: null });
        const meta = metaOf("for ever");
        await backend.store(recordOf(meta, backend));
        await backend.cleanup();
        expect(await backend.load(meta.task_id)).toEqual(meta);
      });
    });

    describe("watching", () => {
      test("yields what is ready already at once", async () => {
        const [writer, reader] = await pair();
        const metas = [metaOf(1), failure("two")];
        for (const meta of metas) await writer.store(recordOf(meta, reader));
        const found = await collect(
          reader.watch(
            metas.map(({ task_id }) => task_id),
            { signal: AbortSignal.timeout(5_000) },
          ),
        );
        expect(found.map(({ task_id }) => task_id).sort()).toEqual(metas.map(({ task_id }) => task_id).sort());
      });

      test("yields each meta once as it becomes ready, and ends after the last", async () => {
        const [writer, reader] = await pair();
        const metas = [metaOf(1), metaOf(2), failure("three")];
        const order: unknown[] = [];
        const watching = (async () => {
          const ids = metas.map(({ task_id }) => task_id);
          for await (const meta of reader.watch([...ids, ...ids], { signal: AbortSignal.timeout(10_000) })) {
            order.push(meta.task_id);
          }
        })();
        for (const [index, meta] of metas.entries()) {
          await delay(20);
          await writer.store(recordOf(metaOf(null, { task_id: meta.task_id, status: "STARTED" }), reader));
          await writer.store(recordOf(meta, reader));
          await until(() => order.length === index + 1, { timeout: 5 });
        }
        await watching;
        expect(order).toEqual(metas.map(({ task_id }) => task_id));
      });

      test("wakes within 50 ms", async () => {
        const [writer, reader] = await pair();
        const times: number[] = [];
        for (let round = 0; round < 7; round += 1) {
          const meta = metaOf(round);
          const watching = collect(reader.watch([meta.task_id], { signal: AbortSignal.timeout(5_000) }));
          await delay(30);
          const began = performance.now();
          await writer.store(recordOf(meta, reader));
          await watching;
          times.push(performance.now() - began);
        }
        times.sort((a, b) => a - b);
        expect(times[3]).toBeLessThan(50);
      });

      test("loses nothing that is stored while the watch begins", async () => {
        const [writer, reader] = await pair();
        for (let round = 0; round < 20; round += 1) {
          const meta = metaOf(round);
          const stored = writer.store(recordOf(meta, reader));
          const [found] = await collect(reader.watch([meta.task_id], { signal: AbortSignal.timeout(5_000) }));
          expect(found?.result).toBe(round);
          await stored;
        }
      });

      test("with intermediate also yields every state on the way", async () => {
        const [writer, reader] = await pair();
        const task_id = randomUUID();
        const states: string[] = [];
        const watching = (async () => {
          const options = { intermediate: true, signal: AbortSignal.timeout(10_000) };
          for await (const meta of reader.watch([task_id], options)) states.push(meta.status);
        })();
        await delay(50);
        for (const status of ["STARTED", "PROGRESS", "SUCCESS"]) {
          await writer.store(recordOf(metaOf(status, { task_id, status }), reader));
          await until(() => states.includes(status), { timeout: 5, message: status });
        }
        await watching;
        expect(states).toEqual(["STARTED", "PROGRESS", "SUCCESS"]);
      });

      test("serves hundreds of waiters at once", async () => {
        const [writer, reader] = await pair();
        const metas = Array.from({ length: 300 }, (_, index) => metaOf(index));
        const watching = metas.map(({ task_id }) =>
          collect(reader.watch([task_id], { signal: AbortSignal.timeout(10_000) })),
        );
        await Promise.all(metas.map((meta) => writer.store(recordOf(meta, reader))));
        const found = await Promise.all(watching);
        expect(found.map(([meta]) => meta?.result)).toEqual(metas.map(({ result }) => result));
      });

      test("two waiters for one task both get it", async () => {
        const [writer, reader] = await pair();
        const meta = metaOf("shared");
        const watch = (): Promise<TaskMeta[]> =>
          collect(reader.watch([meta.task_id], { signal: AbortSignal.timeout(5_000) }));
        const both = Promise.all([watch(), watch()]);
        await writer.store(recordOf(meta, reader));
        expect((await both).flat().map(({ result }) => result)).toEqual(["shared", "shared"]);
      });

      test("of no tasks ends at once", async () => {
        const backend = await connect();
        expect(await collect(backend.watch([], {}))).toEqual([]);
      });

      test("rejects with the signal's reason when it aborts", async () => {
        const backend = await connect();
        const reason = new Error("enough");
        const controller = new AbortController();
        const watching = collect(backend.watch([randomUUID()], { signal: controller.signal }));
        const settled = expect(watching).rejects.toBe(reason);
        await delay(20);
        controller.abort(reason);
        await settled;
        await expect(collect(backend.watch([randomUUID()], { signal: AbortSignal.abort(reason) }))).rejects.toBe(
          reason,
        );
      });

      test("can be left early and begun again", async () => {
        const [writer, reader] = await pair();
        const metas = [metaOf(1), metaOf(2)];
        const ids = metas.map(({ task_id }) => task_id);
        await writer.store(recordOf(metas[0] as TaskMeta, reader));
        for await (const meta of reader.watch(ids, { signal: AbortSignal.timeout(5_000) })) {
          expect(meta.task_id).toBe(ids[0]);
          break;
        }
        await writer.store(recordOf(metas[1] as TaskMeta, reader));
        const [found] = await collect(reader.watch([ids[1] as string], { signal: AbortSignal.timeout(5_000) }));
        expect(found?.result).toBe(2);
      });

      test("ends with BackendConnectionError when the backend is closed", async () => {
        const backend = await connect();
        const watching = collect(backend.watch([randomUUID()], {}));
        const settled = expect(watching).rejects.toMatchObject({ name: "BackendConnectionError" });
        await delay(20);
        await backend.close();
        await settled;
      });
    });

    describe("groups", () => {
      test("are saved, loaded and forgotten", async ({ skip }) => {
        if (!can("groups")) skip();
        const [writer, reader] = await pair();
        const id = randomUUID();
        expect(await reader.loadGroup(id)).toBeUndefined();
        const tuple = [
          [id, null],
          [
            [["a", null], null],
            [["b", null], null],
          ],
        ] as const;
        await writer.saveGroup(id, tuple);
        expect(await reader.loadGroup(id)).toEqual(tuple);
        await reader.forgetGroup(id);
        expect(await writer.loadGroup(id)).toBeUndefined();
        await reader.forgetGroup(id);
      });
    });

    describe("chords", () => {
      const part = (index: number | null, overrides: Partial<ChordPart> = {}): ChordPart => ({
        taskId: randomUUID(),
        index,
        state: "SUCCESS",
        result: { value: index },
        ...overrides,
      });

      test("give all parts in group order to the one that brings the last", async ({ skip }) => {
        if (!can("chords")) skip();
        const [one, two] = await pair();
        const id = randomUUID();
        await one.openChord(id, 3);
        const parts = [part(2), part(0), part(1)] as const;
        expect(await one.addChordPart(id, parts[0])).toBeUndefined();
        expect(await two.addChordPart(id, parts[1])).toBeUndefined();
        expect(await one.addChordPart(id, parts[2])).toEqual([parts[1], parts[2], parts[0]]);
        await one.closeChord(id);
      });

      test("fire for exactly one of many callers at once", async ({ skip }) => {
        if (!can("chords")) skip();
        const [one, two] = await pair();
        const id = randomUUID();
        const size = 50;
        await one.openChord(id, size);
        const answers = await Promise.all(
          Array.from({ length: size }, (_, index) => (index % 2 ? one : two).addChordPart(id, part(index))),
        );
        const fired = answers.filter((answer) => answer !== undefined);
        expect(fired).toHaveLength(1);
        expect(fired[0]?.map(({ index }) => index)).toEqual(Array.from({ length: size }, (_, index) => index));
        await one.closeChord(id);
      });

      test("count a part once per task id", async ({ skip }) => {
        if (!can("chords")) skip();
        const [one, two] = await pair();
        const id = randomUUID();
        await one.openChord(id, 2);
        const [first, second] = [part(0), part(1)];
        expect(await one.addChordPart(id, first)).toBeUndefined();
        expect(await two.addChordPart(id, first)).toBeUndefined();
        expect(await two.addChordPart(id, second)).toHaveLength(2);
        expect(await one.addChordPart(id, first)).toBeUndefined();
        await one.closeChord(id);
        expect(await one.addChordPart(id, second)).toBeUndefined();
      });

      test("keep failures and their place; parts without a place come last", async ({ skip }) => {
        if (!can("chords")) skip();
        const backend = await connect();
        const id = randomUUID();
        await backend.openChord(id, 3);
        const failed = part(0, {
          state: "FAILURE",
          result: { exc_type: "ValueError", exc_message: ["bad"], exc_module: "builtins" },
        });
        const [late, placeless] = [part(1), part(null)];
        await backend.addChordPart(id, placeless);
        await backend.addChordPart(id, late);
        expect(await backend.addChordPart(id, failed)).toEqual([failed, late, placeless]);
        await backend.closeChord(id);
      });

      test("can grow while they are open", async ({ skip }) => {
        if (!can("chords")) skip();
        const [one, two] = await pair();
        const id = randomUUID();
        await one.openChord(id, 2);
        expect(await one.addChordPart(id, part(0))).toBeUndefined();
        await two.openChord(id, 1, { grow: "one more" });
        await one.openChord(id, 1, { grow: "one more" });
        expect(await one.addChordPart(id, part(1))).toBeUndefined();
        expect(await one.addChordPart(id, part(2))).toHaveLength(3);
        await one.closeChord(id);
      });

      test("give the task that completed them all parts again, unless they are closed: it may have died meanwhile", async ({
        skip,
      }) => {
        if (!can("chords")) skip();
        const [one, two] = await pair();
        const [left, closed] = [randomUUID(), randomUUID()];
        const [first, last] = [part(0), part(1)];
        for (const id of [left, closed]) {
          await one.openChord(id, 2);
          await one.addChordPart(id, first);
          expect(await one.addChordPart(id, last)).toEqual([first, last]);
          expect(await two.addChordPart(id, first)).toBeUndefined();
        }
        const again = [left, closed].map((id) => two.addChordPart(id, last));
        await one.closeChord(closed);
        expect(await Promise.all(again)).toEqual([[first, last], undefined]);
        await one.closeChord(left);
      });

      test("do not mix", async ({ skip }) => {
        if (!can("chords")) skip();
        const backend = await connect();
        const [a, b] = [randomUUID(), randomUUID()];
        await backend.openChord(a, 2);
        await backend.openChord(b, 1);
        expect(await backend.addChordPart(a, part(0))).toBeUndefined();
        expect(await backend.addChordPart(b, part(0))).toHaveLength(1);
        expect(await backend.addChordPart(a, part(1))).toHaveLength(2);
        await Promise.all([backend.closeChord(a), backend.closeChord(b)]);
      });

      test("of 500 parts are joined in order", async ({ skip }) => {
        if (!can("chords")) skip();
        const backend = await connect();
        const id = randomUUID();
        await backend.openChord(id, 500);
        const answers = await Promise.all(
          Array.from({ length: 500 }, (_, index) => backend.addChordPart(id, part(499 - index))),
        );
        const joined = answers.find((answer) => answer !== undefined);
        expect(joined?.map(({ index }) => index)).toEqual(Array.from({ length: 500 }, (_, index) => index));
        await backend.closeChord(id);
      });
    });

    describe("life", () => {
      test("prepare may be called again and again", async () => {
        const backend = await connect();
        await Promise.all([backend.prepare(), backend.prepare()]);
      });

      test("close is idempotent", async () => {
        const backend = await connect();
        await Promise.all([backend.close(), backend.close()]);
        await backend.close();
      });

      test("a closed backend refuses work with BackendConnectionError", async () => {
        const backend = await connect();
        await backend.close();
        await expect(backend.store(recordOf(metaOf(1), backend))).rejects.toMatchObject({
          name: "BackendConnectionError",
        });
      });

      test("close leaves no socket or watcher open", async () => {
        const handles = (): number =>
          process
            .getActiveResourcesInfo()
            .filter((kind) => ["TCPSocketWrap", "TLSWrap", "FSEventWrap", "StatWatcher"].includes(kind)).length;
        const before = handles();
        const backend = await connect();
        const meta = metaOf(1);
        const watching = collect(backend.watch([meta.task_id], { signal: AbortSignal.timeout(5_000) }));
        await backend.store(recordOf(meta, backend));
        await watching;
        await backend.close();
        await until(() => handles() <= before, { message: "the handles to close" });
      });

      test("the URL shown has no password in it", async () => {
        const backend = await connect();
        expect(backend.displayUrl).not.toMatch(/:\/\/[^/@]*:(?!\*+@)[^/@]+@/);
      });
    });
  });
}
