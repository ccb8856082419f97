import { DecodeError } from "../errors.ts";
import type { AnyState } from "./states.ts";

/** The stored result of one task, key for key as Celery writes it (protocol 8.1). */
export interface TaskMeta {
  readonly task_id: string;
  readonly status: AnyState;
  readonly result: unknown;
  readonly traceback: string | null;
  readonly children: readonly ResultTuple[] | null;
  readonly date_done: string | null;
  readonly group_id?: string;
  readonly parent_id?: string;
  /** The rest only with `result_extended`. */
  readonly name?: string | null;
  readonly args?: unknown;
  readonly kwargs?: unknown;
  readonly worker?: string | null;
  readonly retries?: number | null;
  readonly queue?: string | null;
  /** Names of stamps, each of which stands beside it under its own name. */
  readonly stamped_headers?: readonly string[];
}

/** An AsyncResult or GroupResult on the wire: `[[id, parent], children]`. */
export type ResultTuple = readonly [readonly [id: string, parent: ResultTuple | null], readonly ResultTuple[] | null];

/** A saved GroupResult (protocol 8.1). */
export interface GroupMeta {
  readonly result: ResultTuple;
}

/** What a meta is made of. */
export interface TaskMetaFields {
  readonly task_id: string;
  readonly status: AnyState;
  readonly result: unknown;
  readonly traceback?: string | null;
  /** Null when written without knowing the task, as by the revoke command. Default: none. */
  readonly children?: readonly ResultTuple[] | null;
  readonly date_done?: string | null;
  readonly group_id?: string | null;
  readonly parent_id?: string | null;
  readonly name?: string | null;
  readonly args?: unknown;
  readonly kwargs?: unknown;
  readonly worker?: string | null;
  readonly retries?: number | null;
  readonly queue?: string | null;
  readonly stamped_headers?: readonly string[] | null;
  readonly stamps?: Readonly<Record<string, unknown>>;
}

/**
 * The document in Celery's order of keys: `group_id` and `parent_id` only when not empty, the
 * extended fields only when given, stamps under their own names, `task_id` last.
 */
export function createTaskMeta(fields: TaskMetaFields): TaskMeta {
  const meta: Record<string, unknown> = {
    status: fields.status,
    result: fields.result,
    traceback: fields.traceback ?? null,
    children: fields.children === undefined ? [] : fields.children,
    date_done: fields.date_done ?? null,
  };
  if (fields.group_id) meta.group_id = fields.group_id;
  if (fields.parent_id) meta.parent_id = fields.parent_id;
  for (const key of extended) if (fields[key] !== undefined) meta[key] = fields[key];
  if (fields.stamped_headers && fields.stamped_headers.length > 0)
    addStamps(meta, fields.stamped_headers, fields.stamps ?? {});
  meta.task_id = fields.task_id;
  return meta as unknown as TaskMeta;
}

/** The document of a saved group. */
export function createGroupMeta(result: ResultTuple): GroupMeta {
  return { result };
}

/**
 * A result as stored by any Celery or by hand: `{"status", "result"}` is enough. The document
 * itself, not a copy, when nothing is missing. Throws `DecodeError` for what is no result.
 */
export function readTaskMeta(decoded: unknown, taskId: string): TaskMeta {
  if (!isRecord(decoded)) throw new DecodeError(`the result of task ${taskId} is not an object`);
  if (typeof decoded.status !== "string") throw new DecodeError(`the result of task ${taskId} has no status`);
  if (isCompleteMeta(decoded)) return decoded as unknown as TaskMeta;
  const { traceback, children, date_done: dateDone, task_id: id } = decoded;
  return {
    ...decoded,
    status: decoded.status,
    result: decoded.result ?? null,
    traceback: typeof traceback === "string" ? traceback : null,
    children: Array.isArray(children) ? children.filter(isResultTuple) : null,
    date_done: typeof dateDone === "string" ? dateDone : dateText(dateDone),
    task_id: typeof id === "string" ? id : taskId,
  };
}

/** The members of a saved group. Throws `DecodeError` for what is none. */
export function readGroupMeta(decoded: unknown, groupId: string): ResultTuple {
  if (isRecord(decoded) && isResultTuple(decoded.result)) return decoded.result;
  throw new DecodeError(`the saved group ${groupId} is not [[id, parent], members]`);
}

/** Whether a value has the shape of a result on the wire, all the way down. */
export function isResultTuple(value: unknown): value is ResultTuple {
  if (!Array.isArray(value) || value.length !== 2) return false;
  const [head, children] = value as readonly unknown[];
  if (!Array.isArray(head) || head.length !== 2 || typeof head[0] !== "string") return false;
  if (head[1] !== null && !isResultTuple(head[1])) return false;
  return children === null || (Array.isArray(children) && children.every(isResultTuple));
}

const extended = ["name", "args", "kwargs", "worker", "retries", "queue"] as const;

function addStamps(
  meta: Record<string, unknown>,
  names: readonly string[],
  stamps: Readonly<Record<string, unknown>>,
): void {
  meta.stamped_headers = names;
  for (const name of names) {
    // A stamp called like a field of the meta would destroy the result.
    if (Object.hasOwn(stamps, name) && !Object.hasOwn(meta, name) && name !== "task_id" && name !== "__proto__")
      meta[name] = stamps[name];
  }
}

function isCompleteMeta(meta: Readonly<Record<string, unknown>>): boolean {
  const isTextOrNull = (value: unknown): boolean => value === null || typeof value === "string";
  return (
    meta.result !== undefined &&
    isTextOrNull(meta.traceback) &&
    (meta.children === null || (Array.isArray(meta.children) && meta.children.every(isResultTuple))) &&
    isTextOrNull(meta.date_done) &&
    typeof meta.task_id === "string"
  );
}

/** With the pickle and yaml serializers the date is a date already. */
function dateText(value: unknown): string | null {
  return value instanceof Date && !Number.isNaN(value.getTime()) ? value.toISOString() : null;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
