import type { SignatureDict } from "../protocol/signature.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";
import { chainTasks, isChain } from "./chain.ts";
import { chordBody, chordHeader, isChord, withParts } from "./chord.ts";
import { isGroup, membersAsFrozen } from "./group.ts";
import {
  type FreezeContext,
  type Frozen,
  freezeTask,
  type Place,
  textOption,
  withOptions,
  without,
  withTasks,
} from "./signature.ts";
import { placed, placeOf } from "./simplify.ts";

/**
 * Settles the ids of a simplified signature and of everything in it (protocol 4.3), so that it
 * can travel inside a message and whoever holds the handle can wait for it. Freezing twice
 * changes no id.
 */
export function freeze(signature: SignatureDict, place: Place, context: FreezeContext): Frozen {
  if (isChain(signature)) return freezeChain(signature, place, context);
  if (isGroup(signature)) return freezeGroup(signature, place, context);
  if (isChord(signature)) return freezeChord(signature, place, context);
  return freezeTask(signature, place, context);
}

/** Steps in order; only the last one reports to the group and the chord around the chain. */
export function freezeSteps(
  steps: readonly SignatureDict[],
  place: Place,
  context: FreezeContext,
): { readonly steps: readonly SignatureDict[]; readonly result: Frozen["result"] } {
  const frozen = steps.map((step, index) => freeze(step, index === steps.length - 1 ? place : {}, context));
  return {
    steps: frozen.map((step) => step.signature),
    result: (parent) => frozen.reduce<ResultTuple | null>((before, step) => step.result(before), parent) as ResultTuple,
  };
}

function freezeChain(chain: SignatureDict, place: Place, context: FreezeContext): Frozen {
  const own = [...chainTasks(chain)];
  own[own.length - 1] = placed(own.at(-1) as SignatureDict, placeOf(chain.options));
  const { steps, result } = freezeSteps(own, place, context);
  const signature = withOptions(
    withTasks(chain, steps),
    // The chain goes by the id of its end: a chord that fails has to fail it (5.6.2 wrote null here).
    { ...without(chain.options, "group_id", "group_index", "chord"), task_id: endId(steps.at(-1) as SignatureDict) },
  );
  return { signature, result };
}

/** Id by which the end of a frozen signature is known. */
export function endId(signature: SignatureDict): string | undefined {
  return textOption((isChord(signature) ? endOfChord(signature) : signature).options, "task_id");
}

function endOfChord(chord: SignatureDict): SignatureDict {
  const body = chordBody(chord);
  return isChord(body) ? endOfChord(body) : body;
}

/**
 * A group that waits inside a message. It goes by the id of the group it belongs to, as with
 * Celery, but not when a chord waits for it: a Python worker sending it would then overwrite
 * the size of that chord with the size of the group.
 */
function freezeGroup(group: SignatureDict, place: Place, context: FreezeContext): Frozen {
  const { options } = group;
  const chord = place.chord ?? (options.chord as SignatureDict | undefined);
  const groupId = textOption(options, "group_id") ?? place.groupId;
  const id = textOption(options, "task_id") ?? place.id ?? (chord ? undefined : groupId) ?? context.newId();
  const members = membersAsFrozen(group).map((member, groupIndex) =>
    freeze(member, { groupId, groupIndex, chord }, context),
  );
  const signature = withOptions(
    withTasks(
      group,
      members.map((member) => member.signature),
    ),
    { ...options, task_id: id, group_id: groupId, group_index: place.groupIndex ?? options.group_index, chord },
  );
  return { signature, result: (parent) => [[id, parent], members.map((member) => member.result(null))] };
}

/**
 * The body stands beside the header, once. Celery 5.6 also puts a copy of it into every member of the
 * header, so that chords in a row grow by powers; but whoever sends the chord, Celery too, gives
 * each member its body then (canvas.py, `chord.run`). The group gets its id when the chord is sent.
 */
function freezeChord(chord: SignatureDict, place: Place, context: FreezeContext): Frozen {
  const id =
    textOption(chord.options, "task_id") ?? textOption(chordHeader(chord).options, "task_id") ?? context.newId();
  const body = freeze(chordBody(chord), place, context);
  const header = freeze(withId(chordHeader(chord), id), {}, context);
  return {
    signature: withOptions(withParts(chord, header.signature, body.signature), { ...chord.options, task_id: id }),
    result: (parent) => body.result(header.result(parent)),
  };
}

/** A header on its way into a message: it has the id of its chord. */
export function withId(group: SignatureDict, id: string): SignatureDict {
  return withOptions(group, { ...group.options, task_id: id });
}
