import { describe, expect, test } from "vitest";
import type { TqOptions } from "../../src/app/app.ts";
import { GroupResult, group, type ResultHandle, TimeoutError } from "../../src/index.ts";
import { describeWith, freshRedis } from "../helpers/services.ts";
import { stage, work } from "../helpers/stage.ts";
import { until } from "../helpers/until.ts";

const soon = { timeout: 15 };

/** What a set of results does, whichever store they are in. */
function defineTests(open: () => Promise<TqOptions>): void {
  async function scene() {
    const app = stage(await open());
    const gates = new Map<string, () => void>();
    return {
      app,
      gates,
      add: app.task("set.add", (x: number, y: number) => x + y),
      fail: app.task("set.fail", (message: string): number => {
        throw new TypeError(message);
      }),
      gate: app.task("set.gate", async (name: string): Promise<string> => {
        await new Promise<void>((resolve) => gates.set(name, resolve));
        return name;
      }),
    };
  }
  const ids = (handles: Iterable<ResultHandle>): string[] => [...handles].map(({ id }) => id);

  test("members are added once, taken out by handle or id, and missed with an error", async () => {
    const { app } = await scene();
    const [a, b, c] = [app.asyncResult("a"), app.asyncResult("b"), app.asyncResult("c")];
    const set = app.resultSet([a]);
    set.add(b);
    set.add(app.asyncResult("b"));
    set.update([a, c, c]);
    expect(ids(set)).toEqual(["a", "b", "c"]);
    expect([set.length, set.at(-1)?.id, set.leaves]).toEqual([3, "c", ["a", "b", "c"]]);
    expect([set.discard("b"), set.discard("b"), set.discard(c)]).toEqual([true, false, true]);
    set.remove(a);
    expect(() => set.remove("a")).toThrow(RangeError);
    set.add(b);
    set.clear();
    expect([set.length, await set.get(), await set.ready(), await set.waiting()]).toEqual([0, [], true, false]);
  });

  test("waiting, ready, successful, failed and completedCount tell how far the members are", async () => {
    const { app, add, fail, gate, gates } = await scene();
    work(app, { pool: "async", concurrency: 4 });
    const held = await gate.delay("one");
    const set = app.resultSet([await add.delay(1, 1), held, await add.delay(2, 2)]);
    await until(async () => (await set.completedCount()) === 2 && gates.has("one"), soon);
    expect([await set.waiting(), await set.ready(), await set.successful(), await set.failed()]).toEqual([
      true,
      false,
      false,
      false,
    ]);
    expect(await set.maybeThrow()).toBeNull();
    expect(await held.dateDone()).toBeNull();
    await expect(set.get({ timeout: 0.1 })).rejects.toThrow(TimeoutError);
    const reason = new Error("enough");
    await expect(set.join({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    gates.get("one")?.();
    expect(await set.get(soon)).toEqual([2, "one", 4]);
    expect([await set.waiting(), await set.ready(), await set.successful()]).toEqual([false, true, true]);
    const done = await held.dateDone();
    expect(Math.abs((done?.getTime() ?? 0) - Date.now())).toBeLessThan(30_000);
    const failing = await fail.delay("bad");
    await expect(failing.get(soon)).rejects.toThrow("bad");
    set.add(failing);
    expect([await set.failed(), await set.successful(), await set.completedCount()]).toEqual([true, false, 3]);
    await expect(set.maybeThrow()).rejects.toThrow(TypeError);
    expect(await set.maybeThrow({ propagate: false })).toBeNull();
    await expect(failing.maybeThrow()).rejects.toThrow("bad");
    expect(await failing.maybeThrow({ propagate: false })).toBeInstanceOf(TypeError);
    expect(await app.asyncResult("unknown").maybeThrow()).toBeNull();
  });

  test("join and joinNative give values in order, iterNative metas as they come, failures among them", async () => {
    const { app, add, fail, gate, gates } = await scene();
    work(app, { pool: "async", concurrency: 4 });
    const result = await group(gate.s("last"), add.s(1, 1), fail.s("bad"), add.s(2, 2)).delay();
    expect(result).toBeInstanceOf(GroupResult);
    const came: (readonly [string, string, unknown])[] = [];
    for await (const [id, meta] of result.iterNative(soon)) {
      expect(meta.task_id).toBe(id);
      came.push([id, meta.status, meta.status === "SUCCESS" ? meta.result : null]);
      if (came.length === 3) gates.get("last")?.();
    }
    const [last, one, bad, two] = result.leaves;
    expect(came.at(-1)).toEqual([last, "SUCCESS", "last"]);
    expect(came.slice(0, 3).sort()).toEqual(
      [
        [one, "SUCCESS", 2],
        [bad, "FAILURE", null],
        [two, "SUCCESS", 4],
      ].sort(),
    );
    const values = ["last", 2, expect.any(TypeError), 4];
    const told: unknown[] = [];
    const callback = (id: string, value: unknown): void => void told.push([id, value]);
    expect(await result.joinNative({ ...soon, propagate: false, callback })).toEqual(values);
    expect(told).toHaveLength(4);
    expect(told).toContainEqual([one, 2]);
    expect(await result.join({ ...soon, propagate: false })).toEqual(values);
    await expect(result.joinNative(soon)).rejects.toThrow("bad");
    const seen: unknown[] = [];
    const walk = async (): Promise<void> => {
      for await (const [, value] of result) seen.push(value);
    };
    await expect(walk()).rejects.toThrow("bad");
    await result.forget();
    expect(await result.completedCount()).toBe(0);
  });

  test("calls that carry a stamp are revoked by it, by the handle of any of them", async () => {
    const { app, add } = await scene();
    const stamped = await add.s(1, 1).stamp({ tenant: "acme" }).delay();
    const other = await add.s(2, 2).stamp({ tenant: "other" }).delay();
    work(app);
    expect(await other.get(soon)).toBe(4);
    expect(await stamped.get(soon)).toBe(2);
    await other.revokeByStampedHeaders({ tenant: ["acme"] }, { wait: true, timeout: 5 });
    const later = await add.s(3, 3).stamp({ tenant: "acme" }).delay();
    await expect(later.get(soon)).rejects.toMatchObject({ name: "TaskRevokedError" });
    const free = await add.s(4, 4).stamp({ tenant: "other" }).delay();
    expect(await free.get(soon)).toBe(8);
    const set = app.resultSet([
      await add.applyAsync([1, 1], { countdown: 1.5 }),
      await add.applyAsync([1, 1], { countdown: 1.5 }),
    ]);
    await set.revoke({ wait: true, timeout: 5 });
    expect(await set.get({ ...soon, propagate: false })).toEqual(
      Array(2).fill(expect.objectContaining({ name: "TaskRevokedError" })),
    );
  });
}

describe("a set of results in memory", () => defineTests(async () => ({})));

describeWith("redis-server", "a set of results in Redis", () => {
  const servers: Awaited<ReturnType<typeof freshRedis>>[] = [];
  defineTests(async () => {
    const server = servers[0] ?? (await freshRedis());
    if (servers.length === 0) servers.push(server);
    return { broker: `${server.url}/0`, backend: `${server.url}/1` };
  });
  test("need the server no more", async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
  });
});
