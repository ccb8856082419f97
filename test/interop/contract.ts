import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Composition } from "../helpers/python-client.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import type { WorkerHandle } from "../helpers/worker.ts";
import type { Call, Client, Outcome } from "./client.ts";
import { bigInteger, bytes, date, datetime, decimal, float, time, uuid } from "./values.ts";

/** The two sides of one pairing, and the transport between them. */
export interface Pairing {
  readonly client: "Python" | "tq";
  readonly worker: "Python" | "tq";
  readonly transport: "redis" | "amqp";
  connect(): Promise<Client>;
  /** Starts a worker on the queues named, with so many processes; resolves when it is ready. */
  startWorker(queues: readonly string[], concurrency: number, args?: readonly string[]): Promise<WorkerHandle>;
}

/**
 * Seconds a test holds a task back. Not a whole number: Celery's reader of reply queues looks up
 * every second, and a reply that arrives in that very moment can stay unread until the next one.
 */
const heldBack = 1.4;

/** Python writes a moment with or without its fraction, and UTC as `+00:00`. */
const moments = ["2024-05-06T07:08:09+00:00", "2024-05-06T07:08:09.000001+00:00", "2024-05-06T07:08:09.123456+05:30"];

/**
 * What a client of one language and a worker of the other promise each other. Both halves see
 * plain values: neither can tell who is at the other end.
 */
export function interopContract(pairing: Pairing): void {
  describe(`a ${pairing.client} client and a ${pairing.worker} worker`, () => {
    let client: Client;
    let worker: WorkerHandle;
    let folder: TemporaryFolder;

    beforeAll(async () => {
      folder = await temporaryFolder();
      [client, worker] = await Promise.all([pairing.connect(), pairing.startWorker(["celery", "routed", "other"], 2)]);
    });
    afterAll(async () => {
      await client?.[Symbol.asyncDispose]();
      const exit = await worker?.term();
      await folder?.[Symbol.asyncDispose]();
      expect(exit, worker?.output).toEqual({ code: 0, signal: null });
    });

    const outcomeOf = async (call: Call, timeout = 10): Promise<Outcome> => {
      const ids = await client.send(call);
      const [outcome] = await client.outcomes(ids, timeout);
      return outcome as Outcome;
    };
    /** The value a call gives; a call that fails fails the test in its own words. */
    const resultOf = async (call: Call, timeout?: number): Promise<unknown> => {
      const outcome = await outcomeOf(call, timeout);
      if (outcome.kind === "success") return outcome.value;
      throw new Error(`${call.task}: ${JSON.stringify(outcome)}\n${worker.output}`);
    };
    const failureOf = async (call: Call): Promise<Outcome & { kind: "failure" }> => {
      const outcome = await outcomeOf(call);
      if (outcome.kind === "failure") return outcome;
      throw new Error(`${call.task} should have failed: ${JSON.stringify(outcome)}\n${worker.output}`);
    };
    const echo = (value: unknown): Promise<unknown> => resultOf({ task: "wire.echo", args: [value] });
    const linesOf = (path: string): string[] =>
      existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];

    test("a result comes back", async () => {
      expect(await resultOf({ task: "wire.add", args: [2, 3] })).toBe(5);
    });

    test("a task is called by name alone, without its definition", async () => {
      expect(await resultOf({ task: "wire.mul", args: [6, 7], by_name: true })).toBe(42);
    });

    test("the state of a finished task is SUCCESS, of an unknown one PENDING", async () => {
      const [id = ""] = await client.send({ task: "wire.add", args: [1, 1] });
      await client.outcomes([id]);
      expect(await client.state(id)).toBe("SUCCESS");
      expect(await client.state("00000000-0000-4000-8000-000000000000")).toBe("PENDING");
    });

    test("many calls at once all come back to their callers", async () => {
      const calls = Array.from({ length: 100 }, (_, i) => ({ task: "wire.add", args: [i, i] }));
      const ids = await client.send(...calls);
      const outcomes = await client.outcomes(ids, 20);
      const missing = ids.filter((_, i) => outcomes[i]?.kind !== "success");
      expect(missing, worker.output).toEqual([]);
      expect(outcomes).toEqual(calls.map((_, i) => ({ kind: "success", value: i * 2 })));
    });

    test("an exception has its type, its message, its arguments and the text of its traceback", async () => {
      const failure = await failureOf({ task: "wire.fail", args: ["boom"] });
      expect(failure).toMatchObject({ type: "ValueError", message: "boom", args: ["boom"], state: "FAILURE" });
      expect(failure.traceback).toContain("ValueError: boom");
      expect(failure.traceback, "the traceback names the file").toMatch(/wire(-tasks)?\.(py|ts)/);
    });

    test("an exception of a class the caller does not know still has its type and arguments", async () => {
      const failure = await failureOf({ task: "wire.fail_custom", args: ["odd", 42], by_name: true });
      expect(failure).toMatchObject({ type: "CustomError", args: ["odd", 42] });
      expect(failure.message).toContain("odd");
    });

    test("a call of an unknown task fails as NotRegistered, by its name", async () => {
      const failure = await failureOf({ task: "wire.never_heard_of", by_name: true });
      expect(failure.type).toBe("NotRegistered");
      expect(failure.message).toContain("wire.never_heard_of");
    });

    test("arguments that do not fit are a TypeError that names the task's function", async () => {
      const failure = await failureOf({ task: "wire.add", args: [1], by_name: true });
      expect(failure.type).toBe("TypeError");
      expect(failure.message).toMatch(/add\(\) missing 1 required positional argument: 'y'/);
    });

    test("keyword arguments find their parameters by name", async () => {
      const expected = { first: 1, second: "two", third: { deep: [true, null] } };
      const call = { task: "wire.keywords", args: [1], kwargs: { third: { deep: [true, null] } } };
      expect(await resultOf(call)).toEqual(expected);
      const all = { task: "wire.keywords", kwargs: { third: 3, first: 1, second: 2 } };
      expect(await resultOf(all)).toEqual({ first: 1, second: 2, third: 3 });
    });

    test("the task sees the request its caller made", async () => {
      const [id] = await client.send({
        task: "wire.request",
        args: [1],
        kwargs: { key: "value" },
        options: { headers: { x_mine: "yes" } },
      });
      const [outcome] = await client.outcomes([id as string]);
      expect(outcome).toEqual({
        kind: "success",
        value: expect.objectContaining({
          id,
          task: "wire.request",
          args: [1],
          kwargs: { key: "value" },
          retries: 0,
          root_id: id,
          parent_id: null,
          correlation_id: id,
          routing_key: "celery",
          headers: { x_mine: "yes" },
        }),
      });
    });

    test("a task id may be chosen by the caller", async () => {
      const id = `mine-${Date.now()}-${Math.random()}`;
      expect(await client.send({ task: "wire.add", args: [1, 2], options: { task_id: id } })).toEqual([id]);
      expect(await client.outcomes([id])).toEqual([{ kind: "success", value: 3 }]);
    });

    test("a countdown holds a task back for as long as it says", async () => {
      const sent = Date.now() / 1000;
      const ran = (await resultOf({ task: "wire.now", options: { countdown: heldBack } })) as number;
      expect(ran - sent).toBeGreaterThanOrEqual(heldBack - 0.1);
      expect(ran - sent).toBeLessThan(4);
    });

    test("an eta in the caller's time zone is the same moment for the worker", async () => {
      const eta = new Date(Date.now() + heldBack * 1000 + 5.5 * 3_600_000).toISOString().replace("Z", "+05:30");
      const sent = Date.now() / 1000;
      const ran = (await resultOf({ task: "wire.now", options: { eta: datetime(eta) } })) as number;
      expect(ran - sent).toBeGreaterThanOrEqual(heldBack - 0.1);
      expect(ran - sent).toBeLessThan(4);
    });

    test("a task that has expired when its turn comes is revoked and never runs", async () => {
      const path = folder.file("expired");
      const failure = await failureOf({
        task: "wire.record",
        args: [path, "ran"],
        options: { countdown: heldBack, expires: 0.4 },
      });
      expect(failure).toMatchObject({ type: "TaskRevokedError", state: "REVOKED" });
      expect(failure.message).toBe("expired");
      expect(linesOf(path)).toEqual([]);
    });

    test("a task that has not expired runs", async () => {
      expect(await resultOf({ task: "wire.add", args: [4, 4], options: { expires: 60 } })).toBe(8);
    });

    test("a task that retries runs again under the same id until it succeeds", async () => {
      expect(await resultOf({ task: "wire.flaky", args: [3] })).toBe(3);
    });

    test("a task retries by itself for the errors it names", async () => {
      expect(await resultOf({ task: "wire.auto", args: [2] })).toBe(2);
    });

    test("a task out of retries fails with the error that made it retry", async () => {
      const failure = await failureOf({ task: "wire.hopeless" });
      expect(failure).toMatchObject({ type: "RuntimeError", message: "hopeless", state: "FAILURE" });
    });

    test("the caller's routes decide the queue: exact names, patterns, and the call's own word", async () => {
      expect(await resultOf({ task: "wire.routed" })).toBe("routed");
      expect(await resultOf({ task: "wire.pattern.one" })).toBe("routed");
      expect(await resultOf({ task: "wire.routed", options: { queue: "other" } })).toBe("other");
    });

    test("an ignored result is not kept, whether the task or the call ignores it", async () => {
      const path = folder.file("ignored");
      const ids = await client.send(
        { task: "wire.quiet", args: [path, "task"], options: { ignore_result: null } },
        { task: "wire.record", args: [path, "call"], options: { ignore_result: true } },
      );
      await until(() => linesOf(path).length === 2);
      expect(linesOf(path).sort()).toEqual(["call", "task"]);
      // A task after them on the same two processes: theirs would be stored by now.
      await resultOf({ task: "wire.sleep", args: [0.2] });
      for (const id of ids) expect(await client.state(id)).not.toBe("SUCCESS");
    });

    test("a custom state and its data reach the caller", async () => {
      const [id = ""] = await client.send({ task: "wire.progress", args: [3] });
      const { outcome, states } = await client.watch(id);
      expect(outcome).toEqual({ kind: "success", value: 3 });
      expect(states).toContainEqual(["PROGRESS", { current: 2, total: 3 }]);
      expect(states.at(-1)).toEqual(["SUCCESS", 3]);
    });

    test("bytes travel both ways, text or not, and arrive as bytes", async () => {
      const values = [bytes("plain"), bytes(Buffer.from([0, 255, 254, 10, 13, 128])), bytes("")];
      expect(await echo(values)).toEqual(values);
      expect(await resultOf({ task: "wire.kinds", args: [values] })).toEqual(["bytes", "bytes", "bytes"]);
    });

    test("moments travel both ways to the microsecond, with and without a zone", async () => {
      const values = [...moments.map(datetime), datetime("2024-05-06T07:08:09.000123")];
      expect(await echo(values)).toEqual(values);
      expect(await resultOf({ task: "wire.kinds", args: [values] })).toEqual(values.map(() => "datetime"));
    });

    test("dates and times of day travel both ways", async () => {
      const values = [date("2024-02-29"), time("07:08:09"), time("07:08:09.000001")];
      expect(await echo(values)).toEqual(values);
      expect(await resultOf({ task: "wire.kinds", args: [values] })).toEqual(["date", "time", "time"]);
    });

    test("decimals keep every digit, UUIDs are UUIDs", async () => {
      const values = [decimal("1.50"), decimal("-12345678901234567890.123456789"), decimal("1E+3")];
      expect(await echo(values)).toEqual(values);
      const id = uuid("12345678-1234-5678-9234-567812345678");
      expect(await echo(id)).toEqual(id);
      expect(await resultOf({ task: "wire.kinds", args: [[...values, id]] })).toEqual([
        "decimal",
        "decimal",
        "decimal",
        "uuid",
      ]);
    });

    test("plain values keep their types, however deep", async () => {
      const value = { null: null, yes: true, no: false, int: -7, float: 2.5, list: [[], {}, [[1]]], "": "empty key" };
      expect(await echo(value)).toEqual(value);
      const values = [null, true, 1, 2.5, "text", [], {}];
      const kinds = ["null", "bool", "int", "float", "str", "list", "dict"];
      expect(await resultOf({ task: "wire.kinds", args: [values] })).toEqual(kinds);
    });

    test("integers beyond 2^53 and numbers that are none keep their value", async () => {
      const values = [bigInteger("9007199254740993"), bigInteger("-1180591620717411303424"), 9007199254740991];
      expect(await echo(values)).toEqual(values);
      const odd = [float("nan"), float("inf"), float("-inf")];
      expect(await echo(odd)).toEqual(odd);
    });

    test("text is text in every script, with quotes, controls, and keys that mean something elsewhere", async () => {
      const value = {
        greeting: "Žluťoučký kůň 🐎 你好 مرحبا",
        controls: "\u0000\u0001\n\t\u2028\u001f",
        quotes: `'"\\ ${"`"}`,
        constructor: "c",
        toString: "t",
      };
      expect(await echo(value)).toEqual(value);
      const proto = JSON.parse('{"__proto__": {"polluted": true}}') as object;
      expect(JSON.stringify(await echo(proto))).toBe(JSON.stringify(proto));
    });

    test("large arguments and large results arrive whole", async () => {
      const text = "0123456789abcdef".repeat(65_536);
      expect((await echo(text)) === text).toBe(true);
      expect(((await resultOf({ task: "wire.large", args: [4_000_000] })) as string).length).toBe(4_000_000);
    }, 60_000);

    test("what a task prints is in the worker's log", async () => {
      const line = `printed ${Math.random()}`;
      await resultOf({ task: "wire.print", args: [line] });
      await until(() => worker.lines.filter((logged) => logged.includes(line)).length >= 2, {
        message: "both lines in the log",
      });
    });

    {
      const composed = async (spec: Composition): Promise<Outcome> => {
        const id = (await client.compose(spec)) as string;
        const [outcome] = await client.outcomes([id], 15);
        return outcome as Outcome;
      };
      const add = (...args: readonly number[]): Composition => ({ task: "wire.add", args });

      test("a chain hands each result to the next step", async () => {
        const spec = { chain: [add(1, 2), add(3), { task: "wire.mul", args: [10] }] };
        expect(await composed(spec)).toEqual({ kind: "success", value: 60 });
      });

      test("a chain whose step fails fails as a whole, with that step's error", async () => {
        const failing = { task: "wire.fail", args: ["in the middle"], immutable: true };
        const outcome = await composed({ chain: [add(1, 2), failing, add(3)] });
        expect(outcome).toMatchObject({ kind: "failure", type: "ValueError", message: "in the middle" });
      });

      test("a group gives its results in order", async () => {
        const outcome = await composed({ group: [add(1, 1), add(2, 2), add(3, 3)] });
        expect(outcome).toEqual({ kind: "success", value: [2, 4, 6] });
      });

      test("a link is called with the result", async () => {
        const path = folder.file("linked");
        // The result comes as the first argument: it names the file.
        const call = { task: "wire.echo", args: [path], link: [{ task: "wire.record", args: ["linked"] }] };
        expect(await composed(call)).toEqual({ kind: "success", value: path });
        await until(() => linesOf(path).includes("linked"), { message: "the link to run" });
      });

      // Celery refuses chords on a result store that is only a reply queue.
      if (pairing.transport === "redis") {
        test("a chord calls its body once, with all results in order", async () => {
          const header = Array.from({ length: 10 }, (_, i) => add(i, i));
          const outcome = await composed({ chord: header, body: { task: "wire.echo" } });
          expect(outcome).toEqual({ kind: "success", value: header.map((_, i) => i + i) });
          const sum = await composed({ chord: header, body: { chain: [{ task: "wire.xsum" }, add(1)] } });
          expect(sum).toEqual({ kind: "success", value: 91 });
        });
      }
    }

    test("priorities decide the order in which waiting tasks run", async () => {
      const path = folder.file("priorities");
      // Steps of three: kombu's Redis transport keeps four levels, and there the lowest number goes first.
      const sent = [3, 9, 0, 6];
      const calls = sent.map((priority) => ({
        task: "wire.record",
        args: [path, String(priority)],
        options: { queue: "ranked", priority },
      }));
      await client.send(...calls);
      const ranked = await pairing.startWorker(["ranked"], 1, ["--prefetch-multiplier", "1"]);
      try {
        await until(() => linesOf(path).length === sent.length, { message: "four tasks of different priority" });
      } finally {
        await ranked.term();
      }
      const order = sent.map(String).sort();
      expect(linesOf(path)).toEqual(pairing.transport === "redis" ? order : order.reverse());
    });
  });
}

/** The queue both kinds of worker stand at. */
export interface SharedQueue {
  connect(): Promise<Client>;
  startWorkers(): Promise<readonly WorkerHandle[]>;
}

/** A Python worker and a tq worker at one queue are one pool: each takes its part, nothing is done twice. */
export function sharingContract(name: string, queue: SharedQueue): void {
  test(`workers of both kinds share one queue's load, for a ${name} client`, async () => {
    await using folder = await temporaryFolder();
    const workers = await queue.startWorkers();
    const client = await queue.connect();
    try {
      const calls = Array.from({ length: 200 }, () => ({ task: "wire.who", args: [0.01] }));
      const outcomes = await client.outcomes(await client.send(...calls), 30);
      const counts = { python: 0, tq: 0 };
      for (const outcome of outcomes) {
        if (outcome.kind !== "success") throw new Error(JSON.stringify(outcome));
        counts[outcome.value as "python" | "tq"] += 1;
      }
      expect(counts.python + counts.tq).toBe(200);
      expect(counts.python).toBeGreaterThanOrEqual(20);
      expect(counts.tq).toBeGreaterThanOrEqual(20);

      const path = folder.file("once");
      const lines = Array.from({ length: 100 }, (_, i) => String(i));
      const recorded = lines.map((line) => ({ task: "wire.record", args: [path, line] }));
      await client.outcomes(await client.send(...recorded), 30);
      await delay(100);
      const ran = readFileSync(path, "utf8").split("\n").filter(Boolean);
      expect(ran.sort(), "each exactly once").toEqual(lines.sort());
    } finally {
      await client[Symbol.asyncDispose]();
      for (const worker of workers) await worker.term();
    }
  }, 60_000);
}
