import type { ResultTuple } from "../protocol/task-meta.ts";
import { AsyncResult } from "./result.ts";
import type { ResultHandle, ResultSource } from "./result-handle.ts";
import { GroupResult } from "./result-set.ts";

/** The handle of a result as it travels (protocol 4.9). `own` has those, by id, that are kept elsewhere than in `source`. */
export function resultFromTuple(
  tuple: ResultTuple,
  source: ResultSource,
  own: ReadonlyMap<string, ResultSource> = nowhereElse,
): ResultHandle {
  // Parents of parents can be many: first to last, without recursion.
  const line: ResultTuple[] = [];
  for (let one: ResultTuple | null = tuple; one !== null; one = one[0][1]) line.unshift(one);
  let parent: ResultHandle | null = null;
  for (const [[id], children] of line) parent = single(id, children, parent, source, own);
  return parent as ResultHandle;
}

const nowhereElse: ReadonlyMap<string, ResultSource> = new Map();

function single(
  id: string,
  children: readonly ResultTuple[] | null,
  parent: ResultHandle | null,
  source: ResultSource,
  own: ReadonlyMap<string, ResultSource>,
): ResultHandle {
  if (children === null) return new AsyncResult(id, own.get(id) ?? source, { parent });
  const members = children.map((child) => resultFromTuple(child, source, own));
  return new GroupResult(id, members, source, { parent });
}
