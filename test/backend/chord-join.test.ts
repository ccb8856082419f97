import { expect, test } from "vitest";
import type { ChordPart } from "../../src/backend/backend.ts";
import { joinChord } from "../../src/backend/chord-join.ts";
import { ChordError } from "../../src/errors.ts";

const part = (taskId: string, index: number | null, result: unknown, state = "SUCCESS"): ChordPart => ({
  taskId,
  index,
  state,
  result,
});
const failure = (taskId: string, index: number, type: string, message: unknown): ChordPart =>
  part(taskId, index, { exc_type: type, exc_message: message, exc_module: "builtins" }, "FAILURE");

test("results are joined in group order, those without a place last", () => {
  const parts = [part("d", null, "d"), part("c", 2, "c"), part("a", 0, null), part("b", 1, "b")];
  expect(joinChord(parts)).toEqual({ kind: "results", results: [null, "b", "c", "d"] });
});

test("the first failure in group order becomes a ChordError in Celery's words", () => {
  const parts = [
    failure("late", 2, "KeyError", ["k"]),
    part("fine", 0, 1),
    failure("first", 1, "ValueError", ["bad", 1]),
  ];
  const joined = joinChord(parts);
  expect(joined).toMatchObject({ kind: "failed", part: { taskId: "first" } });
  const { error } = joined as { readonly error: Error };
  expect(error).toBeInstanceOf(ChordError);
  expect(error.message).toBe("Dependency first raised ValueError('bad', 1)");
});

test("a revoked member, an exception without arguments and one with plain text are told as Python would", () => {
  const messageOf = (each: ChordPart): string => (joinChord([each]) as { readonly error: Error }).error.message;
  expect(messageOf({ ...failure("t", 0, "TaskRevokedError", ["terminated"]), state: "REVOKED" })).toBe(
    "Dependency t raised TaskRevokedError('terminated')",
  );
  expect(messageOf(failure("t", 0, "Boom", []))).toBe("Dependency t raised Boom()");
  expect(messageOf(failure("t", 0, "Boom", "it's broken"))).toBe(`Dependency t raised Boom("it's broken")`);
  expect(messageOf(part("t", 0, "odd", "FAILURE"))).toBe("Dependency t raised 'odd'");
});
