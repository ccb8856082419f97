import type { SignatureDict } from "../protocol/signature.ts";
import { createGroup } from "./group.ts";
import { createSignature } from "./signature.ts";

/** `[task(item) for item of items]` as one message, run one after another in one process. */
export function createMap(task: SignatureDict, items: readonly unknown[]): SignatureDict {
  return createSignature("celery.map", [], { task, it: items }, {}, { immutable: true });
}

/** `[task(...item) for item of items]` as one message, run one after another in one process. */
export function createStarmap(task: SignatureDict, items: readonly (readonly unknown[])[]): SignatureDict {
  return createSignature("celery.starmap", [], { task, it: items }, {}, { immutable: true });
}

/** Items cut into starmaps of `size` items each; sent as a group of them (protocol 4.1). */
export function createChunks(task: SignatureDict, items: readonly (readonly unknown[])[], size: number): SignatureDict {
  return createSignature("celery.chunks", [], { task, it: items, n: size }, {}, { immutable: true });
}

/** Python leaves their type out: they are known by their task. */
export const isChunks = (signature: SignatureDict): boolean =>
  signature.subtask_type === "chunks" || (signature.task === "celery.chunks" && "it" in signature.kwargs);

/** Chunks are never sent as a task: this is the group that is. The last starmap may be shorter. */
export function chunksToGroup(chunks: SignatureDict): SignatureDict {
  const { task, it, n } = chunks.kwargs as { task: SignatureDict; it: (readonly unknown[])[]; n: number };
  const starmaps: SignatureDict[] = [];
  for (let start = 0; start < it.length; start += n) starmaps.push(createStarmap(task, it.slice(start, start + n)));
  return createGroup(starmaps, chunks.options);
}
