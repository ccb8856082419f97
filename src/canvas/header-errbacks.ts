import type { SignatureDict } from "../protocol/signature.ts";
import { chainTasks, isChain } from "./chain.ts";
import { chordBody, chordHeader, isChord, withParts } from "./chord.ts";
import { groupTasks, isGroup } from "./group.ts";
import { signatureList, withTasks } from "./signature.ts";
import { addErrbacks } from "./simplify.ts";

/**
 * The composition with the errbacks of each chord in it on the members of its header too, be they its own, those of a
 * chain around it, or given with the call (`task_allow_error_cb_on_chord_header`). Its body gets them anyway.
 */
export function withHeaderErrbacks(signature: SignatureDict, given: readonly SignatureDict[]): SignatureDict {
  const errbacks = [...given, ...signatureList(signature.options.link_error)];
  if (isChain(signature)) {
    const steps = chainTasks(signature);
    const tasks = steps.map((step, index) => {
      const inside = withHeaderErrbacks(step, errbacks);
      // With a step behind it a group is the header of a chord.
      return isGroup(step) && index < steps.length - 1 ? addErrbacks(inside, errbacks) : inside;
    });
    return withTasks(signature, tasks);
  }
  if (isGroup(signature)) {
    const tasks = groupTasks(signature).map((task) => withHeaderErrbacks(task, given));
    return withTasks(signature, tasks);
  }
  if (!isChord(signature)) return signature;
  const header = addErrbacks(withHeaderErrbacks(chordHeader(signature), []), errbacks);
  return withParts(signature, header, withHeaderErrbacks(chordBody(signature), errbacks));
}
