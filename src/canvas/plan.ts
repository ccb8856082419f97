import { InvalidTaskError } from "../errors.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";
import { createChain, isChain } from "./chain.ts";
import { chordBody, chordHeader, isChord, reporters } from "./chord.ts";
import { freeze, freezeSteps } from "./freeze.ts";
import { fromDict, readOptions } from "./from-dict.ts";
import { createGroup, groupTasks, isGroup, membersAsFrozen, membersAsSent, withGroupCall } from "./group.ts";
import {
  extendLinks,
  type FreezeContext,
  freezeTask,
  type Kwargs,
  mergeCall,
  mergeOptions,
  type Options,
  signatureList,
  textOption,
  withOptions,
  without,
} from "./signature.ts";
import { addErrbacks, addLinks, distribute, partialKwargs, placed, placeOf, simplify } from "./simplify.ts";

/** One message to send, with apply_async options under their wire names. */
export interface Call {
  readonly task: string;
  readonly args: readonly unknown[];
  readonly kwargs: Kwargs;
  /**
   * `task_id` always; `root_id` and `parent_id` only where they are decided here. `link`,
   * `link_error`, `chain` (reversed) and `chord` make the embed, the rest headers, properties
   * and the way the message goes. No option is null.
   */
  readonly options: Options;
}

/** A chord that is to be counted. */
export interface PlannedChord {
  readonly groupId: string;
  readonly size: number;
  /**
   * The handle of the header, to be saved under `groupId`, where one of several members ends in a group: by it
   * whoever completes the chord sees which results belong together (protocol 8.2).
   */
  readonly header?: ResultTuple;
}

/** What a signature turns into. */
export interface Plan {
  /** Chords to open before the first message leaves. */
  readonly chords: readonly PlannedChord[];
  /** In the order in which they are to be sent. */
  readonly calls: readonly Call[];
  /** The result handle of the whole (protocol 4.9). */
  readonly result: ResultTuple;
  /** What a task that sends this records among its children: what it started, not what it will end in. */
  readonly children: readonly ResultTuple[];
}

export interface GivenCall {
  readonly args?: readonly unknown[] | undefined;
  readonly kwargs?: Kwargs | undefined;
  readonly options?: Options | undefined;
  /** Where the ids come from. */
  readonly newId: () => string;
  /** `reply_to` for everything that is frozen, for result stores that answer a client. */
  readonly replyTo?: string | undefined;
}

/**
 * Plans any signature: a task, a chain, a group, a chord, in any nesting. Arguments and options
 * given are merged as in protocol 4.2; for a chain they go to its first step, for a group to
 * its members, for a chord to its header, whose options are its body's too. `root_id` and
 * `parent_id` are best left to the sender, who knows the running task: given here they fix the
 * parent of a chord's body, which otherwise is the member that finished last.
 *
 * Something empty plans no call; its result is that of an empty group.
 *
 * Throws `InvalidTaskError` for a malformed signature and for a `link` given to a group.
 */
export function planSignature(signature: SignatureDict, given: GivenCall): Plan {
  const simple = simplify(fromDict(signature)) ?? createGroup([]);
  return plan(simple, given.args ?? [], given.kwargs ?? {}, readOptions(given.options ?? {}), given);
}

function plan(
  signature: SignatureDict,
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  if (isChain(signature)) return planChain(signature, args, kwargs, options, context);
  if (isGroup(signature)) return planGroup(signature, args, kwargs, options, context);
  if (isChord(signature)) return planChord(signature, args, kwargs, options, context);
  return planTask(signature, args, kwargs, options, context);
}

function planTask(
  signature: SignatureDict,
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  const merged = mergeCall(signature, args, kwargs, options);
  const { signature: frozen, result } = freezeTask(withChain(merged, signature.options, options), {}, context);
  const handle = result(null);
  const call = {
    task: frozen.task,
    args: frozen.args,
    kwargs: frozen.kwargs,
    // Celery's own note to the sender; a message property to anyone else.
    options: "add_to_parent" in frozen.options ? without(frozen.options, "add_to_parent") : frozen.options,
  };
  return { chords: [], calls: [call], result: handle, children: [handle] };
}

function withChain(merged: SignatureDict, stored: Options, given: Options): SignatureDict {
  if (!stored.chain || !given.chain) return merged;
  return withOptions(merged, { ...merged.options, chain: followingSteps(stored, given) });
}

/** Steps a signature brings along run before those of its caller: reversed lists, so they come last. */
function followingSteps(stored: Options, given: Options): readonly SignatureDict[] {
  return [...signatureList(given.chain), ...signatureList(stored.chain)];
}

/** Sends the first step with the others frozen in its message, in reverse (protocol 4.4). */
function planChain(
  chain: SignatureDict,
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  const { link, link_error, ...others } = options;
  const merged = addErrbacks(addLinks(withCall(chain, args, others), signatureList(link)), signatureList(link_error));
  const { steps, result } = freezeSteps(distribute(merged), {}, context);
  const [first, ...rest] = steps as readonly [SignatureDict, ...SignatureDict[]];
  const sent = plan(
    first,
    [],
    chain.immutable ? {} : kwargs,
    rest.length === 0 ? {} : { chain: rest.reverse() },
    context,
  );
  return { ...sent, result: result(null) };
}

/** A composition with arguments and options of a call; keyword arguments would mix with its structure. */
function withCall(signature: SignatureDict, args: readonly unknown[], options: Options): SignatureDict {
  return withChain(mergeCall(signature, args, {}, options), signature.options, options);
}

/** One message per member (protocol 4.5). */
function planGroup(
  group: SignatureDict,
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  if (signatureList(options.link).length > 0) {
    throw new InvalidTaskError(
      "link cannot be given to a group: it has no result of its own. Use a chord, or link a member",
    );
  }
  const chain = followingSteps(group.options, options);
  if (chain.length > 0) return planGroupWithNext(group, chain, args, kwargs, options, context);
  const { link, link_error, ...others } = withCall(group, args, options).options;
  const linked = addLinks(group, signatureList(link));
  const called = addErrbacks(linked, signatureList(link_error));
  const id = textOption(others, "task_id") ?? context.newId();
  const place = { groupId: id, chord: others.chord as SignatureDict | undefined };
  const passed = without(others, "task_id", "group_id", "group_index", "chord");
  const callArgs = group.immutable ? group.args : [...args, ...group.args];
  const callKwargs = { ...partialKwargs(group), ...(group.immutable ? {} : kwargs) };
  const members = membersAsSent(called).map(({ signature, index }) =>
    freeze(signature, { ...place, groupIndex: index }, context),
  );
  const plans = members.map((member) => plan(member.signature, callArgs, callKwargs, passed, context));
  const results = members.map((member) => member.result(null));
  // A group of one that ends in a group has no result of its own: it is that group's (inventory D49).
  const only = results.length === 1 && results[0]?.[1] ? results[0] : null;
  const result: ResultTuple = only ?? [[id, null], results];
  return { ...together(plans), result, children: members.length === 0 ? [] : [result] };
}

/** More than one task ends the group: only a chord can go on from there. */
function planGroupWithNext(
  group: SignatureDict,
  chain: readonly SignatureDict[],
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  const alone = withOptions(group, without(group.options, "chain"));
  const upgraded = simplify(createChain([alone, ...[...chain].reverse()])) as SignatureDict;
  return plan(upgraded, args, kwargs, without(options, "chain"), context);
}

const together = (plans: readonly Plan[]): Pick<Plan, "chords" | "calls"> => ({
  chords: plans.flatMap((each) => each.chords),
  calls: plans.flatMap((each) => each.calls),
});

/** Options that belong to the end of a chord alone, never to its header (protocol 4.6). */
const bodyOptions = ["task_id", "group_id", "group_index", "chord", "chain", "link", "link_error"];

/** The members of the header, each carrying the body (protocol 4.6). */
function planChord(
  chord: SignatureDict,
  args: readonly unknown[],
  kwargs: Kwargs,
  options: Options,
  context: FreezeContext,
): Plan {
  const header = chordHeader(chord);
  const groupId = textOption(chord.options, "task_id") ?? textOption(header.options, "task_id") ?? context.newId();
  const called = mergeOptions(without(chord.options, "task_id"), without(options, "task_id"));
  const callArgs = [...(chord.immutable ? [] : args), ...chord.args];
  const callKwargs = { ...partialKwargs(chord), ...(chord.immutable ? {} : kwargs) };
  const body = freeze(bodyOf(chord, options, called), { groupId }, context);
  if (groupTasks(header).length === 0) return planEmptyHeader(groupId, body, context);

  const passed = without(called, ...bodyOptions);
  const members = membersAsFrozen(header).map((member, groupIndex) =>
    freeze(withGroupCall(header, member), { groupId, groupIndex, chord: body.signature }, context),
  );
  const { chords, calls } = together(
    members.map((member) => plan(member.signature, callArgs, callKwargs, passed, context)),
  );
  const size = members.reduce((sum, member) => sum + reporters(member.signature), 0);
  const results = members.map((member) => member.result(null));
  const group: ResultTuple = [[groupId, null], results];
  const nested = results.length > 1 && results.some(([, children]) => children !== null);
  const planned: PlannedChord = { groupId, size, ...(nested ? { header: group } : {}) };
  return { chords: [planned, ...chords], calls, result: body.result(group), children: [group] };
}

/** The body with what was given to the chord: all options, and what only its end can have. */
function bodyOf(chord: SignatureDict, given: Options, called: Options): SignatureDict {
  const id = textOption(given, "task_id");
  const chain = [given, chord.options, chordBody(chord).options].flatMap((options) => signatureList(options.chain));
  const links = extendLinks(chord.options.link, signatureList(given.link));
  const errbacks = extendLinks(chord.options.link_error, signatureList(given.link_error));
  const body = placed(chordBody(chord), placeOf({ ...called, task_id: id }));
  const merged = mergeOptions(body.options, without(called, ...bodyOptions));
  const whole = withOptions(body, chain.length === 0 && !given.chain ? merged : { ...merged, chain });
  return addErrbacks(addLinks(whole, links), errbacks);
}

/** Nothing to wait for: the body is called with an empty list (protocol 4.6). */
function planEmptyHeader(groupId: string, body: ReturnType<typeof freeze>, context: FreezeContext): Plan {
  const sent = plan(body.signature, [[]], {}, {}, context);
  return { ...sent, result: body.result([[groupId, null], []]) };
}
