import { readTaskMeta, type TaskMeta } from "../protocol/task-meta.ts";
import { decodeJson, encodeJson } from "../serialization/json.ts";
import { decodeBody, loadSerializer } from "../serialization/registry.ts";
import type { Serializer } from "../serialization/serializer.ts";

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
  /** URL of the store it is for, where its task has one of its own; left out, it is the app's. */
  readonly store?: string;
}

export interface RecordOptions {
  /** Name of the serializer, `result_serializer`. */
  readonly serializer: string;
  readonly replyTo: string | null;
  readonly correlationId: string | null;
  /** See `ResultRecord.store`; null and left out are the app's. */
  readonly store?: string | null;
}

/** The body of a record as a store hands it back. */
export type StoredBody = Pick<ResultRecord, "contentType" | "contentEncoding" | "body" | "binary">;

/**
 * Serializes a meta: at once when the serializer's code is loaded, as json's always is. Throws or
 * rejects with `EncodeError` for what the serializer cannot write.
 */
export function encodeRecord(meta: TaskMeta, options: RecordOptions): ResultRecord | Promise<ResultRecord> {
  if (options.serializer === "json") {
    const text = { contentType: "application/json", contentEncoding: "utf-8", body: encodeJson(meta), binary: false };
    return recordOf(meta, text, options);
  }
  return loadSerializer(options.serializer).then((serializer) => recordOf(meta, bodyBy(serializer, meta), options));
}

function recordOf(meta: TaskMeta, stored: StoredBody, options: RecordOptions): ResultRecord {
  const { replyTo, correlationId, store } = options;
  const record = { taskId: meta.task_id, state: meta.status, ...stored, replyTo, correlationId };
  return store ? { ...record, store } : record;
}

function bodyBy(serializer: Serializer, meta: TaskMeta): StoredBody {
  const { contentType, contentEncoding } = serializer;
  const bytes = serializer.encode(meta);
  const binary = contentEncoding !== "utf-8";
  const body = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString(binary ? "base64" : "utf8");
  return { contentType, contentEncoding, body, binary };
}

/**
 * The meta of a stored body; `taskId` is what it is filed under, in case the body does not say.
 * Rejects with `ContentDisallowed` when `accept` does not have its content type, and with
 * `DecodeError` when it is not what the type says.
 */
export async function decodeRecord(stored: StoredBody, accept: ReadonlySet<string>, taskId = ""): Promise<TaskMeta> {
  const { contentType, contentEncoding, body, binary } = stored;
  if (contentType === "application/json" && !binary && accept.has(contentType)) {
    return readTaskMeta(decodeJson(body), taskId);
  }
  const base64 = binary ? body : Buffer.from(body, "utf8").toString("base64");
  const value = await decodeBody({ headers: {}, contentType, contentEncoding, body: base64 }, accept);
  return readTaskMeta(value, taskId);
}
