import { afterAll, describe, expect, test } from "vitest";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { createChunks, createMap, createStarmap } from "../../src/canvas/map.ts";
import { planSignature } from "../../src/canvas/plan.ts";
import { createSignature, mergeCall } from "../../src/canvas/signature.ts";
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
