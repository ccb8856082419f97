import { expect, test } from "vitest";
import { createChain } from "../../src/canvas/chain.ts";
import { createChord } from "../../src/canvas/chord.ts";
import { fromDict } from "../../src/canvas/from-dict.ts";
import { createGroup } from "../../src/canvas/group.ts";
import { createChunks, createMap, createStarmap } from "../../src/canvas/map.ts";
import { createSignature } from "../../src/canvas/signature.ts";
import { InvalidTaskError } from "../../src/errors.ts";
import { golden, task } from "./golden.ts";

test("what Python writes is read as it is, and our own compositions are what Python writes", () => {
  const captured = golden("signature_json").result as Record<string, Record<string, unknown>>;
  const { chunks, ...others } = captured;
  for (const [name, dict] of Object.entries(others)) expect(fromDict(dict), name).toEqual(dict);
  expect(fromDict(chunks)).toEqual({ ...chunks, subtask_type: "chunks" });
  const [add, mul] = [createSignature("wt.add", [1, 2]), createSignature("wt.mul", [3])];
  expect(createChain([add, mul])).toEqual(captured.chain);
  expect(createGroup([add, createSignature("wt.mul", [3, 4])])).toEqual(captured.group);
  expect(createChord([add, createSignature("wt.mul", [3, 4])], task("xsum"))).toEqual(captured.chord);
  expect(createMap(task("xsum"), [[1]])).toEqual(captured.xmap);
  expect(createStarmap(task("add"), [[1, 2]])).toEqual(captured.xstarmap);
  expect(createChunks(task("add"), [[1, 2]], 1)).toEqual(captured.chunks);
});

test("missing keys get their defaults, in nested signatures too", () => {
  expect(fromDict({ task: "t" })).toEqual(createSignature("t"));
  expect(fromDict({ task: "t", args: null, kwargs: null, options: null, immutable: null })).toEqual(
    createSignature("t"),
  );
  const nested = {
    subtask_type: "chain",
    kwargs: { tasks: [{ task: "a" }, { subtask_type: "group", kwargs: { tasks: [{ task: "b" }] } }] },
  };
  expect(fromDict(nested)).toEqual(createChain([createSignature("a"), createGroup([createSignature("b")])]));
});

test("a composition without type is known by its name and parts, a legacy task of that name is a task", () => {
  expect(fromDict({ task: "celery.chain", kwargs: { tasks: [] } }).subtask_type).toBe("chain");
  expect(fromDict({ task: "celery.chord", kwargs: { header: [], body: { task: "t" } } }).subtask_type).toBe("chord");
  expect(fromDict({ task: "celery.chain" }).subtask_type).toBeNull();
});

test("one callback becomes a list, and nulls among the options are left out", () => {
  const options = {
    link: { task: "a" },
    link_error: [{ task: "b" }],
    chord: { task: "c" },
    chain: [{ task: "d" }],
    queue: null,
  };
  expect(fromDict({ task: "t", options }).options).toEqual({
    link: [createSignature("a")],
    link_error: [createSignature("b")],
    chord: createSignature("c"),
    chain: [createSignature("d")],
  });
});

test.each([
  [5, "signature must be an object, got: 5"],
  [[], "signature must be an object, got: an array of 0"],
  [{}, "signature.task must be the name of a task, got: nothing"],
  [{ task: 7 }, "signature.task must be the name of a task, got: 7"],
  [{ task: "t", args: "ab" }, 'signature.args must be an array, got: "ab"'],
  [{ task: "t", kwargs: [1] }, "signature.kwargs must be an object, got: an array of 1"],
  [{ task: "t", options: true }, "signature.options must be an object, got: true"],
  [{ task: "t", subtask_type: "maze" }, "signature.subtask_type must be one of chain, group"],
  [{ subtask_type: "chain" }, "signature.kwargs.tasks must be an array, got: nothing"],
  [{ subtask_type: "group", kwargs: { tasks: [{ task: "a" }, {}] } }, "signature.kwargs.tasks[1].task must be"],
  [{ subtask_type: "chord", kwargs: { header: [] } }, "signature.kwargs.body is missing"],
  [{ subtask_type: "chord", kwargs: { body: { task: "a" } } }, "signature.kwargs.header must be an object"],
  [
    { subtask_type: "chunks", kwargs: { task: { task: "a" }, it: [], n: 0 } },
    "signature.kwargs.n must be a whole number",
  ],
  [{ task: "t", options: { link: [{ task: "a" }, 1] } }, "signature.options.link[1] must be an object, got: 1"],
])("%j is refused with the place and the reason", (value, message) => {
  expect(() => fromDict(value)).toThrow(InvalidTaskError);
  expect(() => fromDict(value)).toThrow(message);
});
