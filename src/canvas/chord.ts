import type { SignatureDict } from "../protocol/signature.ts";
import { chainTasks, isChain } from "./chain.ts";
import { createGroup, groupTasks, isGroup } from "./group.ts";
import { createSignature, type Kwargs, type Options } from "./signature.ts";

/** A group and what is called once with the list of its results. */
export function createChord(
  header: SignatureDict | readonly SignatureDict[],
  body: SignatureDict,
  options: Options = {},
): SignatureDict {
  return createSignature("celery.chord", [], { kwargs: {}, header, body }, options, { subtask_type: "chord" });
}

export const isChord = (signature: SignatureDict): boolean => signature.subtask_type === "chord";

/** The header as a group: on the wire it is a plain list until it is frozen (protocol 4.1). */
export function chordHeader(chord: SignatureDict): SignatureDict {
  const { header } = chord.kwargs;
  return Array.isArray(header) ? createGroup(header as readonly SignatureDict[]) : (header as SignatureDict);
}

export function chordBody(chord: SignatureDict): SignatureDict {
  return chord.kwargs.body as SignatureDict;
}

/** Keyword arguments kept for the members of the header. */
export function chordKwargs(chord: SignatureDict): Kwargs {
  return (chord.kwargs.kwargs as Kwargs | undefined) ?? {};
}

/** The chord with other parts. */
export function withParts(chord: SignatureDict, header: SignatureDict, body: SignatureDict): SignatureDict {
  return { ...chord, kwargs: { ...chord.kwargs, header, body } };
}

/**
 * How many tasks will report to the chord on behalf of one member of its header (protocol 4.6):
 * a chain reports by its last step, a chord by its body, a group by all its members.
 */
export function reporters(member: SignatureDict): number {
  if (isChain(member)) return reporters(chainTasks(member).at(-1) as SignatureDict);
  if (isChord(member)) return reporters(chordBody(member));
  if (isGroup(member)) return groupTasks(member).reduce((sum, task) => sum + reporters(task), 0);
  return 1;
}
