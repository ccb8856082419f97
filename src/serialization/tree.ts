import { DecodeError } from "../errors.ts";
import { MAX_DEPTH } from "../protocol/wire-json.ts";

/**
 * Refuses what formats with references can express and nobody downstream expects: values that
 * contain themselves, nest too deep, or unfold into far more than was sent. Returns the value.
 */
export function requireTree<T>(value: T, size: number): T {
  let room = Math.max(size, 1000) * 100;
  const visit = (node: unknown, depth: number): void => {
    if (typeof node !== "object" || node === null || ArrayBuffer.isView(node)) return;
    if (depth >= MAX_DEPTH)
      throw new DecodeError(`the document is nested more than ${MAX_DEPTH} levels deep, or contains itself`);
    room -= 1;
    if (room < 0) throw new DecodeError("the document unfolds into far more than was sent");
    for (const child of children(node)) visit(child, depth + 1);
  };
  visit(value, 0);
  return value;
}

function children(node: object): Iterable<unknown> {
  if (Array.isArray(node) || node instanceof Set) return node;
  if (node instanceof Map) return [...node].flat();
  return Object.values(node);
}
