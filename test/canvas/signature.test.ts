import { expect, test } from "vitest";
import { cloneSignature, createSignature, freezeTask, mergeCall } from "../../src/canvas/signature.ts";
import { countingIds, golden, task } from "./golden.ts";

test("a signature has the six keys Celery writes", () => {
  const captured = golden("signature_json").result as Record<string, unknown>;
  expect(createSignature("wt.add", [1, 2])).toEqual(captured["add.s(1,2)"]);
  expect(
    createSignature("wt.add", [1], { y: 2 }, { countdown: 3, queue: "q", priority: 1 }, { immutable: true }),
  ).toEqual(captured["si+options"]);
});

test("arguments given later come first, keyword arguments and options given later win", () => {
  const stored = createSignature("t", [2], { a: 1, b: 1 }, { queue: "q", priority: 1 });
  expect(mergeCall(stored, [1], { b: 2 }, { priority: 2, countdown: 3 })).toEqual(
    createSignature("t", [1, 2], { a: 1, b: 2 }, { queue: "q", priority: 2, countdown: 3 }),
  );
});

test("an immutable signature takes options only", () => {
  const stored = createSignature("t", [2], { a: 1 }, {}, { immutable: true });
  expect(mergeCall(stored, [1], { a: 2 }, { queue: "q" })).toEqual({ ...stored, options: { queue: "q" } });
});

test("the group and the stamps of a signature stay, and a null option says nothing", () => {
  const options = { group_id: "g", stamped_headers: ["a"], a: "x", queue: "q" };
  const given = { group_id: "other", stamped_headers: ["b"], a: "y", b: "z", queue: null };
  expect(mergeCall(task("add", [], options), [], {}, given).options).toEqual({ ...options, b: "z" });
  expect(mergeCall(task("add"), [], {}, given).options).toEqual({
    group_id: "other",
    stamped_headers: ["b"],
    a: "y",
    b: "z",
  });
});

test("freezing sets what is missing and changes no id", () => {
  const context = { newId: countingIds(), replyTo: "r" };
  const chord = task("body");
  const once = freezeTask(task("add"), { groupId: "g", groupIndex: 1, chord }, context);
  expect(once.signature.options).toEqual({ task_id: "new-id-1", reply_to: "r", group_id: "g", group_index: 1, chord });
  const twice = freezeTask(once.signature, { id: "x", groupId: "y", groupIndex: 2 }, { ...context, replyTo: "s" });
  expect(twice.signature.options).toEqual({ ...once.signature.options, group_index: 2 });
  expect(twice.result([["p", null], null])).toEqual([["new-id-1", [["p", null], null]], null]);
});

test("a clone shares no part that could be changed", () => {
  const original = createSignature("t", [[1], { a: [2] }], { b: { c: 3 } }, { headers: { d: 4 } });
  const clone = cloneSignature(original);
  expect(clone).toEqual(original);
  (clone.args[0] as number[]).push(2);
  (clone.kwargs.b as { c: number }).c = 4;
  (clone.options.headers as { d: number }).d = 5;
  expect(original).toEqual(createSignature("t", [[1], { a: [2] }], { b: { c: 3 } }, { headers: { d: 4 } }));
  const date = new Date();
  expect(cloneSignature(createSignature("t", [date])).args[0]).toBe(date);
});
