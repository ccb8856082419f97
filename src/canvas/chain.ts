import type { SignatureDict } from "../protocol/signature.ts";
import { createSignature, type Options } from "./signature.ts";

/** Signatures that run one after another, each with the result of the one before. */
export function createChain(tasks: readonly SignatureDict[], options: Options = {}): SignatureDict {
  return createSignature("celery.chain", [], { tasks }, options, { subtask_type: "chain" });
}

export const isChain = (signature: SignatureDict): boolean => signature.subtask_type === "chain";

/** The steps in the order they run. */
export function chainTasks(chain: SignatureDict): readonly SignatureDict[] {
  return chain.kwargs.tasks as readonly SignatureDict[];
}
