import type { ResultBackend } from "../backend/backend.ts";
import type { ErrorConstructorLike } from "../protocol/exception.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";

/** Classes of errors by the name they have on the wire. */
export type ErrorRegistry = Map<string, ErrorConstructorLike>;

/** What `revoke` may say besides whose call it is. */
export interface RevokeOptions {
  /** Also stop the task if it is running. */
  readonly terminate?: boolean;
  /** POSIX signal that stops it; default SIGTERM. */
  readonly signal?: string;
  /** Resolve only when workers have answered; default false: the request is on its way. */
  readonly wait?: boolean;
  /** Seconds to wait for answers; default 1. */
  readonly timeout?: number;
}

/** What a result needs of its app. */
export interface ResultSource {
  readonly backend: () => Promise<ResultBackend>;
  /** Classes of the user's own errors, by name, so that they come back as themselves. */
  readonly errors: ErrorRegistry;
  /** The handle of a result as it travels. */
  readonly handle: (tuple: ResultTuple) => ResultHandle;
  /** Tells every worker that these calls are not to run. */
  readonly revoke: (ids: readonly string[], options: RevokeOptions) => Promise<void>;
  /** The same for whatever carries one of these stamps. */
  readonly revokeByStamps: (stamps: Readonly<Record<string, unknown>>, options: RevokeOptions) => Promise<void>;
  /** Keeps a state of a task from outside of it. */
  readonly mark: (id: string, state: string, result: unknown) => Promise<void>;
}

/** What every single look-up takes. */
export interface LookUpOptions {
  /** Ends the wait for an answer: the look-up rejects with its reason. */
  readonly signal?: AbortSignal;
}

/** One call's result, and where it is kept. */
export interface StoredResult {
  readonly id: string;
  readonly source: ResultSource;
}

export interface GetOptions {
  /** Seconds; without it waits for ever. */
  readonly timeout?: number;
  /** False: a failed task's error is returned rather than thrown. */
  readonly propagate?: boolean;
  /** Called with every state stored while waiting (PROGRESS, RETRY …) and with the last one. */
  readonly onMessage?: (meta: TaskMeta) => void;
  /** Called with id and value of each result as it comes. */
  readonly callback?: (id: string, value: unknown) => void;
  readonly signal?: AbortSignal;
  /** A task that waits for another may wait for ever: refused inside tasks unless this is false. */
  readonly disableSyncSubtasks?: boolean;
  /** False: an error of a step before is not looked for; only the one's own counts. Default true. */
  readonly followParents?: boolean;
}

/** A result now or later: of one call (`AsyncResult`) or of those of a group (`GroupResult`). */
export interface ResultHandle<T = unknown> {
  readonly id: string;
  /** What came before in a chain; the group whose results the body of a chord gets. */
  readonly parent: ResultHandle | null;
  get(options?: GetOptions): Promise<T>;
  ready(options?: LookUpOptions): Promise<boolean>;
  successful(options?: LookUpOptions): Promise<boolean>;
  failed(options?: LookUpOptions): Promise<boolean>;
  /** What was started by it; for a group its members. */
  children(options?: LookUpOptions): Promise<ResultHandle[]>;
  /** Throws the error that is stored, if there is one. */
  maybeThrow(options?: LookUpOptions & { readonly propagate?: boolean }): Promise<unknown>;
  forget(options?: LookUpOptions): Promise<void>;
  revoke(options?: RevokeOptions): Promise<void>;
  /** The form in which results travel: `[[id, parent], children]`. */
  asTuple(): ResultTuple;
  /** Ids of the calls whose results make up this one. */
  readonly leaves: readonly string[];
  /** The same, each with where it is kept. */
  readonly stored: readonly StoredResult[];
  /** The value, out of the metas of its leaves; throws nothing. */
  valueFrom(metas: ReadonlyMap<string, TaskMeta>): unknown;
}
