import { isDeepStrictEqual } from "node:util";
import type { SignatureDict } from "../protocol/signature.ts";
import type { ResultTuple } from "../protocol/task-meta.ts";

/** Options of `applyAsync` under their wire names. A null option means: not given. */
export type Options = Readonly<Record<string, unknown>>;
export type Kwargs = Readonly<Record<string, unknown>>;

export interface SignatureTraits {
  /** Takes no arguments from whoever calls it later, such as the result of the step before. */
  readonly immutable?: boolean;
  readonly subtask_type?: SignatureDict["subtask_type"];
}

/** A call not made yet, with all six keys Celery expects (protocol 4.1). */
export function createSignature(
  task: string,
  args: readonly unknown[] = [],
  kwargs: Kwargs = {},
  options: Options = {},
  traits: SignatureTraits = {},
): SignatureDict {
  return {
    task,
    args,
    kwargs,
    options,
    subtask_type: traits.subtask_type ?? null,
    immutable: traits.immutable ?? false,
  };
}

/** A copy that shares no array and no plain object with the original; other values are shared. */
export function cloneSignature(signature: SignatureDict): SignatureDict {
  return copy(signature) as SignatureDict;
}

function copy(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(copy);
  if (typeof value !== "object" || value === null) return value;
  const prototype = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, copy(entry)]));
}

/**
 * The signature as it is called with more arguments and options (protocol 4.2): new arguments
 * come first, new keyword arguments and options win. An immutable signature takes options
 * only. Where a call belongs (`group_id`) and what it is stamped with stay as they were, and
 * options that are null say nothing.
 */
export function mergeCall(
  signature: SignatureDict,
  args: readonly unknown[] = [],
  kwargs: Kwargs = {},
  options: Options = {},
): SignatureDict {
  const takes = !signature.immutable;
  return {
    ...signature,
    args: takes && args.length > 0 ? [...args, ...signature.args] : signature.args,
    kwargs: takes && Object.keys(kwargs).length > 0 ? { ...signature.kwargs, ...kwargs } : signature.kwargs,
    options: mergeOptions(signature.options, options),
  };
}

/** The options rule of `mergeCall`. Never holds a null. */
export function mergeOptions(stored: Options, given: Options): Options {
  const merged: Record<string, unknown> = {};
  for (const key in stored) if (isGiven(stored[key])) merged[key] = stored[key];
  const stamps = merged.stamped_headers;
  for (const key in given) {
    const stays = key === "group_id" || key === "stamped_headers" || (Array.isArray(stamps) && stamps.includes(key));
    if (isGiven(given[key]) && !(stays && key in merged)) merged[key] = given[key];
  }
  return merged;
}

const isGiven = (value: unknown): boolean => value !== null && value !== undefined;

/** The signature with its options replaced; nulls are left out. */
export function withOptions(signature: SignatureDict, options: Options): SignatureDict {
  return { ...signature, options: mergeOptions(options, {}) };
}

/** The chain or group with these tasks in it instead of its own. */
export function withTasks(signature: SignatureDict, tasks: readonly SignatureDict[]): SignatureDict {
  return { ...signature, kwargs: { ...signature.kwargs, tasks } };
}

/** Options without some of them. */
export function without(options: Options, ...keys: readonly string[]): Options {
  const rest: Record<string, unknown> = {};
  for (const key in options) if (!keys.includes(key)) rest[key] = options[key];
  return rest;
}

/** A text option, or undefined when it is absent, null or something else. */
export function textOption(options: Options, key: string): string | undefined {
  const value = options[key];
  return typeof value === "string" && value !== "" ? value : undefined;
}

/** `link`, `link_error` and `chain` may hold one signature, a list, or nothing (protocol 4.1). */
export function signatureList(value: unknown): readonly SignatureDict[] {
  if (value === null || value === undefined) return [];
  return Array.isArray(value) ? (value as readonly SignatureDict[]) : [value as SignatureDict];
}

/** A list of callbacks with more of them; one that is there already is not added again, as in Celery. */
export function extendLinks(stored: unknown, more: readonly SignatureDict[]): readonly SignatureDict[] {
  const links = [...signatureList(stored)];
  for (const link of more) if (!links.some((known) => isDeepStrictEqual(known, link))) links.push(link);
  return links;
}

/** Where a signature belongs: the ids it must have and the chord that waits for it. */
export interface Place {
  /** The id, if it has none of its own yet. */
  readonly id?: string | undefined;
  /** Group it reports to; one it already has is kept. */
  readonly groupId?: string | undefined;
  readonly groupIndex?: number | undefined;
  /** Body of the chord that waits for it. */
  readonly chord?: SignatureDict | undefined;
}

export interface FreezeContext {
  readonly newId: () => string;
  /** Where results of an rpc backend go: every frozen signature carries it. */
  readonly replyTo?: string | undefined;
}

/** A signature whose ids are settled, and its result handle once the one before it is known. */
export interface Frozen {
  readonly signature: SignatureDict;
  readonly result: (parent: ResultTuple | null) => ResultTuple;
}

/** Settles the ids of one task (protocol 4.3). Freezing twice changes no id. */
export function freezeTask(signature: SignatureDict, place: Place, context: FreezeContext): Frozen {
  const id = textOption(signature.options, "task_id") ?? place.id ?? context.newId();
  const options: Record<string, unknown> = { ...signature.options, task_id: id };
  if (context.replyTo !== undefined) options.reply_to ??= context.replyTo;
  if (place.groupId !== undefined) options.group_id ??= place.groupId;
  if (place.chord !== undefined) options.chord = place.chord;
  if (place.groupIndex !== undefined) options.group_index = place.groupIndex;
  return { signature: { ...signature, options }, result: (parent) => [[id, parent], null] };
}
