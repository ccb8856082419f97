import { type ResultTuple, readGroupMeta, type TaskMeta } from "../../protocol/task-meta.ts";
import { encodeJson } from "../../serialization/json.ts";
import { decodeBody, loadSerializer } from "../../serialization/registry.ts";
import type { ChordPart } from "../backend.ts";
import type { BackendOptions } from "../options.ts";
import { decodeRecord, type ResultRecord, type StoredBody } from "../record.ts";

/** The bytes of a record as they stand in Redis. */
export function bytesOfRecord({ body, binary }: Pick<ResultRecord, "body" | "binary">): string | Buffer {
  return binary ? Buffer.from(body, "base64") : body;
}

/**
 * Values as they stand in Redis, which keeps no content type beside them: told by their first
 * bytes, else by the serializer in the settings. What `accept` does not have is not decoded.
 */
export class StoredValues {
  readonly #options: BackendOptions;

  constructor(options: BackendOptions) {
    this.#options = options;
  }

  /** The result kept for a task. */
  meta(bytes: Buffer, taskId: string): Promise<TaskMeta> {
    return decodeRecord(storedBody(bytes, this.#options.serializer), this.#options.accept, taskId);
  }

  async group(bytes: Buffer, groupId: string): Promise<ResultTuple> {
    return readGroupMeta(await this.#decode(bytes), groupId);
  }

  /** A part of a chord: `[1, task_id, state, result]`. Null for what is none. */
  async part(bytes: Buffer): Promise<{ taskId: string; state: string; result: unknown } | null> {
    const part = await this.#decode(bytes);
    if (!Array.isArray(part) || typeof part[1] !== "string" || typeof part[2] !== "string") return null;
    return { taskId: part[1], state: part[2], result: part[3] };
  }

  /**
   * A part of a chord as Celery writes it, and how every such member of this task begins. JSON
   * has Python's spacing, so that a part counted twice, here and by a Python worker, is one.
   */
  async chordMember(part: ChordPart): Promise<{ member: string | Buffer; head: string }> {
    if (this.#options.serializer !== "json") {
      return { member: await this.encode([1, part.taskId, part.state, part.result]), head: "" };
    }
    const head = `[1, ${JSON.stringify(part.taskId)}, `;
    return { member: `${head}${JSON.stringify(part.state)}, ${encodeJson(part.result)}]`, head };
  }

  /** In the serializer of the settings. */
  async encode(value: unknown): Promise<Buffer> {
    const serializer = await loadSerializer(this.#options.serializer);
    return Buffer.from(serializer.encode(value));
  }

  #decode(bytes: Buffer): unknown {
    const { contentType, contentEncoding } = storedBody(bytes, this.#options.serializer);
    const message = { headers: {}, contentType, contentEncoding, body: bytes.toString("base64") };
    return decodeBody(message, this.#options.accept);
  }
}

function storedBody(bytes: Buffer, serializer: string): StoredBody {
  const contentType = contentTypeOf(bytes) ?? namedTypes[serializer] ?? "application/json";
  const binary = contentType === "application/x-msgpack" || contentType === "application/x-python-serialize";
  return {
    contentType,
    contentEncoding: binary ? "binary" : "utf-8",
    body: bytes.toString(binary ? "base64" : "utf8"),
    binary,
  };
}

const namedTypes: Readonly<Record<string, string>> = {
  json: "application/json",
  yaml: "application/x-yaml",
  msgpack: "application/x-msgpack",
  pickle: "application/x-python-serialize",
};

/** Metas and saved groups are maps, parts of chords lists: each format begins those in its own way. */
function contentTypeOf(bytes: Buffer): string | undefined {
  const first = bytes[0] ?? 0;
  // A brace may begin YAML too; then it reads the same.
  if (first === 0x7b || first === 0x5b) return "application/json";
  if (first === 0x80 && (bytes[1] ?? 0) >= 2 && (bytes[1] ?? 0) <= 5) return "application/x-python-serialize";
  const isMap = (first >= 0x81 && first <= 0x8f) || first === 0xde || first === 0xdf;
  return isMap || (first >= 0x90 && first <= 0x9f) ? "application/x-msgpack" : undefined;
}
