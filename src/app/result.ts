import { decodeError } from "../protocol/exception.ts";
import { EXCEPTION_STATES, isReady, PROPAGATE_STATES } from "../protocol/states.ts";
import type { ResultTuple, TaskMeta } from "../protocol/task-meta.ts";
import type { GetOptions, ResultHandle, ResultSource, RevokeOptions } from "./result-handle.ts";
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
    return this.ignored ? [] : [this.id];
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
      if (lookBack) await throwOfParents(this);
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
  async state(): Promise<string> {
    return (await this.#meta())?.status ?? "PENDING";
  }

  /** The value, the error, or what `updateState` has stored; null while there is nothing. */
  async result(): Promise<unknown> {
    const meta = await this.#meta();
    return meta === undefined ? null : this.#valueOf(meta);
  }

  /** Celery's other name of `result`, for what `updateState` has stored. */
  info(): Promise<unknown> {
    return this.result();
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

  /** Whether the store knows anything of it. */
  async exists(): Promise<boolean> {
    return (await this.#meta()) !== undefined;
  }

  /** When the task ended; null before. */
  async dateDone(): Promise<Date | null> {
    const text = (await this.#meta())?.date_done;
    return text ? new Date(text) : null;
  }

  /** Name of the task. This and what follows is kept only with `resultExtended`; null without. */
  async name(): Promise<string | null> {
    return (await this.#meta())?.name ?? null;
  }

  async args(): Promise<unknown> {
    return (await this.#meta())?.args ?? null;
  }

  async kwargs(): Promise<unknown> {
    return (await this.#meta())?.kwargs ?? null;
  }

  /** Node name of the worker that ran it. */
  async worker(): Promise<string | null> {
    return (await this.#meta())?.worker ?? null;
  }

  async retries(): Promise<number | null> {
    return (await this.#meta())?.retries ?? null;
  }

  async queue(): Promise<string | null> {
    return (await this.#meta())?.queue ?? null;
  }

  /** Results of what the task has started: calls it made, callbacks, the next step of a chain. */
  async children(): Promise<ResultHandle[]> {
    const children = (await this.#meta())?.children ?? [];
    return children.map((child) => this.#source.handle(child));
  }

  /** The stored document as it is; undefined when there is none. */
  async meta(): Promise<TaskMeta | undefined> {
    return await this.#meta();
  }

  /** Throws the error that is stored; gives the value that is stored when there is none. */
  async maybeThrow(options: { readonly propagate?: boolean } = {}): Promise<unknown> {
    const meta = await this.#meta();
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
  iterdeps(options: { readonly intermediate?: boolean } = {}): ReturnType<typeof iterateDependencies> {
    return iterateDependencies(this, options.intermediate ?? false);
  }

  /** The value of the last result in the tree. */
  async getLeaf(options: GetOptions = {}): Promise<unknown> {
    let value: unknown = null;
    for await (const [, found] of this.collect(options)) value = found;
    return value;
  }

  /** Which result led to which; `toDot()` draws it. What is not ready yet has no edges. */
  graph(options: { readonly intermediate?: boolean } = {}): Promise<DependencyGraph> {
    return buildGraph(this, options.intermediate ?? true);
  }

  /** Removes the result, and those of the steps before it, from the store. */
  async forget(): Promise<void> {
    this.#final = undefined;
    await (await this.#source.backend()).forget(this.id);
    await this.parent?.forget();
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
  async abort(): Promise<void> {
    await this.#source.mark(this.id, "ABORTED", null);
  }

  /** Whether `abort` was called and the task has not ended since. */
  async isAborted(): Promise<boolean> {
    return (await this.state()) === "ABORTED";
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

  async #meta(): Promise<TaskMeta | undefined> {
    if (this.#final) return this.#final;
    const meta = await (await openStore(this.#source)).load(this.id);
    if (meta && isReady(meta.status)) this.#final = meta;
    return meta;
  }

  /** Waits; a step before this one that fails ends the wait, for this one may then never come. */
  async #wait(options: GetOptions, before: readonly string[]): Promise<TaskMeta> {
    const { onMessage } = options;
    const own = onMessage && ((meta: TaskMeta): void => void (meta.task_id === this.id && onMessage(meta)));
    const waiting = { ...options, ...(own ? { onMessage: own } : {}) };
    for await (const meta of metasOf(this.#source, [this.id, ...before], waiting)) {
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
