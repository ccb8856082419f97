import type { SignatureDict } from "../protocol/signature.ts";
import { chainTasks, createChain, isChain } from "./chain.ts";
import { createChord } from "./chord.ts";
import { groupTasks, isGroup } from "./group.ts";
import { isChunks } from "./map.ts";
import { distribute } from "./simplify.ts";

/**
 * One signature behind another: Celery's `|` (inventory D31 to D37). Chains become one, a group
 * with something behind it becomes the header of a chord, and an empty group is skipped where
 * there is another step.
 */
export function joinSignatures(first: SignatureDict, next: SignatureDict): SignatureDict {
  const steps: SignatureDict[] = [];
  for (const step of [...stepsOf(first), ...stepsOf(next)]) {
    const last = steps.at(-1);
    if (last === undefined || isEmptyGroup(last)) steps[Math.max(0, steps.length - 1)] = step;
    else if (isEmptyGroup(step)) continue;
    else if (isGroup(last) || isChunks(last)) steps[steps.length - 1] = createChord(last, step);
    else steps.push(step);
  }
  return steps.length === 1 ? (steps[0] as SignatureDict) : createChain(steps);
}

/** The steps of a chain with what was given to the chain; anything else is a step itself. */
function stepsOf(signature: SignatureDict): readonly SignatureDict[] {
  if (!isChain(signature)) return [signature];
  if (chainTasks(signature).length === 0) return [];
  const plain = signature.args.length === 0 && Object.keys(signature.options).length === 0;
  return plain && Object.keys(signature.kwargs).length === 1 ? chainTasks(signature) : distribute(signature);
}

const isEmptyGroup = (signature: SignatureDict): boolean => isGroup(signature) && groupTasks(signature).length === 0;
