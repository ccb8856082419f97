import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Composition } from "../helpers/python-client.ts";
import { type TemporaryFolder, temporaryFolder } from "../helpers/tmp.ts";
import { until } from "../helpers/until.ts";
import type { WorkerHandle } from "../helpers/worker.ts";
import type { Client, Outcome } from "./client.ts";

/** Who composes, and who runs: one kind of worker, or one of each at the same queue. */
export interface WorkflowPairing {
  readonly client: "Python" | "tq";
  readonly workers: "Python" | "tq" | "Python and tq";
  connect(): Promise<Client>;
  startWorkers(): Promise<readonly WorkerHandle[]>;
}

const call = (task: string, ...args: readonly unknown[]): Composition => ({ task: `wire.${task}`, args });
const still = (task: string, ...args: readonly unknown[]): Composition => ({
  task: `wire.${task}`,
  args,
  immutable: true,
});
const add = (...args: readonly number[]): Composition => call("add", ...args);
const mul = (...args: readonly number[]): Composition => call("mul", ...args);
const xsum = call("xsum");
const echo = call("echo");
const chain = (...steps: readonly Composition[]): Composition => ({ chain: steps });
const group = (...members: readonly Composition[]): Composition => ({ group: members });
const chord = (header: readonly Composition[], body: Composition): Composition => ({ chord: header, body });

/** More than the 4 KiB beyond which tq deflates the messages that carry a chord's body. */
const large = Array.from({ length: 400 }, (_, n) => `number ${n} of many`).join(", ");

/** Where a Celery worker completes it for a Celery client, one value or the other may come out as None. */
const memberEndsInGroup = "a chord with a member that ends in a group";

/** What each composition comes to, in whatever language it was written and is run. */
const values: Readonly<Record<string, readonly [Composition, unknown]>> = {
  "a chain": [chain(add(1, 2), add(3), mul(10)), 60],
  "a chain of chains": [chain(chain(add(1, 1), mul(3)), chain(add(1), mul(2))), 14],
  "an immutable step in a chain": [chain(add(1, 2), still("echo", "fixed")), "fixed"],
  "a group": [group(add(1, 1), add(2, 2), add(3, 3)), [2, 4, 6]],
  "a group in a group": [group(add(1, 1), group(add(2, 2), add(3, 3))), [2, 4, 6]],
  "chains in a group": [group(chain(add(1, 1), mul(2)), add(2, 2)), [4, 4]],
  "a chain that ends in a group": [chain(add(1, 1), group(add(1), mul(5))), [3, 10]],
  [memberEndsInGroup]: [chord([chain(add(1, 1), group(add(1), mul(5))), add(3, 3)], echo), [[3, 10], 6]],
  "a map": [{ map: "wire.xsum", items: [[1, 2], [3]] }, [3, 3]],
  "a starmap": [
    {
      starmap: "wire.add",
      items: [
        [1, 2],
        [3, 4],
      ],
    },
    [3, 7],
  ],
  chunks: [
    {
      chunks: "wire.add",
      items: [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      size: 2,
    },
    [[2, 4], [6]],
  ],
  "a chord": [chord([add(1, 1), add(2, 2), add(3, 3)], xsum), 12],
  "a chord without a header": [chord([], xsum), 0],
  "a group with a step behind it": [chain(group(add(1, 1), add(2, 2)), xsum), 6],
  "a chord in the middle of a chain": [chain(add(1, 1), group(add(1), mul(5)), xsum, mul(2)), 26],
  "a chord of chains": [chord([chain(add(1, 1), mul(2)), chain(add(2, 2), mul(3))], xsum), 16],
  "a chord in a chord's header": [chord([chord([add(1, 1), add(2, 2)], xsum), add(3, 3)], xsum), 12],
  "a chord whose body is a chain": [chord([add(1, 1), add(2, 2)], chain(xsum, mul(10), add(1))), 61],
  "a chord whose body is a group": [chord([add(1, 1), add(2, 2)], group(xsum, echo)), [6, [2, 4]]],
  "a chord with a large body": [chord([add(1, 1), chain(add(2, 2), add(1))], chain(xsum, still("echo", large))), large],
  "chords in a row": [
    chain(group(add(1, 1), add(2, 2)), xsum, group(add(1), add(2)), xsum, group(mul(2), mul(3)), xsum),
    75,
  ],
  "everything in everything": [
    chain(add(1, 1), group(chain(add(1), mul(2)), chord([still("add", 1, 1), still("add", 2, 2)], xsum)), xsum, add(1)),
    13,
  ],
  "a step that retries in a chain": [chain(still("flaky", 2), add(10)), 12],
  "a last step that retries": [chain(add(1, 1), still("flaky", 1)), 1],
  "a chord's body that retries": [chord([add(1, 1), add(2, 2)], still("flaky", 2)), 2],
  "members that retry in a chord": [chord([call("flaky", 1), call("flaky", 2), add(1, 1)], xsum), 5],
  "a task replaced by a task": [call("become", 2, "task"), 20],
  "a task replaced by a chain": [call("become", 2, "chain"), 21],
  "a task replaced by a group": [call("become", 2, "group"), [20, 22]],
  "a task replaced by a chord": [call("become", 2, "chord"), 20],
  "steps of a chain replaced": [
    chain(add(1, 1), call("become", "task"), call("become", "chain"), call("become", "chord"), add(1)),
    2011,
  ],
  "a step of a chain replaced by a group": [chain(add(1, 1), call("become", "group"), xsum), 42],
  "members of a chord replaced": [
    chord([call("become", 1, "task"), call("become", 2, "chain"), call("become", 3, "chord")], xsum),
    61,
  ],
  "a chord that grows while it runs": [chord([call("grow", 1), add(2, 2)], xsum), 7],
  "a step that makes a call of its own": [chain(call("spawn", 3), add(1)), 4],
};

/** How each composition fails, whoever waits for it. */
const failures: Readonly<Record<string, readonly [Composition, string]>> = {
  "the first step of a chain": [chain(call("fail", "first"), add(1), add(2)), "first"],
  "a middle step of a chain": [chain(add(1, 1), still("fail", "middle"), add(2)), "middle"],
  "the last step of a chain": [chain(add(1, 1), still("fail", "last")), "last"],
  "a member of a group": [group(add(1, 1), call("fail", "member")), "member"],
  "a member of a chord's header": [chord([add(1, 1), call("fail", "header")], xsum), "header"],
  "a chain in a chord's header": [chord([add(1, 1), chain(call("fail", "deep"), add(1))], xsum), "deep"],
  "the end of a chain in a chord's header": [chord([add(1, 1), chain(add(1, 1), still("fail", "end"))], xsum), "end"],
  "the body of a chord": [chord([add(1, 1), add(2, 2)], still("fail", "body")), "body"],
  "a later step of a chord's body": [
    chord([add(1, 1), add(2, 2)], chain(xsum, still("fail", "later"), add(1))),
    "later",
  ],
  "a map": [{ map: "wire.fail", items: ["mapped"] }, "mapped"],
  "the step before a chord": [chain(call("fail", "before"), group(add(1), add(2)), xsum), "before"],
  "a step after a chord": [chain(group(add(1, 1), add(2, 2)), xsum, still("fail", "after"), add(1)), "after"],
  "a step whose replacement fails": [chain(add(1, 1), call("become", "failure"), add(1)), "replaced"],
};

/** What both languages promise each other of workflows. */
export function workflowContract(pairing: WorkflowPairing): void {
  describe(`workflows of a ${pairing.client} client, run by ${pairing.workers}`, () => {
    let client: Client;
    let workers: readonly WorkerHandle[] = [];
    let folder: TemporaryFolder;
    /** How all compositions of the two tables ended: they ran at once. */
    const outcomes = new Map<Composition, Outcome>();

    beforeAll(async () => {
      folder = await temporaryFolder();
      [client, workers] = await Promise.all([pairing.connect(), pairing.startWorkers()]);
      const specs = [...Object.values(values), ...Object.values(failures)].map(([spec]) => spec);
      const ids: string[] = [];
      for (const spec of specs) ids.push(await client.compose(spec));
      const ended = await client.outcomes(ids, 30);
      for (const [index, spec] of specs.entries()) outcomes.set(spec, ended[index] as Outcome);
    }, 90_000);
    afterAll(async () => {
      await client?.[Symbol.asyncDispose]();
      for (const worker of workers) expect(await worker.term(), worker.output).toEqual({ code: 0, signal: null });
      await folder?.[Symbol.asyncDispose]();
    });

    const outcomeOf = async (spec: Composition): Promise<Outcome> => {
      const [outcome] = await client.outcomes([await client.compose(spec)], 20);
      return outcome as Outcome;
    };
    const logs = (): string => workers.map((worker) => worker.output.slice(-6000)).join("\n");
    const linesOf = (path: string): string[] =>
      existsSync(path) ? readFileSync(path, "utf8").split("\n").filter(Boolean) : [];
    const lines = async (path: string, count: number): Promise<string[]> => {
      await until(() => linesOf(path).length >= count, { message: `${count} lines in ${path}\n${logs()}` });
      return linesOf(path).sort();
    };

    for (const [name, [spec, value]] of Object.entries(values)) {
      test(`${name} comes to its value`, ({ skip }) => {
        if (name === memberEndsInGroup && pairing.client === "Python" && pairing.workers !== "tq") skip();
        expect(outcomes.get(spec), logs()).toEqual({ kind: "success", value });
      });
    }

    for (const [name, [spec, message]] of Object.entries(failures)) {
      test(`an error of ${name} reaches whoever waits`, () => {
        expect(outcomes.get(spec), logs()).toMatchObject({ kind: "failure", type: "ValueError", message });
      });
    }

    test("links of a task, of a chain and of a chord are called with their results, those of a group without", async () => {
      const path = folder.file("links");
      const note = (line: string): Composition => call("record", line);
      await outcomeOf({ ...call("echo", path), link: [note("of a task")] });
      await outcomeOf({ ...chain(call("echo", path), echo), link: [note("of a chain")] });
      const first = still("record", path, "of a group");
      await outcomeOf({ ...group(call("echo", 1), call("echo", 2)), link: [first] });
      await outcomeOf({
        ...chord([call("echo", 1), call("echo", 2)], still("echo", path)),
        link: [note("of a chord")],
      });
      const expected = ["of a chain", "of a chord", "of a group", "of a task"];
      expect(await lines(path, expected.length)).toEqual(expected);
    });

    test("errbacks of both styles learn which task failed: of a task, of a chain, of a chord", async () => {
      const path = folder.file("errbacks");
      const both = { link_error: [call("note_failure", path), call("note_error", path)] };
      const [task = "", body = ""] = [
        await client.compose({ ...call("fail", "x"), ...both }),
        await client.compose({ ...chord([add(1, 1), call("fail", "x")], xsum), ...both }),
      ];
      const told = await lines(path, 4);
      expect(told.map((line) => line.replace(body, "<body>").replace(task, "<task>")).sort()).toEqual([
        "ChordError <body>",
        "ValueError <task>",
        "failed <body>",
        "failed <task>",
      ]);
      const later = folder.file("later");
      await outcomeOf({ ...chain(add(1, 1), still("fail", "x"), add(1)), link_error: [call("note_failure", later)] });
      expect(await lines(later, 1)).toHaveLength(1);
    });

    test("results that are ignored still flow: to the next step, also within a chord, and to the body of a chord", async () => {
      const path = folder.file("ignored");
      expect(await outcomeOf(chain(call("quiet", path, "one"), echo))).toEqual({ kind: "success", value: "one" });
      const spec = chord([call("quiet", path, "two"), call("echo", "three")], echo);
      expect(await outcomeOf(spec), logs()).toEqual({ kind: "success", value: ["two", "three"] });
      const inside = chord([chain(call("quiet", path, "four"), echo), call("echo", "five")], echo);
      expect(await outcomeOf(inside), logs()).toEqual({ kind: "success", value: ["four", "five"] });
    });

    test("stamps are on everything in a workflow, and stay on what retries", async () => {
      const stamp = { monitoring: "m-1" };
      const stamped = expect.objectContaining({ stamps: { monitoring: ["m-1"] } });
      const inGroup = await outcomeOf({ ...group(call("place"), call("place")), stamp });
      expect(inGroup).toEqual({ kind: "success", value: [stamped, stamped] });
      expect(await outcomeOf({ ...chain(add(1, 1), call("place")), stamp })).toEqual({
        kind: "success",
        value: stamped,
      });
      const gathered = { ...chord([call("place"), call("place")], call("echo")), stamp };
      expect(await outcomeOf(gathered)).toEqual({ kind: "success", value: [stamped, stamped] });
      const behind = { ...chord([add(1, 1), add(2, 2)], call("place")), stamp };
      // Celery's client puts none on the body of a chord.
      const ofBody = pairing.client === "tq" ? stamped : expect.objectContaining({ stamps: {} });
      expect(await outcomeOf(behind)).toEqual({ kind: "success", value: ofBody });
      const linked = { ...chain(still("flaky", 1), call("place")), stamp };
      expect(await outcomeOf(linked)).toEqual({ kind: "success", value: stamped });
    });

    test("steps of a chain have one root, and the step before as their parent", async () => {
      const outcome = await outcomeOf(chain(call("place"), call("place")));
      if (outcome.kind !== "success") throw new Error(JSON.stringify(outcome));
      const place = outcome.value as { readonly id: string; readonly root_id: string; readonly parent_id: string };
      expect(place.root_id).not.toBe(place.id);
      expect(place.parent_id).toBe(place.root_id);
    });
  });
}
