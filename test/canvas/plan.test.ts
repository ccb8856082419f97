import { afterAll, describe, expect, test } from "vitest";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { createChunks, createMap, createStarmap } from "../../src/canvas/map.ts";
import { type Call, planSignature } from "../../src/canvas/plan.ts";
import { createSignature, mergeCall } from "../../src/canvas/signature.ts";
import { InvalidTaskError } from "../../src/errors.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import { countingIds, expectSame, golden, task } from "./golden.ts";

const { add, mul, xsum, echo } = {
  add: (...args: unknown[]) => task("add", args),
  mul: (...args: unknown[]) => task("mul", args),
  xsum: (...args: unknown[]) => task("xsum", args),
  echo: (...args: unknown[]) => task("echo", args),
};
const immutable = (signature: SignatureDict): SignatureDict => ({ ...signature, immutable: true });
const withOptions = (signature: SignatureDict, options: Record<string, unknown>): SignatureDict =>
  mergeCall(signature, [], {}, options);

interface Case {
  readonly signature: SignatureDict;
  readonly options?: Record<string, unknown>;
}

/** Each captured composition, rebuilt. */
const cases: Readonly<Record<string, Case>> = {
  link_single: { signature: add(1, 1), options: { link: mul(2) } },
  link_multi: { signature: add(1, 1), options: { link: [mul(2), createGroup([add(1), add(2)])] } },
  link_immutable: { signature: add(1, 1), options: { link: [immutable(echo("x"))] } },
  link_error: { signature: add(1, 1), options: { link_error: task("onerr_old") } },
  task_stamped: {
    signature: add(2, 3),
    options: { stamped_headers: ["stamp2", "stamp1"], stamp1: "v1", stamp2: ["a", "b"] },
  },
  map: { signature: createMap(xsum(), [[1, 2], [3]]) },
  starmap: {
    signature: createStarmap(add(), [
      [1, 2],
      [3, 4],
    ]),
  },
  chunks: {
    signature: createChunks(
      add(),
      [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      2,
    ),
  },
  chain_2: { signature: createChain([add(1, 2), mul(3)]) },
  chain_4: {
    signature: createChain([add(1, 2), mul(3), createSignature("wt.add", [], { y: 4 }), immutable(echo("imm"))]),
  },
  chain_countdown: {
    signature: createChain([
      withOptions(add(1, 2), { countdown: 10 }),
      withOptions(mul(3), { queue: "q2", priority: 6 }),
    ]),
  },
  chain_link: { signature: createChain([add(1, 2), mul(3)]), options: { link: echo() } },
  chain_link_error: { signature: createChain([add(1, 2), mul(3)]), options: { link_error: [task("onerr_new")] } },
  chain_group_last: { signature: createChain([add(1, 1), createGroup([add(2), add(3)])]) },
  chain_group_task: { signature: createChain([add(1, 1), createGroup([add(2), add(3)]), xsum()]) },
  chain_two_groups: { signature: createChain([createGroup([add(1, 1), add(2, 2)]), createGroup([xsum(), xsum()])]) },
  main__chain_chord_chain: {
    signature: createChain([add(1, 1), createChord([add(2), add(3)], createChain([xsum(), mul(10)]))]),
  },
  group_3: { signature: createGroup([add(1, 1), add(2, 2), mul(3, 3)]) },
  group_nested: { signature: createGroup([add(1, 1), createGroup([add(2, 2), add(3, 3)])]) },
  group_with_chain: { signature: createGroup([createChain([add(1, 1), mul(2)]), add(2, 2)]) },
  chord_2: { signature: createChord([add(1, 1), add(2, 2)], xsum()) },
  chord_empty_header: { signature: createChord([], xsum()) },
  chord_in_chord: {
    signature: createChord([createChord([add(1, 1), add(2, 2)], xsum()), add(3, 3)], xsum()),
  },
  chord_link_error: {
    signature: createChord([add(1, 1), add(2, 2)], task("xsum", [], { link_error: [task("onerr_new")] })),
  },
  chord_of_chains: {
    signature: createChord([createChain([add(1, 1), mul(2)]), createChain([add(2, 2), mul(3)])], xsum()),
  },
  chord_options: {
    signature: createChord([add(1, 1), add(2, 2)], task("xsum", [], { queue: "bq", priority: 4 })),
    options: { priority: 3 },
  },
  nested_deep: {
    signature: createChain([
      createGroup([createChain([add(1, 1), mul(2)]), createGroup([add(5, 5), add(6, 6)])]),
      xsum(),
      createGroup([add(1), mul(2)]),
    ]),
  },
};

describe("a composition is sent as Celery sends it", () => {
  let compared = 0;
  for (const [name, { signature, options }] of Object.entries(cases)) {
    test(name, () => {
      const { messages, chords, result } = golden(name);
      const replyTo = messages[0]?.properties.reply_to;
      const plan = planSignature(signature, { options, newId: countingIds(), replyTo });
      compared += expectSame([plan], messages, { chords, result });
      if (name === "chain_countdown") expect(plan.calls[0]?.options.countdown).toBe(10);
    });
  }

  afterAll(() => {
    expect(compared).toBe(42);
  });
});

describe("what is given to a composition", () => {
  const plan = (signature: SignatureDict, args: readonly unknown[] = [], options: Record<string, unknown> = {}) =>
    planSignature(signature, { args, options, newId: countingIds() });

  test("a task takes its id, and the parents it is given", () => {
    const { calls, result, children } = plan(add(2), [1], { task_id: "x", root_id: "r", parent_id: "p", queue: "q" });
    expect(calls).toEqual([
      { task: "wt.add", args: [1, 2], kwargs: {}, options: { task_id: "x", root_id: "r", parent_id: "p", queue: "q" } },
    ]);
    expect(result).toEqual([["x", null], null]);
    expect(children).toEqual([result]);
  });

  test("arguments go to the first step, to every member, to the header", () => {
    expect(plan(createChain([add(2), mul(3)]), [1]).calls.map((call) => call.args)).toEqual([[1, 2]]);
    expect(plan(createGroup([add(2), mul(3)]), [1]).calls.map((call) => call.args)).toEqual([
      [1, 2],
      [1, 3],
    ]);
    const chord = plan(createChord([add(2), createGroup([add(3)])], xsum()), [1]);
    expect(chord.calls.map((call) => call.args)).toEqual([
      [1, 2],
      [1, 3],
    ]);
  });

  test("keyword arguments never mix with the structure of a composition", () => {
    const kwargs = { tasks: "mine", header: 1, body: 2 };
    for (const signature of [createChain([add(), mul()]), createGroup([add()]), createChord([add()], xsum())]) {
      const { calls } = planSignature(signature, { kwargs, newId: countingIds() });
      expect(calls.map((call) => call.kwargs)).toEqual([kwargs]);
    }
  });

  test("an id goes to the end of a chain and to the body of a chord", () => {
    expect(plan(createChain([add(), mul()]), [], { task_id: "x" }).result[0][0]).toBe("x");
    expect(plan(createChord([add(), add()], xsum()), [], { task_id: "x" }).result[0][0]).toBe("x");
    expect(plan(createGroup([add(), add()]), [], { task_id: "x" }).result[0][0]).toBe("x");
  });

  test("errbacks of a chain reach every step, callbacks the last one", () => {
    const signature = createChain([add(), createGroup([mul(), mul()])]);
    const { calls } = plan(signature, [], { link: [echo("done")], link_error: [echo("failed")] });
    expect(calls[0]?.options.link_error).toEqual([echo("failed")]);
    const [group] = (calls[0] as Call).options.chain as readonly [SignatureDict];
    const [first, second] = group.kwargs.tasks as readonly [SignatureDict, SignatureDict];
    expect(first.options).toMatchObject({ link: [immutable(echo("done"))], link_error: [echo("failed")] });
    expect(second.options).toMatchObject({ link_error: [echo("failed")] });
    expect(second.options).not.toHaveProperty("link");
  });

  test("a callback of a whole group is refused with the way out", () => {
    expect(() => plan(createGroup([add()]), [], { link: echo() })).toThrow(InvalidTaskError);
    expect(() => plan(createGroup([add()]), [], { link: echo() })).toThrow("Use a chord");
  });

  test("options of a nested group hold for its members", () => {
    const nested = createGroup([add(1), createGroup([add(2)], { queue: "inner" })], { priority: 5 });
    expect(plan(nested).calls.map(({ options }) => [options.queue, options.priority])).toEqual([
      [undefined, 5],
      ["inner", 5],
    ]);
    const chord = plan(createChord(createGroup([add(1), add(2)], { queue: "header" }), xsum()));
    expect(chord.calls.map((call) => call.options.queue)).toEqual(["header", "header"]);
  });

  test("nothing to do plans no call", () => {
    for (const signature of [createChain([]), createGroup([]), createGroup([createChain([])])]) {
      expect(plan(signature)).toEqual({ chords: [], calls: [], result: [["new-id-1", null], []], children: [] });
    }
  });

  test("a group that ends a member of a chord has an id of its own, which no worker can take for the chord", () => {
    const { calls, chords } = plan(createChord([createChain([add(), createGroup([mul(), mul()])]), add()], xsum()));
    const [group] = (calls[0] as Call).options.chain as readonly [SignatureDict];
    expect(chords).toMatchObject([{ groupId: group.options.group_id, size: 3 }]);
    expect(group.options.task_id).not.toBe(group.options.group_id);
  });

  test("steps behind a group that is the body of a chord wait for all of it, in a chord of their own", () => {
    const body = createGroup([xsum(), xsum()]);
    const { calls, chords } = plan(createChord([add(), add()], body), [], { chain: [echo()] });
    const sent = calls[0]?.options.chord as SignatureDict;
    expect(sent.options.task_id).toBe(chords[0]?.groupId);
    const next = planSignature(sent, { args: [[1, 2]], newId: () => "fresh" });
    expect(next.chords).toEqual([{ groupId: "fresh", size: 2 }]);
    expect(next.calls.map((call) => (call.options.chord as SignatureDict).task)).toEqual(["wt.echo", "wt.echo"]);
  });

  test("what a task starts is what it names as its child: the group of a chord, the first step of a chain", () => {
    const chord = plan(createChord([add(), add()], xsum()));
    expect(chord.children).toEqual([chord.result[0][1]]);
    const chain = plan(createChain([add(), mul()]));
    expect(chain.children).toEqual([chain.result[0][1]]);
  });
});
