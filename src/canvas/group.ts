import type { SignatureDict } from "../protocol/signature.ts";
import { createSignature, type Kwargs, mergeCall, type Options, without } from "./signature.ts";

/** Signatures that run side by side. */
export function createGroup(tasks: readonly SignatureDict[], options: Options = {}): SignatureDict {
  return createSignature("celery.group", [], { tasks }, options, { subtask_type: "group" });
}

export const isGroup = (signature: SignatureDict): boolean => signature.subtask_type === "group";

/** The direct members, nested groups among them. */
export function groupTasks(group: SignatureDict): readonly SignatureDict[] {
  return group.kwargs.tasks as readonly SignatureDict[];
}

/** Keyword arguments given to the group, for each of its members. */
export const groupKwargs = (group: SignatureDict): Kwargs => without(group.kwargs, "tasks");

/** A member as it is once its group no longer stands around it: with the group's arguments and options. */
export function withGroupCall(group: SignatureDict, member: SignatureDict): SignatureDict {
  const options = without(group.options, "task_id", "group_id", "group_index", "chord", "link");
  return mergeCall(member, group.args, groupKwargs(group), options);
}

export interface Member {
  readonly signature: SignatureDict;
  readonly index: number;
}

/**
 * Members in the order and with the indexes of a group that is sent as it is: nested groups
 * are unrolled in place and count from 0 again, so indexes repeat (protocol 4.5).
 */
export function membersAsSent(group: SignatureDict): readonly Member[] {
  return groupTasks(group).flatMap((task, index): readonly Member[] =>
    isGroup(task)
      ? membersAsSent(task).map((member) => ({ ...member, signature: withGroupCall(task, member.signature) }))
      : [{ signature: task, index }],
  );
}

/**
 * Members of a group that is frozen before it is sent, as a chord's header is: numbered
 * through, and those of a nested group come out in reverse (protocol 4.5, trap 9). Results of a
 * chord made by Python have this order, so ours must.
 */
export function membersAsFrozen(group: SignatureDict): readonly SignatureDict[] {
  const waiting = [...groupTasks(group)];
  const members: SignatureDict[] = [];
  for (let task = waiting.shift(); task; task = waiting.shift()) {
    const nested = task;
    if (!isGroup(nested)) members.push(nested);
    else for (const inner of groupTasks(nested)) waiting.unshift(withGroupCall(nested, inner));
  }
  return members;
}
