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
}

/** An AsyncResult or GroupResult on the wire: `[[id, parent], children]`. */
export type ResultTuple = readonly [readonly [id: string, parent: ResultTuple | null], readonly ResultTuple[] | null];
