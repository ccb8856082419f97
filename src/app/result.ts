import { decodeError } from "../protocol/exception.ts";
import { EXCEPTION_STATES, isReady, PROPAGATE_STATES } from "../protocol/states.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import { abortable } from "../util/abortable.ts";
import type {
  GetOptions,
  LookUpOptions,
  ResultHandle,
  ResultSource,
  RevokeOptions,
  StoredResult,
} from "./result-handle.ts";
import {
  buildGraph,
  type Collected,
  collect,
  type DependencyGraph,
  iterateDependencies,
  stepsBefore,
  throwOfParents,
} from "./result-tree.ts";
import { assertMayWait, metasOf, openStore } from "./waiting.ts";

/** What is known of a result when its handle is made. */
export interface ResultOptions {
  /** The call stores no result. */
  readonly ignored?: boolean;
  /** Its end, where that is known already. */
  readonly known?: TaskMeta;
  readonly parent?: ResultHandle | null;
}

/** The result of a call, now or later. Everything about it is asked of the result store. */
export class AsyncResult<T = unknown> implements ResultHandle<T> {
  readonly id: string;
  /** What came before in a chain; for the body of a chord the group of its header. Null when there is none. */
  readonly parent: ResultHandle | null;
  /** Whether the call stores no result: then `get` gives null at once. */
  readonly ignored: boolean;
  readonly #source: ResultSource;
  #final: TaskMeta | undefined;

  constructor(id: string, source: ResultSource, options: ResultOptions = {}) {
    this.id = id;
    this.#source = source;
    this.ignored = options.ignored ?? false;
    this.parent = options.parent ?? null;
    this.#final = options.known;
  }

  get leaves(): readonly string[] {
    return this.stored.map(({ id }) => id);
  }

  get stored(): readonly StoredResult[] {
    return this.ignored ? [] : [{ id: this.id, source: this.#source }];
  }

  /**
   * The value the task returned; waits for it. Throws the task's error, with its remote
   * traceback, that of a step before it, or `TimeoutError`. Null at once for a call whose result
   * is ignored.
   */
  async get(options: GetOptions = {}): Promise<T> {
    const { propagate = true, followParents = true } = options;
    if (this.ignored) return null as T;
    assertMayWait(options);
    const lookBack = propagate && followParents;
    this.#final ??= await this.#wait(options, lookBack ? stepsBefore(this) : []);
    const value = this.#valueOf(this.#final);
    if (propagate && PROPAGATE_STATES.has(this.#final.status)) {
      if (lookBack) await throwOfParents(this, options);
      throw value;
    }
    options.callback?.(this.id, value);
    return value as T;
  }

  /** Celery's older name of `get`. */
  wait(options: GetOptions = {}): Promise<T> {
    return this.get(options);
  }

  /** PENDING also stands for an id nothing is known of. */
  async state(options: LookUpOptions = {}): Promise<string> {
    return (await this.#meta(options))?.status ?? "PENDING";
  }

  /** The value, the error, or what `updateState` has stored; null while there is nothing. */
  async result(options: LookUpOptions = {}): Promise<unknown> {
    const meta = await this.#meta(options);
    return meta === undefined ? null : this.#valueOf(meta);
  }

  /** Celery's other name of `result`, for what `updateState` has stored. */
  info(options: LookUpOptions = {}): Promise<unknown> {
    return this.result(options);
  }

  /** Text of the remote stack, when the task failed. */
  async traceback(options: LookUpOptions = {}): Promise<string | null> {
    return (await this.#meta(options))?.traceback ?? null;
  }

  async ready(options: LookUpOptions = {}): Promise<boolean> {
    return isReady(await this.state(options));
  }

  async successful(options: LookUpOptions = {}): Promise<boolean> {
    return (await this.state(options)) === "SUCCESS";
  }

  async failed(options: LookUpOptions = {}): Promise<boolean> {
    return (await this.state(options)) === "FAILURE";
  }

  /** Whether the store knows anything of it. */
  async exists(options: LookUpOptions = {}): Promise<boolean> {
    return (await this.#meta(options)) !== undefined;
  }

  /** When the task ended; null before. */
  async dateDone(options: LookUpOptions = {}): Promise<Date | null> {
    const text = (await this.#meta(options))?.date_done;
    return text ? new Date(text) : null;
  }

  /** Name of the task. This and what follows is kept only with `resultExtended`; null without. */
  async name(options: LookUpOptions = {}): Promise<string | null> {
    return (await this.#meta(options))?.name ?? null;
  }

  async args(options: LookUpOptions = {}): Promise<unknown> {
    return (await this.#meta(options))?.args ?? null;
  }

  async kwargs(options: LookUpOptions = {}): Promise<unknown> {
    return (await this.#meta(options))?.kwargs ?? null;
  }

  /** Node name of the worker that ran it. */
  async worker(options: LookUpOptions = {}): Promise<string | null> {
    return (await this.#meta(options))?.worker ?? null;
  }

  async retries(options: LookUpOptions = {}): Promise<number | null> {
    return (await this.#meta(options))?.retries ?? null;
  }

  async queue(options: LookUpOptions = {}): Promise<string | null> {
    return (await this.#meta(options))?.queue ?? null;
  }

  /** Results of what the task has started: calls it made, callbacks, the next step of a chain. */
  async children(options: LookUpOptions = {}): Promise<ResultHandle[]> {
    const children = (await this.#meta(options))?.children ?? [];
    return children.map((child) => this.#source.handle(child));
  }

  /** The stored document as it is; undefined when there is none. */
  async meta(options: LookUpOptions = {}): Promise<TaskMeta | undefined> {
    return await this.#meta(options);
  }

  /** Throws the error that is stored; gives the value that is stored when there is none. */
  async maybeThrow(options: LookUpOptions & { readonly propagate?: boolean } = {}): Promise<unknown> {
    const meta = await this.#meta(options);
    if (meta === undefined) return null;
    const value = this.#valueOf(meta);
    if ((options.propagate ?? true) && PROPAGATE_STATES.has(meta.status)) throw value;
    return value;
  }

  /**
   * Each result of the tree below this one with its value, this one first; waits for each.
   * With `intermediate` also groups themselves.
   */
  collect(options: GetOptions & { readonly intermediate?: boolean } = {}): AsyncGenerator<Collected, void, undefined> {
    return collect(this, options);
  }

  /** Pairs of parent and child, through all that this call started. Throws `IncompleteStream` at one that is not ready. */
  iterdeps(options: LookUpOptions & { readonly intermediate?: boolean } = {}): ReturnType<typeof iterateDependencies> {
    return iterateDependencies(this, options);
  }

  /** The value of the last result in the tree. */
  async getLeaf(options: GetOptions = {}): Promise<unknown> {
    let value: unknown = null;
    for await (const [, found] of this.collect(options)) value = found;
    return value;
  }

  /** Which result led to which; `toDot()` draws it. What is not ready yet has no edges. */
  graph(options: LookUpOptions & { readonly intermediate?: boolean } = {}): Promise<DependencyGraph> {
    return buildGraph(this, { ...options, intermediate: options.intermediate ?? true });
  }

  /** Removes the result, and those of the steps before it, from the store. */
  async forget(options: LookUpOptions = {}): Promise<void> {
    this.#final = undefined;
    await abortable(this.#forget(), options.signal);
    await this.parent?.forget(options);
  }

  /** Keeps the call from running; with `terminate` stops it when it does. */
  async revoke(options: RevokeOptions = {}): Promise<void> {
    await this.#source.revoke([this.id], options);
  }

  /** The same for every call that carries one of these stamps: `{ tenant: ["acme"] }`. */
  async revokeByStampedHeaders(headers: Readonly<Record<string, unknown>>, options: RevokeOptions = {}): Promise<void> {
    await this.#source.revokeByStamps(headers, options);
  }

  /** Asks the task to stop: it sees that by `self.isAborted()`. Its state is ABORTED until it ends. */
  async abort(options: LookUpOptions = {}): Promise<void> {
    await abortable(this.#source.mark(this.id, "ABORTED", null), options.signal);
  }

  /** Whether `abort` was called and the task has not ended since. */
  async isAborted(options: LookUpOptions = {}): Promise<boolean> {
    return (await this.state(options)) === "ABORTED";
  }

  asTuple(): ResultTuple {
    return [[this.id, this.parent?.asTuple() ?? null], null];
  }

  toString(): string {
    return this.id;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `<AsyncResult: ${this.id}>`;
  }

  valueFrom(metas: ReadonlyMap<string, TaskMeta>): unknown {
    const meta = metas.get(this.id) ?? this.#final;
    if (meta === undefined) return null;
    if (isReady(meta.status)) this.#final = meta;
    return this.#valueOf(meta);
  }

  async #meta({ signal }: LookUpOptions): Promise<TaskMeta | undefined> {
    if (this.#final) return this.#final;
    const meta = await abortable(this.#load(), signal);
    if (meta && isReady(meta.status)) this.#final = meta;
    return meta;
  }

  async #load(): Promise<TaskMeta | undefined> {
    return await (await openStore(this.#source)).load(this.id);
  }

  async #forget(): Promise<void> {
    await (await this.#source.backend()).forget(this.id);
  }

  /** Waits; a step before this one that fails ends the wait, for this one may then never come. */
  async #wait(options: GetOptions, before: readonly StoredResult[]): Promise<TaskMeta> {
    const { onMessage } = options;
    const own = onMessage && ((meta: TaskMeta): void => void (meta.task_id === this.id && onMessage(meta)));
    const waiting = { ...options, ...(own ? { onMessage: own } : {}) };
    for await (const meta of metasOf([{ id: this.id, source: this.#source }, ...before], waiting)) {
      if (meta.task_id === this.id) return meta;
      if (PROPAGATE_STATES.has(meta.status)) throw this.#valueOf(meta);
    }
    throw new Error("a watch ended before its last result");
  }

  #valueOf(meta: TaskMeta): unknown {
    if (!EXCEPTION_STATES.has(meta.status)) return meta.result;
    return decodeError(meta.result, meta.traceback, this.#source.errors);
  }
}
