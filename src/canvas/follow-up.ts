import type { SignatureDict } from "../protocol/signature.ts";
import type { Embed } from "../protocol/task-message.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";
import { chainTasks, createChain, isChain } from "./chain.ts";
import { chordBody, chordHeader, createChord, isChord, reporters, withParts } from "./chord.ts";
import { endId, freeze } from "./freeze.ts";
import { fromDict, listFromDict } from "./from-dict.ts";
import { createGroup, groupTasks, isGroup } from "./group.ts";
import { type Call, type Plan, planSignature } from "./plan.ts";
import { createSignature, type Options, signatureList, textOption, withOptions, without } from "./signature.ts";
import { addErrbacks, addLinks, endsInGroup, placed, simplify } from "./simplify.ts";
import { stampSignature } from "./stamp.ts";

/** The task that ended, as its message names it: headers will do. */
export interface EndedTask {
  readonly id: string;
  readonly root_id?: string | null;
}

export interface FollowUpOptions {
  readonly newId: () => string;
  /** Priority that followers inherit (`task_inherit_parent_priority`); left out or null: none. */
  readonly priority?: number | null;
  /** `reply_to` of signatures that are frozen here for the first time. */
  readonly replyTo?: string | undefined;
}

const rootOf = (request: EndedTask): string => request.root_id ?? request.id;

/** A body may come without some of the four keys (protocol 1.3). */
type EmbedLike = { readonly [key in keyof Embed]?: unknown };

/**
 * What a success sets going (protocol 5.6): callbacks, then the next step of the chain with the
 * steps behind it. `children` is what the task's stored result names as started by it.
 */
export function planSuccess(
  request: EndedTask,
  embed: EmbedLike,
  retval: unknown,
  options: FollowUpOptions,
): { readonly plans: readonly Plan[]; readonly children: readonly ResultTuple[] } {
  const inherited = { parent_id: request.id, root_id: rootOf(request), priority: options.priority };
  const ids = { newId: options.newId, replyTo: options.replyTo };
  const call = (signature: SignatureDict, more: Options = {}): Plan =>
    planSignature(signature, { args: [retval], options: { ...inherited, ...more }, ...ids });

  const plans = callbackGroups(listFromDict(embed.callbacks, "callbacks")).map((callback) => call(callback));
  const chain = listFromDict(embed.chain, "chain");
  const next = chain.at(-1);
  // The next step is sent with the rest of the chain, `[]` at its end.
  if (next !== undefined) plans.push(call(next, { chain: chain.slice(0, -1) }));
  return { plans, children: plans.flatMap((plan) => plan.children) };
}

/** One callback is called itself; of several the groups are, and the others become one new group. */
function callbackGroups(callbacks: readonly SignatureDict[]): readonly SignatureDict[] {
  if (callbacks.length <= 1) return callbacks;
  const others = callbacks.filter((callback) => !isGroup(callback));
  return [...callbacks.filter(isGroup), ...(others.length === 0 ? [] : [createGroup(others)])];
}

/**
 * What a failure sets going (protocol 5.7). `inline` errbacks are to be called in this process
 * with request, error and traceback; all others leave as one group of tasks whose argument is
 * the id of the failed task. `isInline` says which task of this worker is of the first kind.
 */
export function planErrbacks(
  request: EndedTask,
  embed: Pick<EmbedLike, "errbacks">,
  options: { readonly newId: () => string; readonly isInline: (signature: SignatureDict) => boolean },
): { readonly inline: readonly SignatureDict[]; readonly plans: readonly Plan[] } {
  const errbacks = listFromDict(embed.errbacks, "errbacks");
  const inline = errbacks.filter(options.isInline);
  const sent = errbacks.filter((errback) => !inline.includes(errback));
  if (sent.length === 0) return { inline, plans: [] };
  const plan = planSignature(createGroup(sent), {
    args: [request.id],
    options: { parent_id: request.id, root_id: rootOf(request) },
    newId: options.newId,
  });
  return { inline, plans: [plan] };
}

/** A task that will never run and whose result has to say so. */
export interface FailedTask {
  readonly taskId: string;
  /** Its name. */
  readonly task: string;
  /** Body of the chord that waits for the task: it needs this task's part. */
  readonly chord: SignatureDict | null;
  readonly groupId: string | null;
  readonly groupIndex: number | null;
}

/**
 * Tasks that fail with one they would have followed (protocol 5.8): every task of the steps
 * left, in the order of the embed, the last step first. Of a chord its body and the members of
 * its header are among them, of a group its members; Celery 5.6 leaves those pending for ever.
 */
export function failedChainIds(embed: Pick<EmbedLike, "chain">): readonly FailedTask[] {
  return listFromDict(embed.chain, "chain").flatMap((step) => tasksOf(step));
}

/** All tasks of a body that a failed chord will not call. */
export function failedBodyIds(body: SignatureDict): readonly FailedTask[] {
  return tasksOf(fromDict(body, "chord"));
}

/** A call and all that it carries along, by the ids they have or will have. */
export function callsOf(call: Pick<SignatureDict, "task" | "options">): readonly Pick<FailedTask, "taskId" | "task">[] {
  const { task, options } = call;
  const taskId = textOption(options, "task_id");
  return [
    ...(taskId === undefined ? [] : [{ taskId, task }]),
    ...signatureList(options.chain).flatMap(tasksOf),
    ...signatureList(options.chord).flatMap((body) => [...tasksOf(body), ...callsOf(body)]),
  ];
}

function tasksOf(signature: SignatureDict): readonly FailedTask[] {
  const following = signatureList(signature.options.chain).flatMap((step) => tasksOf(step));
  return [...following, ...ownTasks(signature)];
}

function ownTasks(signature: SignatureDict): readonly FailedTask[] {
  if (isChain(signature)) return [...chainTasks(signature)].reverse().flatMap(tasksOf);
  if (isGroup(signature)) return groupTasks(signature).flatMap(tasksOf);
  if (isChord(signature)) {
    // The chord was never opened: its body is failed here, and no part of the header is awaited.
    const header = groupTasks(chordHeader(signature)).flatMap(tasksOf);
    return [...tasksOf(chordBody(signature)), ...header.map((task) => ({ ...task, chord: null }))];
  }
  const { options } = signature;
  const taskId = textOption(options, "task_id");
  if (taskId === undefined) return [];
  const index = options.group_index;
  return [
    {
      taskId,
      task: signature.task,
      chord: (options.chord as SignatureDict | undefined) ?? null,
      groupId: textOption(options, "group_id") ?? null,
      groupIndex: typeof index === "number" ? index : null,
    },
  ];
}

/**
 * The body of a chord whose parts are all there (protocol 4.6, 8.2). Its parent is the member
 * that completed it, unless the body was given one when the chord was sent.
 */
export function planChordBody(
  body: SignatureDict,
  results: readonly unknown[],
  request: EndedTask,
  options: FollowUpOptions,
): Plan {
  const read = fromDict(body, "chord");
  return planSignature(read, {
    args: [results],
    options: {
      root_id: rootOf(request),
      parent_id: request.id,
      priority: options.priority,
      ...onlyKeys(read.options, "root_id", "parent_id", "priority"),
    },
    newId: options.newId,
    replyTo: options.replyTo,
  });
}

function onlyKeys(options: Options, ...keys: readonly string[]): Options {
  return Object.fromEntries(keys.filter((key) => key in options).map((key) => [key, options[key]]));
}

/**
 * What a failed chord sets going (protocol 8.2): the errbacks of its body, with the body as the
 * task that failed; for a group as body, those of every member. `failed` are the tasks whose
 * results are to say `ChordError`.
 */
export function planChordErrbacks(
  body: SignatureDict,
  request: EndedTask,
  options: { readonly newId: () => string; readonly isInline: (signature: SignatureDict) => boolean },
): {
  /** To be called in this process, each with the call that failed. */
  readonly inline: readonly { readonly errback: SignatureDict; readonly failed: SignatureDict }[];
  readonly plans: readonly Plan[];
  readonly failed: readonly FailedTask[];
} {
  const read = fromDict(body, "chord");
  const planned = endsOf(read).map((end) => {
    const id = endId(end) ?? request.id;
    const failed = { id, root_id: textOption(end.options, "root_id") ?? textOption(read.options, "root_id") ?? id };
    const { inline, plans } = planErrbacks(failed, { errbacks: end.options.link_error }, options);
    const named = { ...end, options: { ...end.options, task_id: id, root_id: failed.root_id } };
    return { inline: inline.map((errback) => ({ errback, failed: named })), plans };
  });
  return {
    inline: planned.flatMap((each) => each.inline),
    plans: planned.flatMap((each) => each.plans),
    failed: tasksOf(read),
  };
}

/** The signatures whose errbacks answer for a body. */
function endsOf(body: SignatureDict): readonly SignatureDict[] {
  if (isGroup(body)) return [body, ...groupTasks(body).flatMap(endsOf)];
  return isChord(body) ? endsOf(chordBody(body)) : [body];
}

/** One more member of a chord (inventory D.4; `add_to_chord`). */
export interface Addition {
  readonly plan: Plan;
  /** Id of its end. */
  readonly id: string;
  /** How many parts it brings. */
  readonly parts: number;
  /** The signature, frozen: its place in the chord is in it. */
  readonly signature: SignatureDict;
}

/** A signature as a further member of the chord a task belongs to, at that task's place in it. */
export function planAddition(
  request: ReplacedTask,
  chord: SignatureDict,
  signature: SignatureDict,
  options: FollowUpOptions & { readonly id: string },
): Addition {
  const simple = simplify(fromDict(signature)) ?? createGroup([]);
  const place = {
    id: options.id,
    groupId: request.group ?? undefined,
    groupIndex: request.group_index ?? undefined,
    chord: fromDict(chord),
  };
  const { signature: frozen } = freeze(placed(simple, place), place, {
    newId: options.newId,
    replyTo: options.replyTo,
  });
  const plan = planSignature(frozen, {
    options: { root_id: rootOf(request), parent_id: request.id, priority: options.priority },
    newId: options.newId,
    replyTo: options.replyTo,
  });
  return { plan, id: endId(frozen) ?? options.id, parts: reporters(frozen), signature: frozen };
}

/** What a replacement takes over from the task it replaces. */
export interface ReplacedTask extends EndedTask {
  readonly group?: string | null;
  readonly group_index?: number | null;
  readonly replaced_task_nesting?: number;
  readonly stamped_headers?: readonly string[] | null;
  readonly stamps?: Readonly<Record<string, unknown>>;
}

/**
 * A task's place taken by a signature (protocol 4.8): its end gets the id of the task, its
 * callbacks and errbacks, its place in a group and the rest of its chain; a group is gathered
 * by `celery.accumulate`. The caller then ends without storing a result.
 */
export function planReplacement(
  request: ReplacedTask,
  embed: EmbedLike,
  signature: SignatureDict,
  options: FollowUpOptions,
): Plan {
  const nesting = { replaced_task_nesting: (request.replaced_task_nesting ?? 0) + 1 };
  const names = request.stamped_headers ?? [];
  const stamps = { ...onlyKeys(request.stamps ?? {}, ...names), stamped_headers: names };
  const gathered = stampSignature(gather(fromDict(signature)), stamps, { keep: true });
  const linked = addErrbacks(
    addLinks(gathered, listFromDict(embed.callbacks, "callbacks")),
    listFromDict(embed.errbacks, "errbacks"),
  );
  const [chord] = listFromDict(embed.chord, "chord");
  const end = placed(withoutEndId(linked), {
    id: request.id,
    groupId: request.group ?? undefined,
    groupIndex: request.group_index ?? undefined,
    chord,
  });
  const rest = listFromDict(embed.chain, "chain").map((step) => withOptions(step, { ...step.options, ...nesting }));
  const plan = planSignature(end, {
    options: {
      root_id: rootOf(request),
      priority: options.priority,
      ...nesting,
      ...(rest.length === 0 ? {} : { chain: rest }),
    },
    newId: options.newId,
    replyTo: options.replyTo,
  });
  return { ...plan, calls: plan.calls.map((call) => startedBy(request, call)) };
}

/** Not an option of the plan: the parent of a chord's body is to be the member that completes it. */
function startedBy(request: EndedTask, call: Call): Call {
  return { ...call, options: { parent_id: request.id, ...call.options } };
}

/** The end of a replacement goes by the id of the task replaced: that is the one waited for. */
function withoutEndId(signature: SignatureDict): SignatureDict {
  if (isChord(signature)) return withParts(signature, chordHeader(signature), withoutEndId(chordBody(signature)));
  const own = withOptions(signature, without(signature.options, "task_id"));
  if (!isChain(signature)) return own;
  const tasks = chainTasks(own);
  return {
    ...own,
    kwargs: { ...own.kwargs, tasks: [...tasks.slice(0, -1), withoutEndId(tasks.at(-1) as SignatureDict)] },
  };
}

/** With one result: Celery leaves what only ends in a group as it is, and then nothing has the task's id. */
function gather(signature: SignatureDict): SignatureDict {
  const simple = simplify(signature) ?? createGroup([]);
  const accumulate = createSignature("celery.accumulate", [], { index: 0 });
  if (isGroup(simple)) return createChord(simple, accumulate);
  return endsInGroup(simple) ? (simplify(createChain([simple, accumulate])) as SignatureDict) : simple;
}
