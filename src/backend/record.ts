import type { TaskMeta } from "../protocol/task-meta.ts";

/**
 * One result as a store keeps it: the meta already serialized by whoever ran the task, so that
 * it is encoded once and passes through the worker's parent untouched.
 */
export interface ResultRecord {
  readonly taskId: string;
  /** Repeated outside the body: a store must know it to guard SUCCESS. */
  readonly state: string;
  readonly contentType: string;
  readonly contentEncoding: string;
  /** The serialized meta: as text, or as base64 when `binary`. */
  readonly body: string;
  readonly binary: boolean;
  /** Where an rpc result goes; null when the caller asked for none. */
  readonly replyTo: string | null;
  readonly correlationId: string | null;
}

export interface RecordOptions {
  /** Name of the serializer, `result_serializer`. */
  readonly serializer: string;
  readonly replyTo: string | null;
  readonly correlationId: string | null;
}

/** The body of a record as a store hands it back. */
export type StoredBody = Pick<ResultRecord, "contentType" | "contentEncoding" | "body" | "binary">;

/** Serializes a meta. Throws `EncodeError` for what the serializer cannot write. */
export function encodeRecord(meta: TaskMeta, options: RecordOptions): ResultRecord | Promise<ResultRecord> {
  return {
    taskId: meta.task_id,
    state: meta.status,
    contentType: "application/json",
    contentEncoding: "utf-8",
    body: JSON.stringify(meta),
    binary: false,
    replyTo: options.replyTo,
    correlationId: options.correlationId,
  };
}

/**
 * The meta of a stored body. Rejects with `ContentDisallowed` when `accept` does not have its
 * content type, and with `DecodeError` when it is not what the type says.
 */
export async function decodeRecord(stored: StoredBody, _accept: ReadonlySet<string>): Promise<TaskMeta> {
  return JSON.parse(stored.body) as TaskMeta;
}
