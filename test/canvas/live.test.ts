import { existsSync, readFileSync } from "node:fs";
import { inspect } from "node:util";
import { AsyncResult, chain, chord, type DependencyGraph, GroupResult, group, RemoteError, TimeoutError } from "tq";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createWire, type Wire } from "../apps/wire-tasks.ts";
import { type BrokerUnderTest, brokerKinds } from "../helpers/brokers.ts";
import { describeWith } from "../helpers/services.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import { startWorker, type WorkerHandle } from "../helpers/worker.ts";

const linesOf = (path: string): string[] =>
  existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];

/** Compositions as users write them, run by a real worker. */
for (const kind of brokerKinds) {
  describeWith(kind.needs, `workflows over ${kind.name}`, () => {
    let broker: BrokerUnderTest;
    let worker: WorkerHandle;
    let folder: TemporaryFolder;
    let wire: Wire;
    let tasks: Wire["tasks"];

    beforeAll(async () => {
      broker = await kind.make();
      folder = await temporaryFolder();
      worker = startWorker({ env: { ...broker.env }, args: ["-c", "2"] });
      await worker.ready();
      wire = createWire(broker.env);
      tasks = wire.tasks;
    });
    afterAll(async () => {
      await wire?.app.close();
      const exit = await worker?.term();
      await folder?.[Symbol.asyncDispose]();
      await broker?.[Symbol.asyncDispose]();
      expect(exit, worker?.output).toEqual({ code: 0, signal: null });
    });
    const soon = { timeout: 20 };

    test("a signature is called with more arguments before its own, and options of its own or the call's", async () => {
      const { add, echo } = tasks;
      expect(await add.s(2, 2).call([], soon)).toBe(4);
      expect(await add.s(2).call([4], soon)).toBe(6);
      expect(await echo.si("fixed").call(["ignored"], soon)).toBe("fixed");
      const named = wire.app.signature<[], unknown>("wire.keywords", [1], { kwargs: { third: 3 } });
      expect(await named.call([], soon)).toEqual({ first: 1, second: "two", third: 3 });
      expect(await named.kw({ second: 2 }).call([], soon)).toEqual({ first: 1, second: 2, third: 3 });
      const chosen = add.s(1, 1).set({ taskId: `chosen-${Math.random()}` });
      const result = await chosen.applyAsync([], { priority: 3 });
      expect(result.id).toBe(chosen.id);
      expect(await result.get(soon)).toBe(2);
      expect(add.s(1).run(2)).toBe(3);
    });

    test("a chain comes to the value of its last step, and each step before is its parent", async () => {
      const { add, mul } = tasks;
      const result = await chain(add.s(4, 4), mul.s(8), mul.s(10)).delay();
      expect(await result.get(soon)).toBe(640);
      expect(await result.parent?.get(soon)).toBe(64);
      expect(await result.parent?.parent?.get(soon)).toBe(8);
      expect(result.parent?.parent?.parent).toBeNull();
      const first = wire.app.asyncResult(String(result.parent?.parent));
      const graph: DependencyGraph = await first.graph();
      expect(graph.topsort().map((node) => node.id)).toEqual([result.parent?.parent?.id, result.parent?.id, result.id]);
      expect(graph.toDot()).toContain(`"${result.parent?.id}" -> "${result.id}";`);
      const collected = [];
      for await (const [, value] of first.collect(soon)) collected.push(value);
      expect(collected).toEqual([8, 64, 640]);
      expect(await add.s(1).pipe(mul.s(2), add.s(3)).call([1], soon)).toBe(7);
    });

    test("a failed step ends the chain with its error, for whoever waits at any place of it", async () => {
      const { add, fail, mul } = tasks;
      const result = await chain(add.s(1, 1), fail.si("in the middle"), mul.s(2), add.s(1)).delay();
      await expect(result.get(soon)).rejects.toMatchObject({ name: "ValueError", message: "in the middle" });
      await expect(result.parent?.get(soon)).rejects.toThrow("in the middle");
      expect(await result.get({ ...soon, propagate: false })).toBeInstanceOf(RemoteError);
      expect(await result.state()).toBe("FAILURE");
      expect(await result.parent?.parent?.parent?.successful()).toBe(true);
    });

    test("a group comes to its results in order, one by one as they come, and can be saved", async () => {
      const { add, echo } = tasks;
      const result = await group(add.s(2), add.s(4), echo.si("text")).delay(1);
      expect(result).toBeInstanceOf(GroupResult);
      expect(await result.get(soon)).toEqual([3, 5, "text"]);
      const seen: unknown[] = [];
      for await (const [, value] of result) seen.push(value);
      expect(seen.sort()).toEqual([3, 5, "text"]);
      expect(await result.completedCount()).toBe(3);
      expect([await result.ready(), await result.successful(), await result.failed()]).toEqual([true, true, false]);
      await result.save();
      const restored = await wire.app.restoreGroup(result.id);
      expect(await restored?.get(soon)).toEqual([3, 5, "text"]);
      await result.delete();
      expect(await wire.app.restoreGroup(result.id)).toBeNull();
      expect(await group().call([])).toEqual([]);
      expect(await chain().call([])).toBeNull();
    });

    test("a chord calls its body once with all results in order; a group in a chain becomes one", async () => {
      const { add, mul, xsum } = tasks;
      const numbers = Array.from({ length: 10 }, (_, i) => i);
      const result = await chord(
        numbers.map((i) => add.s(i, i)),
        xsum.s(),
      ).delay();
      expect(await result.get(soon)).toBe(90);
      expect(result.parent).toBeInstanceOf(GroupResult);
      expect(await result.parent?.get(soon)).toEqual(numbers.map((i) => i + i));
      expect(await chain(add.s(1, 1), group(add.s(1), mul.s(5)), xsum.s(), mul.s(2)).call([], soon)).toBe(26);
      expect(await chain(group(add.s(1, 1)), xsum.s()).call([], soon)).toBe(2);
      // Behind a step a group of one is that one on the wire; what is waited for is a list all the same.
      expect(await chain(add.s(1, 1), group(mul.s(5))).call([], soon)).toEqual([10]);
      expect(await chord([], xsum.s()).call([], soon)).toBe(0);
      const nested = chord([chord([add.s(1, 1), add.s(2, 2)], xsum.s()), chain(add.s(1, 1), mul.s(2))], xsum.s());
      expect(await nested.call([], soon)).toBe(10);
    });

    test("a failed member fails its chord: its own error first, the chord's for who does not look back", async () => {
      const { add, fail, xsum } = tasks;
      const result = await chord([add.s(1, 1), fail.s("bad"), add.s(2, 2)], xsum.s()).delay();
      await expect(result.get(soon)).rejects.toMatchObject({ name: "ValueError", message: "bad" });
      await expect(result.get({ ...soon, followParents: false })).rejects.toMatchObject({
        name: "ChordError",
        message: expect.stringMatching(/^Dependency .* raised ValueError\('bad'\)$/),
      });
    });

    test("map and starmap are one message, chunks a group of them", async () => {
      const { add, xsum } = tasks;
      expect(await xsum.map([[1, 2], [3]]).call([], soon)).toEqual([3, 3]);
      expect(
        await add
          .starmap([
            [1, 2],
            [3, 4],
          ])
          .call([], soon),
      ).toEqual([3, 7]);
      const pairs = Array.from({ length: 5 }, (_, i) => [i, i] as [number, number]);
      const chunks = add.chunks(pairs, 2);
      expect(await chunks.call([], soon)).toEqual([[0, 2], [4, 6], [8]]);
      expect(chunks.group().length).toBe(3);
    });

    test("links are called with the result, errbacks for the failure, and a signature may be an argument", async () => {
      const { add, echo, fail, noteFailure, record } = tasks;
      const path = folder.file("links");
      const call = wire.app.signature<[], string>("wire.echo", [path]);
      expect(call.link(record.s("linked"))).toBeInstanceOf(Object);
      await (await call.delay()).get(soon);
      await add.applyAsync([1, 1], { link: record.si(path, "by option") });
      const failing = await fail.s("x").onError(noteFailure.s(path)).delay();
      await until(() => linesOf(path).length === 3, { message: "both links and the errback" });
      expect(linesOf(path).sort()).toEqual(["by option", `failed ${failing.id}`, "linked"]);
      const sent = (await echo.s(add.s(2)).call([], soon)) as never;
      expect(await wire.app.signature<[number], number>(sent).call([3], soon)).toBe(5);
    });

    test("frozen ids are those that are sent, and a handle travels as a tuple", async () => {
      const { add, xsum } = tasks;
      const signature = chord([add.s(1, 1), add.s(2, 2)], xsum.s());
      const handle = signature.freeze();
      expect(handle).toBeInstanceOf(AsyncResult);
      await signature.delay();
      expect(await handle.get(soon)).toBe(6);
      const again = wire.app.resultFromTuple(JSON.parse(JSON.stringify(handle.asTuple())));
      expect(again.asTuple()).toEqual(handle.asTuple());
      expect(await again.parent?.get(soon)).toEqual([2, 4]);
    });

    test("a chord is completed by celery.chord_unlock, for clients whose store cannot count", async () => {
      const { add, fail, xsum } = tasks;
      const members = await Promise.all([add.delay(1, 1), add.applyAsync([2, 2], { countdown: 0.5 })]);
      const body = xsum.s().set({ taskId: `unlocked-${Math.random()}` });
      const send = async (results: readonly AsyncResult[], callback: typeof body): Promise<AsyncResult> => {
        const kwargs = { interval: 0.2, max_retries: null, result: results.map((one) => one.asTuple()) };
        await wire.app.sendTask("celery.chord_unlock", [`group-${Math.random()}`, callback], { kwargs });
        return wire.app.asyncResult(String(callback.id));
      };
      expect(await (await send(members, body)).get(soon)).toBe(6);
      const failing = await fail.delay("bad");
      const other = xsum.s().set({ taskId: `locked-${Math.random()}` });
      await expect((await send([failing], other)).get(soon)).rejects.toMatchObject({
        name: "ChordError",
        message: `Dependency ${failing.id} raised ValueError('bad')`,
      });
    });

    test("many of anything go out in bulk and are waited for together", async () => {
      const { add } = tasks;
      const [steps, members] = kind.name === "Redis" ? [1000, 10_000] : [100, 1000];
      const long = chain(Array.from({ length: steps }, () => add.s(1)));
      const wide = group(Array.from({ length: members }, (_, i) => add.s(i)));
      const [chained, grouped] = await Promise.all([long.delay(0), wide.delay(1)]);
      const patient = { timeout: 140 };
      const sum = (await grouped.get(patient)).reduce((total, one) => total + one, 0);
      expect(sum).toBe(((members - 1) * members) / 2 + members);
      expect(await chained.get(patient)).toBe(steps);
    }, 150_000);

    test("what a stuck workflow waits for is found, sent again when it is lost, or given up", async () => {
      const { add, xsum } = tasks;
      const result = await chord([add.s(1, 1), add.s(2, 2)], xsum.s()).applyAsync([], { queue: "nobody" });
      const { workflows } = wire.app;
      const stuck = await workflows.show(result.id);
      expect(stuck?.chords).toMatchObject([{ size: 2, done: 0 }]);
      const open = { task: "wire.add", state: "PENDING" };
      if (kind.name === "RabbitMQ") {
        expect(stuck?.open).toMatchObject([
          { ...open, place: { kind: "untold" } },
          { ...open, place: { kind: "untold" } },
        ]);
        await expect(workflows.repair(result.id)).rejects.toThrow(/2 messages wait in the queue nobody/);
      } else {
        const waits = { ...open, place: { kind: "waiting", queue: "nobody" } };
        expect(stuck?.open).toMatchObject([waits, waits]);
        expect(await workflows.repair(result.id)).toMatchObject({ sent: 0, told: 0, left: [waits, waits] });
      }
      await (await wire.app.broker()).purge("nobody");
      const lost = await workflows.show(result.id);
      expect(lost?.open.map(({ place }) => place.kind)).toEqual(
        kind.name === "RabbitMQ" ? ["untold", "untold"] : ["lost", "lost"],
      );
      expect(await workflows.repair(result.id, { queue: "celery" })).toMatchObject({ sent: 2, left: [] });
      expect(await result.get(soon)).toBe(6);
      const other = await chain(add.s(1, 1), add.s(1)).applyAsync([], { queue: "nobody" });
      expect(await workflows.cancel(other.id)).toBe(2);
      await expect(other.get(soon)).rejects.toMatchObject({ name: "TaskRevokedError" });
      expect(await workflows.show("no-such-workflow")).toBeUndefined();
    });

    test("what a worker has in hand, or sees waiting in the broker for its time, is not sent again", async () => {
      const { add, xsum } = tasks;
      const sleep = wire.app.signature<[], number>("wire.sleep", [1.5]);
      const result = await chord([sleep, add.s(1, 1).set({ countdown: 60 })], xsum.s()).delay();
      const [running = "", later = ""] = result.parent?.leaves ?? [];
      const { workflows } = wire.app;
      await until(async () => (await wire.app.asyncResult(running).state()) === "STARTED");
      const doubts: string[] = [];
      const repaired = await workflows.repair(result.id, { onDoubt: (doubt) => doubts.push(doubt) });
      const places = Object.fromEntries(repaired?.left.map(({ id, place }) => [id, place]) ?? []);
      const working = { kind: "working", state: "active", node: expect.stringContaining("@") };
      if (kind.name === "RabbitMQ") {
        expect([repaired?.sent, places, doubts]).toEqual([
          1,
          { [running]: working },
          [expect.stringContaining("RabbitMQ does not tell")],
        ]);
      } else {
        const parked = { kind: "parked", queue: "celery", due: expect.any(Date) };
        expect([repaired?.sent, places, doubts]).toEqual([0, { [running]: working, [later]: parked }, []]);
      }
      await workflows.cancel(result.id);
    });

    test("an errback of the newer style is called also when the child that ran the task is gone", async () => {
      const { noteError } = tasks;
      const path = folder.file("gone");
      const signature = wire.app.signature<[], unknown>("wire.kill_child").onError(noteError.s(path) as never);
      const result = await signature.delay();
      await expect(result.get(soon)).rejects.toMatchObject({ name: "WorkerLostError" });
      await until(() => linesOf(path).length > 0, { message: `the errback\n${worker.output.slice(-2000)}` });
      expect(linesOf(path)).toEqual([`WorkerLostError ${result.id}`]);
    });

    test("a result can be aborted, revoked and forgotten", async () => {
      const { echo } = tasks;
      const result = await echo.applyAsync([1], { countdown: 30 });
      await result.abort();
      expect([await result.state(), await result.isAborted()]).toEqual(["ABORTED", true]);
      await result.forget();
      expect(await result.exists()).toBe(false);
      await result.revoke();
    });

    test("waiting ends with its time, and with its signal", async () => {
      const never = wire.app.asyncResult("there-is-no-such-call");
      await expect(never.get({ timeout: 0.1 })).rejects.toThrow(TimeoutError);
      const reason = new Error("enough");
      await expect(never.get({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
      expect(await never.state()).toBe("PENDING");
      expect("then" in never).toBe(false);
      expect(inspect(never)).toBe("<AsyncResult: there-is-no-such-call>");
    });
  });
}
