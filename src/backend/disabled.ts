import { BackendConnectionError } from "../errors.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import type { ChordPart, ResultBackend } from "./backend.ts";
import type { ResultRecord } from "./record.ts";
import type { WatchOptions } from "./waiters.ts";

/**
 * The store when there is none: takes results and keeps nothing, as Celery does without a
 * result backend. Whoever wants a result back is told how to get one.
 */
export function createDisabledBackend(): ResultBackend {
  return new DisabledBackend();
}

class DisabledBackend implements ResultBackend {
  readonly kind = "disabled";
  readonly displayUrl = "disabled://";
  readonly features = { persistent: false, chords: false };
  readonly replyTo = "";

  async prepare(): Promise<void> {}

  async store(_record: ResultRecord): Promise<void> {}

  async load(_taskId: string): Promise<TaskMeta | undefined> {
    throw noBackend("ask for a result");
  }

  async forget(_taskId: string): Promise<void> {}

  watch(_taskIds: Iterable<string>, _options: WatchOptions): AsyncIterable<TaskMeta> {
    throw noBackend("wait for a result");
  }

  async saveGroup(_groupId: string, _result: ResultTuple): Promise<void> {
    throw noBackend("save a group");
  }

  async loadGroup(_groupId: string): Promise<ResultTuple | undefined> {
    throw noBackend("restore a group");
  }

  async forgetGroup(_groupId: string): Promise<void> {}

  async saveWorkflow(_id: string, _text: string): Promise<void> {}

  async loadWorkflow(_id: string): Promise<string | undefined> {
    return undefined;
  }

  async openChord(_groupId: string, _size: number): Promise<void> {
    throw noBackend("start a chord");
  }

  async addChordPart(_groupId: string, _part: ChordPart): Promise<readonly ChordPart[] | undefined> {
    return undefined;
  }

  async closeChord(_groupId: string): Promise<void> {}

  async cleanup(): Promise<number> {
    return 0;
  }

  async close(): Promise<void> {}
}

function noBackend(what: string): BackendConnectionError {
  return new BackendConnectionError(
    `no result backend is configured, so you cannot ${what}: set resultBackend, for example to redis://localhost:6379/1`,
    { code: "TQ_NO_BACKEND" },
  );
}
