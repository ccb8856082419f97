import type { SharedWrite } from "../broker/broker.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import type { ResultRecord } from "./record.ts";

/** Seconds after which the task that fired a chord is given its parts again, where the chord is still there. */
export const fireAgainAfter = 1;

/** Opens a result store: that of a task, by its URL, or, with nothing or null, the app's. */
export type OpenBackend = (url?: string | null) => Promise<ResultBackend>;

/** Keeps what became of tasks. Knows nothing of how they run. Rejects with `BackendConnectionError`. */
export interface ResultBackend {
  readonly kind: "disabled" | "memory" | "sqlite" | "redis" | "rpc";
  /** The URL with its password masked: safe to print. */
  readonly displayUrl: string;
  readonly features: {
    /** Results outlive their first reader. */
    readonly persistent: boolean;
    /** Chords can be counted here; without it they fall back to `celery.chord_unlock`. */
    readonly chords: boolean;
  };
  /** The `reply_to` every call carries: a reply queue's name on rpc, elsewhere empty. */
  readonly replyTo: string;
  /** Called before the first call leaves; on rpc it makes the reply queue exist. Cheap when done before. */
  prepare(): Promise<void>;
  /**
   * Keeps a result and tells whoever waits for it. Never replaces a SUCCESS, in one atomic step.
   * Calls of one tick travel together. Resolves when it is kept.
   */
  store(record: ResultRecord): Promise<void>;
  /**
   * The same as `store`, for a broker of the same server to do in the step of an acknowledgement
   * (`Broker.handOver`). Left out by stores that share nothing with a broker.
   */
  sharedWrite?(record: ResultRecord): Promise<SharedWrite>;
  /** Undefined for an id nothing is known of: PENDING. */
  load(taskId: string): Promise<TaskMeta | undefined>;
  forget(taskId: string): Promise<void>;
  /**
   * Yields each task's meta once, as it becomes ready; those ready already at once. With
   * `intermediate` also every other state as it is stored. Ends after the last one is ready.
   * Rejects with the signal's reason when it aborts. By notification, never by polling; all
   * waiters of one backend share one connection.
   */
  watch(
    taskIds: Iterable<string>,
    options: { readonly signal?: AbortSignal | undefined; readonly intermediate?: boolean },
  ): AsyncIterable<TaskMeta>;
  saveGroup(groupId: string, result: ResultTuple): Promise<void>;
  loadGroup(groupId: string): Promise<ResultTuple | undefined>;
  forgetGroup(groupId: string): Promise<void>;
  /** Keeps a text about a workflow, under an id, for `tq canvas`; a store that keeps nothing does nothing. */
  saveWorkflow(id: string, text: string): Promise<void>;
  loadWorkflow(id: string): Promise<string | undefined>;
  /** Sets the number of parts the chord waits for; with `grow` raises it, once for each name given there. */
  openChord(groupId: string, size: number, options?: { readonly grow?: string }): Promise<void>;
  /**
   * Counts one part in, once per task id. Resolves to all parts in group order for exactly one
   * caller, the one that brought the last; to undefined for every other. When the task that
   * brought the last comes again, its first run may have died before it could make use of the
   * parts: it gets them too, unless the chord is closed within `fireAgainAfter`.
   */
  addChordPart(groupId: string, part: ChordPart): Promise<readonly ChordPart[] | undefined>;
  /** Forgets a chord that has fired. */
  closeChord(groupId: string): Promise<void>;
  /** Removes expired results where the store does not do so itself; says how many. */
  cleanup(): Promise<number>;
  close(): Promise<void>;
}

export interface ChordPart {
  readonly taskId: string;
  /** Place in the group; null sorts last. */
  readonly index: number | null;
  readonly state: string;
  /** The plain value, or the exception as it stands in a meta. */
  readonly result: unknown;
}
