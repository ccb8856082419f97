import { readFileSync } from "node:fs";
import { expect } from "vitest";
import type { Call, Plan } from "../../src/canvas/plan.ts";
import { createSignature } from "../../src/canvas/signature.ts";
import type { SignatureDict } from "../../src/protocol/signature.ts";
import type { Embed, TaskHeaders } from "../../src/protocol/task-message.ts";
import type { ResultTuple } from "../../src/protocol/task-meta.ts";

/** A task message as a Celery client or worker sent it, body decoded. */
export interface Captured {
  readonly headers: TaskHeaders & Readonly<Record<string, unknown>>;
  readonly properties: {
    readonly correlation_id: string;
    readonly reply_to: string;
    readonly priority: number;
    readonly delivery_mode: 1 | 2;
    readonly delivery_info: { readonly exchange: string; readonly routing_key: string };
  };
  readonly body: readonly [readonly unknown[], Readonly<Record<string, unknown>>, Embed];
}

/** One captured case: messages in the order they were sent, chord sizes, results stored, the client's handle. */
export interface Golden {
  readonly case: string;
  readonly messages: readonly Captured[];
  readonly chords: Readonly<Record<string, number>>;
  readonly stored: readonly {
    readonly task_id: string;
    readonly status: string;
    readonly children: readonly ResultTuple[];
  }[];
  readonly result: unknown;
}

export function golden(name: string): Golden {
  return JSON.parse(readFileSync(new URL(`../fixtures/canvas/${name}.json`, import.meta.url), "utf8")) as Golden;
}

/** Ids that cannot be mistaken for anything else, so that they can be renamed to the captured ones. */
export function countingIds(): () => string {
  let last = 0;
  return () => `new-id-${++last}`;
}

export const task = (
  name: string,
  args: readonly unknown[] = [],
  options: Record<string, unknown> = {},
): SignatureDict => createSignature(`wt.${name}`, args, {}, options);

/**
 * The part of a message that canvas decides, as a sender makes it from a call. Options that are
 * null and `add_to_parent`, which a worker does not read, say nothing and are left out.
 */
export function messageOf(call: Call): unknown {
  const { options } = call;
  const own = (key: string): unknown => options[key] ?? null;
  const stamped = own("stamped_headers") as readonly string[] | null;
  return {
    task: call.task,
    id: own("task_id"),
    root_id: own("root_id") ?? own("task_id"),
    parent_id: own("parent_id"),
    group: own("group_id"),
    group_index: own("group_index"),
    retries: options.retries ?? 0,
    timelimit: [own("time_limit"), own("soft_time_limit")],
    expires: own("expires"),
    shadow: own("shadow"),
    replaced_task_nesting: options.replaced_task_nesting ?? 0,
    stamped_headers: stamped,
    stamps: Object.fromEntries((stamped ?? []).map((name) => [name, options[name]])),
    priority: options.priority ?? 0,
    reply_to: own("reply_to"),
    args: call.args,
    kwargs: call.kwargs,
    embed: { callbacks: own("link"), errbacks: own("link_error"), chain: own("chain"), chord: own("chord") },
  };
}

/** A call without `reply_to` gets it from its sender: then there is nothing to compare. */
export function messageOfCaptured({ headers, properties, body }: Captured, call?: Call): unknown {
  const { task, id, root_id, parent_id, group, group_index, retries, timelimit, expires, shadow } = headers;
  const { replaced_task_nesting, stamped_headers, stamps } = headers;
  const [args, kwargs, embed] = body;
  return meaning({
    ...{ task, id, root_id, parent_id, group, group_index, retries, timelimit, expires, shadow },
    ...{
      replaced_task_nesting,
      stamped_headers,
      stamps,
      priority: properties.priority,
      reply_to: call?.options.reply_to ? properties.reply_to : null,
    },
    ...{ args, kwargs, embed },
  });
}

/**
 * Signatures without the options that say nothing: among them the copy of its body in each member
 * of a chord that is still to be sent, which whoever sends it puts there anyway.
 */
export function meaning(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(meaning);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, entry]) => [key, meaning(entry)] as const);
  const dict = Object.fromEntries(entries);
  if (!("subtask_type" in dict)) return dict;
  if (dict.subtask_type === "chord") withoutBodies((dict.kwargs as { header?: unknown }).header);
  const options = Object.entries(dict.options as object).filter(([k, v]) => v !== null && k !== "add_to_parent");
  return { ...dict, options: Object.fromEntries(options) };
}

function withoutBodies(header: unknown): void {
  const signature = header as { readonly options?: Record<string, unknown>; readonly kwargs?: { tasks?: unknown[] } };
  if (signature?.options === undefined) return;
  delete signature.options.chord;
  for (const task of signature.kwargs?.tasks ?? []) withoutBodies(task);
}

/** New ids replaced by the captured ones that stand in the same places; two never get the same. */
export function renamed(actual: unknown, expected: unknown): unknown {
  const names = new Map<string, string>();
  collect(actual, expected, names);
  expect(new Set(names.values()).size, "each new id stands for one captured id").toBe(names.size);
  return rename(actual, names);
}

function collect(actual: unknown, expected: unknown, names: Map<string, string>): void {
  if (typeof actual === "string" && actual.startsWith("new-id-") && typeof expected === "string") {
    if (!names.has(actual)) names.set(actual, expected);
    return;
  }
  if (typeof actual !== "object" || typeof expected !== "object" || actual === null || expected === null) return;
  for (const key of Object.keys(actual)) {
    collect((actual as Record<string, unknown>)[key], (expected as Record<string, unknown>)[key], names);
  }
}

function rename(value: unknown, names: ReadonlyMap<string, string>): unknown {
  if (typeof value === "string") return names.get(value) ?? value;
  if (Array.isArray(value)) return value.map((entry) => rename(entry, names));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, entry]) => [rename(key, names), rename(entry, names)]));
}

/** Compares what plans send with captured messages; returns how many were compared. */
export function expectSame(plans: readonly Plan[], messages: readonly Captured[], more: Partial<Golden> = {}): number {
  const chords = Object.fromEntries(plans.flatMap((plan) => plan.chords.map((chord) => [chord.groupId, chord.size])));
  const actual = {
    ...("chords" in more ? { chords } : {}),
    ...("result" in more ? { result: plans.at(-1)?.result } : {}),
  };
  const calls = plans.flatMap((plan) => plan.calls);
  return expectSameCalls(calls, messages, actual, more);
}

export function expectSameCalls(
  calls: readonly Call[],
  messages: readonly Captured[],
  actual: object = {},
  more: object = {},
): number {
  const expected = { ...more, messages: messages.map((message, index) => messageOfCaptured(message, calls[index])) };
  expect(renamed({ ...actual, messages: calls.map(messageOf) }, expected)).toEqual(expected);
  return messages.length;
}
