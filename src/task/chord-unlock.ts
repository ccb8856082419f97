import type { ChordPart, ResultBackend } from "../backend/backend.ts";
import { leavesOf, structured } from "../protocol/result-tuple.ts";
import type { SignatureDict } from "../protocol/signature.ts";
import { isReady, PROPAGATE_STATES } from "../protocol/states.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import type { TaskContext } from "./context.ts";

/** What `celery.chord_unlock` needs of its app. */
export interface UnlockParts {
  readonly backend: () => Promise<ResultBackend>;
  /** Seconds between two looks: `resultChordRetryInterval`. */
  readonly interval: () => number;
  /** Sends the body of a chord whose parts are all there, or fails it. */
  readonly completeChord: (
    body: SignatureDict,
    groupId: string,
    parts: readonly ChordPart[],
    request: { readonly id: string; readonly root_id: string | null },
  ) => Promise<void>;
}

/**
 * The task by which a client whose result store cannot count has a chord completed (protocol
 * 8.3): it looks for the results of the header again and again until all are there.
 */
export function chordUnlock(parts: UnlockParts) {
  return async function unlock(
    self: TaskContext,
    groupId: string,
    body: SignatureDict,
    interval: number | null = null,
    maxRetries: number | null = null,
    result: readonly ResultTuple[] = [],
  ): Promise<void> {
    const backend = await parts.backend();
    const leaves = result.flatMap(leavesOf);
    const metas = new Map<string, TaskMeta>();
    for (const meta of await Promise.all(leaves.map((id) => backend.load(id)))) {
      if (meta && isReady(meta.status)) metas.set(meta.task_id, meta);
    }
    if (leaves.some((id) => !metas.has(id))) {
      throw self.retry({ countdown: interval ?? parts.interval(), maxRetries });
    }
    const { id, rootId } = self.request;
    await parts.completeChord(body, groupId, partsOf(result, metas), { id, root_id: rootId });
  };
}

/** A failed call fails the whole; otherwise each member has its value, a group a list of them. */
function partsOf(result: readonly ResultTuple[], metas: ReadonlyMap<string, TaskMeta>): readonly ChordPart[] {
  const failed = result.flatMap(leavesOf).filter((id) => PROPAGATE_STATES.has(metas.get(id)?.status ?? ""));
  if (failed.length > 0) {
    return failed.map((taskId, index) => ({
      taskId,
      index,
      state: metas.get(taskId)?.status ?? "FAILURE",
      result: metas.get(taskId)?.result,
    }));
  }
  const values = new Map([...metas].map(([id, meta]) => [id, meta.result]));
  return result.map((one, index) => ({ taskId: one[0][0], index, state: "SUCCESS", result: structured(one, values) }));
}
