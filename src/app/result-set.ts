import { decodeError } from "../protocol/exception.ts";
import { EXCEPTION_STATES, PROPAGATE_STATES } from "../protocol/states.ts";
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
import { stepsBefore } from "./result-tree.ts";
import { assertMayWait, metasOf, openStore } from "./waiting.ts";

/** Each member's handle, in order. */
type Handles<T extends readonly unknown[]> = { readonly [K in keyof T]: ResultHandle<T[K]> };

/**
 * Several results as one. Waiting for all of them costs one subscription, however many they are:
 * they come in whatever order they are ready, and `get` gives them in the order of the set.
 */
export class ResultSet<T extends readonly unknown[] = unknown[]> {
  readonly #source: ResultSource;
  readonly #results: ResultHandle[];

  constructor(results: Iterable<ResultHandle>, source: ResultSource) {
    this.#source = source;
    // As they are: groups in a group have the id of that group (protocol 4.5), and are two all the same.
    this.#results = [...results];
  }

  /** The members in order. */
  get results(): Handles<T> {
    return this.#results as unknown as Handles<T>;
  }

  get length(): number {
    return this.#results.length;
  }

  get leaves(): readonly string[] {
    return this.stored.map(({ id }) => id);
  }

  get stored(): readonly StoredResult[] {
    return this.#results.flatMap((result) => [...result.stored]);
  }

  // ── members ────────────────────────────────────────────────────────────────

  /** Adds a result, unless it is in already. */
  add(result: ResultHandle): void {
    if (!this.#results.some((one) => one.id === result.id)) this.#results.push(result);
  }

  update(results: Iterable<ResultHandle>): void {
    const known = new Set(this.#results.map((result) => result.id));
    for (const result of results) {
      if (known.has(result.id)) continue;
      known.add(result.id);
      this.#results.push(result);
    }
  }

  /** Takes a result out, by itself or its id. Throws `RangeError` when it is not in. */
  remove(result: ResultHandle | string): void {
    if (!this.discard(result)) throw new RangeError(`${String(result)} is not in this set of results`);
  }

  /** Takes a result out; false when it was not in. */
  discard(result: ResultHandle | string): boolean {
    const id = typeof result === "string" ? result : result.id;
    const index = this.#results.findIndex((one) => one.id === id);
    if (index >= 0) this.#results.splice(index, 1);
    return index >= 0;
  }

  clear(): void {
    this.#results.length = 0;
  }

  at(index: number): ResultHandle | undefined {
    return this.#results.at(index);
  }

  /** The handles; `for await` gives values as they come. */
  [Symbol.iterator](): Iterator<ResultHandle> {
    return this.#results[Symbol.iterator]();
  }

  // ── states ─────────────────────────────────────────────────────────────────

  /** All have ended. */
  async ready(options: LookUpOptions = {}): Promise<boolean> {
    return await this.#all(options, (result) => result.ready());
  }

  /** Some have not ended. */
  async waiting(options: LookUpOptions = {}): Promise<boolean> {
    return !(await this.ready(options));
  }

  /** All have succeeded. */
  async successful(options: LookUpOptions = {}): Promise<boolean> {
    return await this.#all(options, (result) => result.successful());
  }

  /** At least one has failed. */
  async failed(options: LookUpOptions = {}): Promise<boolean> {
    return !(await this.#all(options, async (result) => !(await result.failed())));
  }

  /** How many have succeeded. */
  async completedCount(options: LookUpOptions = {}): Promise<number> {
    const done = await this.#each(options, (result) => result.successful());
    return done.filter(Boolean).length;
  }

  /** Throws the first error, in order of the set, that is stored. */
  async maybeThrow(options: LookUpOptions & { readonly propagate?: boolean } = {}): Promise<unknown> {
    if (options.propagate === false) return null;
    const thrown = await this.#each(options, (result) =>
      result.maybeThrow().then(
        () => undefined,
        (error: unknown) => ({ error }),
      ),
    );
    for (const one of thrown) if (one !== undefined) throw one.error;
    return null;
  }

  // ── waiting ────────────────────────────────────────────────────────────────

  /**
   * The values, in order; waits for all. Throws the error of the first that fails, as soon as it
   * does; with `propagate: false` errors stand among the values.
   */
  async get(options: GetOptions = {}): Promise<T> {
    assertMayWait(options);
    const metas = new Map<string, TaskMeta>();
    for await (const meta of this.#metas(options)) metas.set(meta.task_id, meta);
    return this.#results.map((result) => result.valueFrom(metas)) as unknown as T;
  }

  /** Celery's other name of `get`. */
  join(options: GetOptions = {}): Promise<T> {
    return this.get(options);
  }

  /** Celery's other name of `get`: every store of tq joins natively. */
  joinNative(options: GetOptions = {}): Promise<T> {
    return this.get(options);
  }

  /** Id and meta of each call, as it ends; failures are among them and not thrown. */
  async *iterNative(options: GetOptions = {}): AsyncGenerator<readonly [id: string, meta: TaskMeta], void, undefined> {
    assertMayWait(options);
    for await (const meta of metasOf(this.stored, options)) yield [meta.task_id, meta];
  }

  /**
   * Each member with its value, as they come. Throws the error of a member that failed when its
   * turn comes, unless `propagate` is false.
   */
  async *iterate(
    options: GetOptions = {},
  ): AsyncGenerator<readonly [result: ResultHandle<T[number]>, value: T[number]], void, undefined> {
    assertMayWait(options);
    const metas = new Map<string, TaskMeta>();
    const left = new Map(this.#results.map((result) => [result, new Set(result.leaves)]));
    const byLeaf = new Map<string, ResultHandle[]>();
    for (const result of this.#results) {
      for (const id of result.leaves) byLeaf.set(id, [...(byLeaf.get(id) ?? []), result]);
    }
    for (const [result, ids] of left) {
      if (ids.size === 0) yield [result as ResultHandle<T[number]>, result.valueFrom(metas) as T[number]];
    }
    for await (const meta of this.#metas(options)) {
      metas.set(meta.task_id, meta);
      for (const result of byLeaf.get(meta.task_id) ?? []) {
        const ids = left.get(result);
        ids?.delete(meta.task_id);
        if (ids?.size !== 0) continue;
        yield [result as ResultHandle<T[number]>, result.valueFrom(metas) as T[number]];
      }
    }
  }

  /** `for await (const [result, value] of group)`: as they come. */
  [Symbol.asyncIterator](): AsyncGenerator<
    readonly [result: ResultHandle<T[number]>, value: T[number]],
    void,
    undefined
  > {
    return this.iterate();
  }

  // ── ends ───────────────────────────────────────────────────────────────────

  /** Removes all results from the store. */
  async forget(options: LookUpOptions = {}): Promise<void> {
    await this.#each(options, (result) => result.forget());
  }

  /** Keeps what has not begun from running; with `terminate` stops what has. One request for all. */
  async revoke(options: RevokeOptions = {}): Promise<void> {
    await this.#source.revoke(this.leaves, options);
  }

  valueFrom(metas: ReadonlyMap<string, TaskMeta>): unknown {
    return this.#results.map((result) => result.valueFrom(metas));
  }

  /** Results before this one; a failure there ends the wait. */
  protected before(): readonly StoredResult[] {
    return [];
  }

  async *#metas(options: GetOptions): AsyncGenerator<TaskMeta, void, undefined> {
    const { propagate = true, followParents = true } = options;
    const results = new Map(this.stored.map((one) => [one.id, one]));
    const own = new Set(results.keys());
    const before = propagate && followParents ? this.before().filter(({ id }) => !own.has(id)) : [];
    let left = own.size;
    if (left === 0) return;
    for await (const meta of metasOf([...results.values(), ...before], options)) {
      const failed = EXCEPTION_STATES.has(meta.status);
      const value = failed ? decodeError(meta.result, meta.traceback, this.#source.errors) : meta.result;
      if (propagate && PROPAGATE_STATES.has(meta.status)) throw value;
      if (!own.has(meta.task_id)) continue;
      options.callback?.(meta.task_id, value);
      yield meta;
      left -= 1;
      if (left === 0) return;
    }
  }

  async #all(options: LookUpOptions, holds: (result: ResultHandle) => Promise<boolean>): Promise<boolean> {
    return (await this.#each(options, holds)).every(Boolean);
  }

  /** The signal is listened to once, however many there are. */
  #each<V>({ signal }: LookUpOptions, ask: (result: ResultHandle) => Promise<V>): Promise<V[]> {
    return abortable(Promise.all(this.#results.map(ask)), signal);
  }
}

/** The results of a group, under the group's id. `save` keeps the list of them, `app.restoreGroup` finds it again. */
export class GroupResult<T extends readonly unknown[] = unknown[]> extends ResultSet<T> implements ResultHandle<T> {
  readonly id: string;
  /** What came before in a chain. */
  readonly parent: ResultHandle | null;
  readonly #source: ResultSource;

  constructor(
    id: string,
    results: Iterable<ResultHandle>,
    source: ResultSource,
    options: { readonly parent?: ResultHandle | null } = {},
  ) {
    super(results, source);
    this.id = id;
    this.parent = options.parent ?? null;
    this.#source = source;
  }

  /** The members. */
  async children(_options: LookUpOptions = {}): Promise<ResultHandle[]> {
    return [...this];
  }

  /** Keeps which results make up the group; those themselves are kept anyway. */
  async save(options: LookUpOptions = {}): Promise<void> {
    const saved = async (): Promise<void> => await (await openStore(this.#source)).saveGroup(this.id, this.asTuple());
    await abortable(saved(), options.signal);
  }

  /** Forgets what `save` has kept. */
  async delete(options: LookUpOptions = {}): Promise<void> {
    const deleted = async (): Promise<void> => await (await openStore(this.#source)).forgetGroup(this.id);
    await abortable(deleted(), options.signal);
  }

  asTuple(): ResultTuple {
    return [[this.id, this.parent?.asTuple() ?? null], [...this].map((result) => result.asTuple())];
  }

  override toString(): string {
    return this.id;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return `<GroupResult: ${this.id} [${[...this].map((result) => result.id).join(", ")}]>`;
  }

  protected override before(): readonly StoredResult[] {
    return stepsBefore(this);
  }
}
