import type { SignatureDict } from "../protocol/signature.ts";
import { chainTasks, createChain, isChain } from "./chain.ts";
import { chordBody, chordHeader, chordKwargs, createChord, isChord, withParts } from "./chord.ts";
import { createGroup, groupKwargs, groupTasks, isGroup, withGroupCall } from "./group.ts";
import { chunksToGroup } from "./map.ts";
import {
  extendLinks,
  type Kwargs,
  mergeCall,
  type Options,
  type Place,
  signatureList,
  textOption,
  withOptions,
  without,
  withTasks,
} from "./signature.ts";

/**
 * The same composition in its simplest form, of which every later rule may rely:
 *
 * - a chain has at least two steps, no chain among them, and a group only as the last one
 *   (`group | task` has become a chord);
 * - chunks have become groups; a group of one inside a chain has become its member;
 * - nothing empty is left, but an empty group on its own and the empty header of a chord.
 *
 * Ids and options a signature already has stay with it, so simplifying what a peer has frozen
 * changes no id. Null: nothing is left to do (an empty chain).
 */
export function simplify(signature: SignatureDict): SignatureDict | null {
  switch (signature.subtask_type) {
    case "chain":
      return simplifyChain(signature);
    case "group":
      return simplifyGroup(signature);
    case "chunks":
      return simplifyGroup(chunksToGroup(signature));
    case "chord":
      return simplifyChord(signature);
    default:
      return signature;
  }
}

const isEmptyGroup = (signature: SignatureDict): boolean => isGroup(signature) && groupTasks(signature).length === 0;

function simplifyGroup(group: SignatureDict): SignatureDict {
  const tasks = groupTasks(group)
    .map(simplify)
    .filter((task): task is SignatureDict => task !== null && !isEmptyGroup(task));
  return withTasks(group, tasks);
}

function simplifyChord(chord: SignatureDict): SignatureDict {
  const header = chordHeader(chord);
  const members = simplify(isGroup(header) || header.subtask_type === "chunks" ? header : createGroup([header]));
  const body = simplify(chordBody(chord));
  const group = members as SignatureDict;
  if (body !== null && !isEmptyGroup(body)) return withParts(chord, group, body);
  // Nothing to call afterwards: what is left is the header.
  const left = mergeCall(group, chord.args, chordKwargs(chord), without(chord.options, "chord", "link", "link_error"));
  return addErrbacks(left, signatureList(chord.options.link_error));
}

function simplifyChain(chain: SignatureDict): SignatureDict | null {
  const steps: SignatureDict[] = [];
  let empty: SignatureDict | null = null;
  for (const task of chainTasks(chain)) {
    const step = simplify(task);
    if (step === null) continue;
    if (isEmptyGroup(step)) empty = step;
    else steps.push(...stepsOf(step));
  }
  const joined = joinGroups(steps);
  if (joined.length === 0) return empty;
  const whole = withTasks(chain, joined);
  return joined.length === 1 ? (distribute(whole)[0] as SignatureDict) : whole;
}

/** What one simplified task means as steps of a chain. */
function stepsOf(task: SignatureDict): readonly SignatureDict[] {
  if (isChain(task)) return distribute(task);
  if (isGroup(task) && groupTasks(task).length === 1) {
    return stepsOf(withGroupCall(task, groupTasks(task)[0] as SignatureDict));
  }
  return [task];
}

/** A group followed by something becomes a chord with that as its body, from the end backwards. */
function joinGroups(steps: readonly SignatureDict[]): readonly SignatureDict[] {
  const joined: SignatureDict[] = [];
  for (const step of [...steps].reverse()) {
    const next = joined[0];
    if (next !== undefined && endsInGroup(step)) joined[0] = joinNext(step, next);
    else joined.unshift(step);
  }
  return joined;
}

/**
 * Whether several tasks end the signature, so that only a chord can wait for them. A chord
 * whose body is a group counts: a step behind it would otherwise run once per member.
 */
export function endsInGroup(signature: SignatureDict): boolean {
  if (isGroup(signature)) return true;
  if (isChord(signature)) return endsInGroup(chordBody(signature));
  return isChain(signature) && endsInGroup(chainTasks(signature).at(-1) as SignatureDict);
}

function joinNext(step: SignatureDict, next: SignatureDict): SignatureDict {
  if (isGroup(step)) return chordOf(step, next);
  const body = simplify(createChain([chordBody(step), next])) as SignatureDict;
  return withParts(step, chordHeader(step), body);
}

/**
 * A frozen group keeps its id when it becomes a header: the handle given to the caller names
 * it. But the body of a chord goes by the id of that chord's group, which cannot be opened twice.
 */
function chordOf(group: SignatureDict, body: SignatureDict): SignatureDict {
  const { id, groupId } = placeOf(group.options);
  const header = withOptions(group, without(group.options, ...placeOptions));
  return createChord(header, body, id === undefined || id === groupId ? {} : { task_id: id });
}

/** Keyword arguments given to a chain or a group, beside those that hold its structure. */
export function partialKwargs(signature: SignatureDict): Kwargs {
  if (isChord(signature)) return chordKwargs(signature);
  if (isGroup(signature)) return groupKwargs(signature);
  return isChain(signature) ? without(signature.kwargs, "tasks") : {};
}

/** Options of a composition that say where its end belongs. */
const placeOptions = ["task_id", "group_id", "group_index", "chord"] as const;

/**
 * The steps of a chain with the chain's own arguments and options handed down (protocol 4.4):
 * its id, place and `link` go to the last step, `link_error` to every step, `chain` follows as
 * further steps, and everything else goes to the first.
 */
export function distribute(chain: SignatureDict): readonly SignatureDict[] {
  const { options } = chain;
  const further = [...signatureList(options.chain)].reverse().flatMap((step) => stepsOf(simplify(step) ?? step));
  const own = [...chainTasks(chain)];
  const errbacks = signatureList(options.link_error);
  const last = own.length - 1;
  own[last] = addLinks(placed(own[last] as SignatureDict, placeOf(options)), signatureList(options.link));
  const first = without(options, ...placeOptions, "link", "link_error", "chain");
  own[0] = callPart(own[0] as SignatureDict, chain.args, partialKwargs(chain), first);
  return joinGroups([...own.map((step) => addErrbacks(step, errbacks)), ...further]);
}

export function placeOf(options: Options): Place {
  return {
    id: textOption(options, "task_id"),
    groupId: textOption(options, "group_id"),
    groupIndex: typeof options.group_index === "number" ? options.group_index : undefined,
    chord: options.chord as SignatureDict | undefined,
  };
}

/** A step with arguments and options more; a composition keeps them for its own members. */
function callPart(step: SignatureDict, args: readonly unknown[], kwargs: Kwargs, options: Options): SignatureDict {
  if (isChord(step)) {
    const own = { ...chordKwargs(step), ...kwargs };
    return { ...mergeCall(step, args, {}, options), kwargs: { ...step.kwargs, kwargs: own } };
  }
  return mergeCall(step, args, kwargs, options);
}

/** The signature whose end has the ids of a place: the last step of a chain, the body of a chord. */
export function placed(signature: SignatureDict, place: Place): SignatureDict {
  if (isChord(signature)) return withParts(signature, chordHeader(signature), placed(chordBody(signature), place));
  const { options } = signature;
  return withOptions(signature, {
    ...options,
    task_id: textOption(options, "task_id") ?? place.id,
    group_id: textOption(options, "group_id") ?? place.groupId,
    group_index: place.groupIndex ?? options.group_index,
    chord: place.chord ?? options.chord,
  });
}

/**
 * The signature with callbacks of its end. A group has no end of its own: its first member
 * gets them, and they take no arguments, as in Celery.
 */
export function addLinks(signature: SignatureDict, links: readonly SignatureDict[]): SignatureDict {
  if (links.length === 0) return signature;
  if (isChord(signature)) {
    return withParts(signature, chordHeader(signature), addLinks(chordBody(signature), links));
  }
  if (isGroup(signature)) {
    const [first, ...others] = groupTasks(signature);
    if (first === undefined) return signature;
    const deaf = links.map((link) => ({ ...link, immutable: true }));
    return withTasks(signature, [addLinks(first, deaf), ...others]);
  }
  const { options } = signature;
  return { ...signature, options: { ...options, link: extendLinks(options.link, links) } };
}

/**
 * The signature with errbacks: on every member of a group, on the body of a chord and of the chords that are members of
 * its header (inventory D65), else on itself.
 */
export function addErrbacks(signature: SignatureDict, errbacks: readonly SignatureDict[]): SignatureDict {
  if (errbacks.length === 0) return signature;
  if (isChord(signature)) {
    const header = chordHeader(signature);
    const inner = (task: SignatureDict): SignatureDict => (isChord(task) ? addErrbacks(task, errbacks) : task);
    const whole = isGroup(header) ? withTasks(header, groupTasks(header).map(inner)) : header;
    return withParts(signature, whole, addErrbacks(chordBody(signature), errbacks));
  }
  if (isGroup(signature)) {
    const tasks = groupTasks(signature).map((task) => addErrbacks(task, errbacks));
    return withTasks(signature, tasks);
  }
  const { options } = signature;
  return { ...signature, options: { ...options, link_error: extendLinks(options.link_error, errbacks) } };
}
