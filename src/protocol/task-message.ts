import { InvalidTaskError } from "../errors.ts";
import type { Message } from "./message.ts";

export { type Embed, NO_EMBED, readTaskBody, type TaskBody } from "./task-body.ts";

/** Headers of task protocol 2: all the parent ever needs to know about a task (protocol 1.1). */
export interface TaskHeaders {
  readonly lang: string;
  readonly task: string;
  readonly id: string;
  readonly shadow: string | null;
  readonly eta: string | null;
  readonly expires: string | null;
  readonly group: string | null;
  readonly group_index: number | null;
  readonly retries: number;
  readonly timelimit: readonly [hard: number | null, soft: number | null];
  readonly root_id: string | null;
  readonly parent_id: string | null;
  readonly argsrepr: string;
  readonly kwargsrepr: string;
  readonly origin: string;
  /** Null: the definition of the task decides (protocol 5.5). */
  readonly ignore_result: boolean | null;
  readonly replaced_task_nesting: number;
  readonly stamped_headers: readonly string[] | null;
  readonly stamps: Readonly<Record<string, unknown>>;
}

/** A task message: headers read, body still as it came off the wire. */
export interface TaskMessage extends Message {
  readonly headers: TaskHeaders & Readonly<Record<string, unknown>>;
}

/**
 * All 19 headers in the wire's order (protocol 1.1). What is left out gets its default:
 * `root_id` the id itself, `lang` "js", `ignore_result` null, which lets the definition of the
 * task decide.
 */
export function createTaskHeaders(
  fields: { readonly task: string; readonly id: string } & Partial<TaskHeaders>,
): TaskHeaders {
  return {
    lang: fields.lang ?? "js",
    task: fields.task,
    id: fields.id,
    shadow: fields.shadow ?? null,
    eta: fields.eta ?? null,
    expires: fields.expires ?? null,
    group: fields.group ?? null,
    group_index: fields.group_index ?? null,
    retries: fields.retries ?? 0,
    timelimit: fields.timelimit ?? [null, null],
    root_id: fields.root_id ?? fields.id,
    parent_id: fields.parent_id ?? null,
    argsrepr: fields.argsrepr ?? "()",
    kwargsrepr: fields.kwargsrepr ?? "{}",
    origin: fields.origin ?? "",
    ignore_result: fields.ignore_result ?? null,
    replaced_task_nesting: fields.replaced_task_nesting ?? 0,
    stamped_headers: fields.stamped_headers ?? null,
    stamps: fields.stamps ?? {},
  };
}

/** Whether the headers alone make this a task: protocol 2. Protocol 1 tells by its body only. */
export function isTaskMessage(message: Message): boolean {
  return Object.hasOwn(message.headers, "task");
}

/**
 * The headers of a task, what is missing or null filled in; `message.headers` itself, not a
 * copy, when nothing is. Throws `InvalidTaskError` naming the field for a value of a wrong type.
 */
export function readTaskHeaders(message: Message): TaskMessage["headers"] {
  const headers = message.headers;
  if (isComplete(headers)) return headers;
  if (!Object.hasOwn(headers, "task")) throw new InvalidTaskError("the message has no header `task`: it is not a task");
  if (!Object.hasOwn(headers, "id")) throw new InvalidTaskError("the message has no header `id`");
  const filled: Record<string, unknown> = { ...defaults };
  for (const key of Object.keys(headers)) {
    const value = headers[key];
    // Null says nothing for a field that cannot be null; the type check below takes care of task and id.
    if (key === "__proto__" || (value === null && Object.hasOwn(defaults, key))) continue;
    filled[key] = value;
  }
  const complete: TaskMessage["headers"] | Record<string, unknown> = filled;
  if (isComplete(complete)) return complete;
  throw wrongType(filled);
}

const isText = (value: unknown): boolean => typeof value === "string";
const isFilledText = (value: unknown): boolean => typeof value === "string" && value !== "";
const isTextOrNull = (value: unknown): boolean => value === null || typeof value === "string";
const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
const isSecondsOrNull = (value: unknown): boolean =>
  value === null || (Number.isFinite(value) && (value as number) >= 0);

/** Each header: what it must be, and its value when the sender left it out. */
const fields: Readonly<
  Record<keyof TaskHeaders, readonly [rule: string, check: (value: unknown) => boolean, fallback?: unknown]>
> = {
  lang: ["text", isText, "py"],
  task: ["text that is not empty", isFilledText],
  id: ["text that is not empty", isFilledText],
  shadow: ["text or null", isTextOrNull, null],
  eta: ["an ISO 8601 date or null", isTextOrNull, null],
  expires: ["an ISO 8601 date or null", isTextOrNull, null],
  group: ["text or null", isTextOrNull, null],
  group_index: ["a whole number or null", (value) => value === null || Number.isSafeInteger(value), null],
  retries: ["a whole number of at least 0", isCount, 0],
  timelimit: ["[hard, soft] in seconds, each a number of at least 0 or null", isTimelimit, Object.freeze([null, null])],
  root_id: ["text or null", isTextOrNull, null],
  parent_id: ["text or null", isTextOrNull, null],
  argsrepr: ["text", isText, ""],
  kwargsrepr: ["text", isText, ""],
  origin: ["text", isText, ""],
  ignore_result: ["true, false or null", (value) => value === null || typeof value === "boolean", null],
  replaced_task_nesting: ["a whole number of at least 0", isCount, 0],
  stamped_headers: ["a list of text, or null", isStampNames, null],
  stamps: ["an object", isRecord, Object.freeze({})],
};

const defaults: Readonly<Record<string, unknown>> = Object.fromEntries(
  Object.entries(fields).flatMap(([key, [, , fallback]]) => (fallback === undefined ? [] : [[key, fallback]])),
);

/** Spelled out, not looped over `fields`: this runs once for every message received. */
function isComplete(headers: Readonly<Record<string, unknown>>): headers is TaskMessage["headers"] {
  return (
    isText(headers.lang) &&
    isFilledText(headers.task) &&
    isFilledText(headers.id) &&
    isTextOrNull(headers.shadow) &&
    isTextOrNull(headers.eta) &&
    isTextOrNull(headers.expires) &&
    isTextOrNull(headers.group) &&
    fields.group_index[1](headers.group_index) &&
    isCount(headers.retries) &&
    isTimelimit(headers.timelimit) &&
    isTextOrNull(headers.root_id) &&
    isTextOrNull(headers.parent_id) &&
    isText(headers.argsrepr) &&
    isText(headers.kwargsrepr) &&
    isText(headers.origin) &&
    fields.ignore_result[1](headers.ignore_result) &&
    isCount(headers.replaced_task_nesting) &&
    isStampNames(headers.stamped_headers) &&
    isRecord(headers.stamps)
  );
}

function isTimelimit(value: unknown): boolean {
  return Array.isArray(value) && value.length === 2 && isSecondsOrNull(value[0]) && isSecondsOrNull(value[1]);
}

function isStampNames(value: unknown): boolean {
  return value === null || (Array.isArray(value) && value.every(isText));
}

function wrongType(headers: Readonly<Record<string, unknown>>): InvalidTaskError {
  for (const [key, [rule, check]] of Object.entries(fields)) {
    const value = headers[key];
    if (!check(value)) return new InvalidTaskError(`header \`${key}\` must be ${rule}; got ${shown(value)}`);
  }
  return new InvalidTaskError("the headers are not those of a task");
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return (
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    !(value instanceof Map) &&
    !(value instanceof Uint8Array)
  );
}

function shown(value: unknown): string {
  const text = typeof value === "bigint" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 64 ? `${text.slice(0, 64)}…` : text;
}

/** When tq sent the message, seconds since 1970: how long it has waited. An extra of tq's own. */
export const sentHeader = "tq_sent";

/** Since when a message could have run: sent, and past its eta. Null when it does not say; seconds since 1970. */
export function waitingSince(headers: Readonly<Record<string, unknown>>): number | null {
  const sent = headers[sentHeader];
  if (typeof sent !== "number") return null;
  const eta = typeof headers.eta === "string" ? Date.parse(headers.eta) / 1000 : Number.NaN;
  return Number.isNaN(eta) ? sent : Math.max(sent, eta);
}
