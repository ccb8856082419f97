import { AsyncLocalStorage } from "node:async_hooks";
import type { ResultBackend } from "../backend/backend.ts";
import { ImproperlyConfigured, TimeoutError } from "../errors.ts";
import { isReady } from "../protocol/states.ts";
import type { TaskMeta } from "../protocol/task-meta.ts";
import { currentRun } from "../task/current.ts";
import { longestTimerMs } from "../util/longest-timer.ts";
import { merge } from "../util/merge.ts";
import type { GetOptions, ResultSource, StoredResult } from "./result-handle.ts";

/** Whether code running in this place may wait inside a task; undefined leaves it to the options. */
const joining = new AsyncLocalStorage<boolean>();

/** Runs `work`; in it a task may wait for the results of others. See `get`'s `disableSyncSubtasks`. */
export function allowJoinResult<T>(work: () => T): T {
  return joining.run(true, work);
}

/** Runs `work`; in it waiting for results is refused as it is inside a task. */
export function deniedJoinResult<T>(work: () => T): T {
  return joining.run(false, work);
}

/** Throws where waiting could be for ever: inside a task, unless it was allowed. */
export function assertMayWait(options: Pick<GetOptions, "disableSyncSubtasks">): void {
  if (options.disableSyncSubtasks === false) return;
  const allowed = joining.getStore() ?? currentRun.getStore() === undefined;
  if (!allowed) {
    throw new ImproperlyConfigured(
      "Never call result.get() within a task! A worker whose tasks wait for tasks can wait for ever: " +
        "use link or a chain, or pass disableSyncSubtasks: false if you are sure.\n" +
        "See https://docs.celeryq.dev/en/latest/userguide/tasks.html#avoid-launching-synchronous-subtasks",
    );
  }
}

/** The store, or an error that says how to get one. */
export async function openStore(source: ResultSource): Promise<ResultBackend> {
  const backend = await source.backend();
  if (backend.kind === "disabled") throw noStore();
  return backend;
}

/**
 * Metas of these calls, each once when it is ready and as it comes; with `onMessage` that sees
 * every state. Ends after the last one. Rejects with `TimeoutError` when the time is up, and
 * with the signal's reason. One subscription for all of a store; nothing polls.
 */
export async function* metasOf(
  results: readonly StoredResult[],
  options: Pick<GetOptions, "timeout" | "signal" | "onMessage">,
): AsyncGenerator<TaskMeta, void, undefined> {
  if (results.length === 0) return;
  const stores = await idsByStore(results);
  const { timeout, onMessage } = options;
  const clock = new AbortController();
  const timer =
    timeout === undefined
      ? undefined
      : setTimeout(
          () => clock.abort(new TimeoutError("The operation timed out.")),
          Math.min(Math.max(0, timeout) * 1000, longestTimerMs),
        );
  const signal = options.signal ? AbortSignal.any([clock.signal, options.signal]) : clock.signal;
  const left = new Set(results.map(({ id }) => id));
  const watches = [...stores].map(([backend, ids]) =>
    backend.watch(ids, { signal, intermediate: onMessage !== undefined }),
  );
  const [only, ...others] = watches as [AsyncIterable<TaskMeta>, ...AsyncIterable<TaskMeta>[]];
  try {
    for await (const meta of others.length === 0 ? only : merge(watches, () => clock.abort())) {
      onMessage?.(meta);
      if (!isReady(meta.status)) continue;
      left.delete(meta.task_id);
      yield meta;
    }
    const [missing] = left;
    if (missing !== undefined) throw new TimeoutError(`the result of ${missing} never came: its store was closed`);
  } finally {
    clearTimeout(timer);
  }
}

/** Most results are in one store; tasks may have stores of their own. */
async function idsByStore(results: readonly StoredResult[]): Promise<ReadonlyMap<ResultBackend, readonly string[]>> {
  const bySource = new Map<ResultSource, string[]>();
  for (const { id, source } of results) {
    const ids = bySource.get(source);
    if (ids === undefined) bySource.set(source, [id]);
    else ids.push(id);
  }
  const stores = new Map<ResultBackend, string[]>();
  for (const [source, ids] of bySource) {
    const backend = await openStore(source);
    const others = stores.get(backend);
    stores.set(backend, others === undefined ? ids : [...others, ...ids]);
  }
  return stores;
}

function noStore(): Error {
  return new ImproperlyConfigured(
    "No result backend is configured: set resultBackend (redis://…, sqlite://…, rpc://) or the `backend` option of the app.",
  );
}
