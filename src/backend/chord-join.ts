import { ChordError } from "../errors.ts";
import { PROPAGATE_STATES } from "../protocol/states.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";
import { pythonRepr, pythonStringLiteral } from "../util/repr.ts";
import type { ChordPart, ResultBackend } from "./backend.ts";

/** What the finished members of a chord come to. */
export type JoinedChord =
  | { readonly kind: "results"; readonly results: readonly unknown[] }
  | { readonly kind: "failed"; readonly error: ChordError; readonly part: ChordPart };

/**
 * The argument of a chord's body: the results in group order; or, when a member failed or was
 * revoked, the error in Celery's words, `Dependency <task id> raised ValueError('bad')`
 * (protocol 8.2). Of several failures the first in group order counts.
 */
export function joinChord(parts: readonly ChordPart[]): JoinedChord {
  const ordered = [...parts].sort(byIndex);
  const part = ordered.find(({ state }) => PROPAGATE_STATES.has(state));
  if (!part) return { kind: "results", results: ordered.map(({ result }) => result) };
  return {
    kind: "failed",
    part,
    error: new ChordError(`Dependency ${part.taskId} raised ${exceptionRepr(part.result)}`),
  };
}

/** Has a chord counted, before the first of its members is sent; `header` is the handle to save, where there is one. */
export async function openChord(
  backend: ResultBackend,
  { groupId, size, header }: { readonly groupId: string; readonly size: number; readonly header?: ResultTuple },
): Promise<void> {
  if (header !== undefined) await backend.saveGroup(groupId, header);
  await backend.openChord(groupId, size);
}

/** Group order: by index, those without one last and in the order they came. */
export function byIndex(a: ChordPart, b: ChordPart): number {
  if (a.index === null) return b.index === null ? 0 : 1;
  return b.index === null ? -1 : a.index - b.index;
}

/** An exception as Python's `repr` shows it: `ValueError('bad', 1)`. Whatever is no exception is shown as a value. */
function exceptionRepr(result: unknown): string {
  if (typeof result !== "object" || result === null || !("exc_type" in result)) return pythonRepr(result);
  const { exc_type, exc_message } = result as { readonly exc_type: unknown; readonly exc_message?: unknown };
  const args = Array.isArray(exc_message) ? exc_message : exc_message === undefined ? [] : [exc_message];
  return `${String(exc_type)}(${args.map(argumentRepr).join(", ")})`;
}

/** Python's own `repr` chooses its quotes; the one for logs does not. */
function argumentRepr(value: unknown): string {
  return typeof value === "string" ? pythonStringLiteral(value) : pythonRepr(value);
}
