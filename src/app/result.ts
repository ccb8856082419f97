import type { ResultBackend } from "../backend/backend.ts";
import { ImproperlyConfigured, TimeoutError } from "../errors.ts";
import { decodeError, type ErrorConstructorLike } from "../protocol/exception.ts";
import { EXCEPTION_STATES, isReady, PROPAGATE_STATES } from "../protocol/states.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import { currentRun } from "../task/current.ts";

/** Classes of errors by the name they have on the wire. */
export type ErrorRegistry = Map<string, ErrorConstructorLike>;

/** What a result needs of its app. */
export interface ResultSource {
  readonly backend: () => Promise<ResultBackend>;
  /** Classes of the user's own errors, by name, so that they come back as themselves. */
  readonly errors: ErrorRegistry;
}

export interface GetOptions {
  /** Seconds; without it waits for ever. */
  readonly timeout?: number;
  /** False: a failed task's error is returned rather than thrown. */
  readonly propagate?: boolean;
  /** Called with every state stored while waiting (PROGRESS, RETRY …) and with the last one. */
  readonly onMessage?: (meta: TaskMeta) => void;
  readonly signal?: AbortSignal;
  /** A task that waits for another may wait for ever: refused inside tasks unless this is false. */
  readonly disableSyncSubtasks?: boolean;
}

/** The result of a call, now or later. Everything about it is asked of the result store. */
export class AsyncResult<T = unknown> {
  readonly id: string;
  readonly #source: ResultSource;
  readonly #ignored: boolean;
  #final: TaskMeta | undefined;

  constructor(
    id: string,
    source: ResultSource,
    options: { readonly ignored?: boolean; readonly known?: TaskMeta } = {},
  ) {
    this.id = id;
    this.#source = source;
    this.#ignored = options.ignored ?? false;
    this.#final = options.known;
  }

  /**
   * The value the task returned; waits for it. Throws the task's error, with its remote
   * traceback, or `TimeoutError`. Null at once for a call whose result is ignored.
   */
  async get(options: GetOptions = {}): Promise<T> {
    const { propagate = true, disableSyncSubtasks = true } = options;
    if (this.#ignored) return null as T;
    if (disableSyncSubtasks && currentRun.getStore()) throw waitingInside();
    this.#final ??= await this.#wait(options);
    const value = this.#valueOf(this.#final);
    if (propagate && PROPAGATE_STATES.has(this.#final.status)) throw value;
    return value as T;
  }

  /** PENDING also stands for an id nothing is known of. */
  async state(): Promise<string> {
    return (await this.#meta())?.status ?? "PENDING";
  }

  /** The value, the error, or what `updateState` has stored; null while there is nothing. */
  async result(): Promise<unknown> {
    const meta = await this.#meta();
    return meta === undefined ? null : this.#valueOf(meta);
  }

  /** Text of the remote stack, when the task failed. */
  async traceback(): Promise<string | null> {
    return (await this.#meta())?.traceback ?? null;
  }

  async ready(): Promise<boolean> {
    return isReady(await this.state());
  }

  async successful(): Promise<boolean> {
    return (await this.state()) === "SUCCESS";
  }

  async failed(): Promise<boolean> {
    return (await this.state()) === "FAILURE";
  }

  /** When the task ended; null before. */
  async dateDone(): Promise<Date | null> {
    const text = (await this.#meta())?.date_done;
    return text ? new Date(text) : null;
  }

  /** Results of the calls the task has made. */
  async children(): Promise<AsyncResult[]> {
    const children = (await this.#meta())?.children ?? [];
    return children.map((child) => new AsyncResult(child[0][0], this.#source));
  }

  /** The stored document as it is; undefined when there is none. */
  async meta(): Promise<TaskMeta | undefined> {
    return await this.#meta();
  }

  /** Removes the result from the store. */
  async forget(): Promise<void> {
    this.#final = undefined;
    await (await this.#source.backend()).forget(this.id);
  }

  /** The form in which results travel: `[[id, parent], children]`. */
  asTuple(): ResultTuple {
    return [[this.id, null], null];
  }

  toString(): string {
    return this.id;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `<AsyncResult: ${this.id}>`;
  }

  async #meta(): Promise<TaskMeta | undefined> {
    if (this.#final) return this.#final;
    const backend = await this.#source.backend();
    if (backend.kind === "disabled") throw noStore();
    const meta = await backend.load(this.id);
    if (meta && isReady(meta.status)) this.#final = meta;
    return meta;
  }

  async #wait(options: GetOptions): Promise<TaskMeta> {
    const backend = await this.#source.backend();
    if (backend.kind === "disabled") throw noStore();
    const timeout = new AbortController();
    const timer =
      options.timeout === undefined
        ? undefined
        : setTimeout(() => timeout.abort(new TimeoutError("The operation timed out.")), options.timeout * 1000);
    const signal = options.signal ? AbortSignal.any([timeout.signal, options.signal]) : timeout.signal;
    try {
      for await (const meta of backend.watch([this.id], { signal, intermediate: options.onMessage !== undefined })) {
        options.onMessage?.(meta);
        if (isReady(meta.status)) return meta;
      }
      throw new TimeoutError(`the result of ${this.id} never came: its store was closed`);
    } finally {
      clearTimeout(timer);
    }
  }

  #valueOf(meta: TaskMeta): unknown {
    if (!EXCEPTION_STATES.has(meta.status)) return meta.result;
    return decodeError(meta.result, meta.traceback, this.#source.errors);
  }
}

function waitingInside(): Error {
  return new ImproperlyConfigured(
    "Never call result.get() within a task! A worker whose tasks wait for tasks can wait for ever: " +
      "use link or a chain, or pass disableSyncSubtasks: false if you are sure.",
  );
}

function noStore(): Error {
  return new ImproperlyConfigured(
    "No result backend is configured: set resultBackend (redis://…, sqlite://…, rpc://) or the `backend` option of the app.",
  );
}
