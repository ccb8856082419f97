import type { ResultTuple } from "./task-meta.ts";

/** Ids of the calls whose results make up this one: itself, or all members of a group through all depths. */
export function leavesOf([[id], children]: ResultTuple): readonly string[] {
  return children === null ? [id] : children.flatMap(leavesOf);
}

/** The value of each call in the place of its handle: a group is a list. */
export function structured([[id], children]: ResultTuple, values: ReadonlyMap<string, unknown>): unknown {
  return children === null ? values.get(id) : children.map((child) => structured(child, values));
}
