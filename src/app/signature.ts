import { chordHeader } from "../canvas/chord.ts";
import { groupTasks } from "../canvas/group.ts";
import { joinSignatures } from "../canvas/join.ts";
import { signatureRepr } from "../canvas/repr.ts";
import { cloneSignature, mergeCall, signatureList } from "../canvas/signature.ts";
import { addErrbacks, addLinks } from "../canvas/simplify.ts";
import { type StampingVisitor, type Stamps, stampSignature } from "../canvas/stamp.ts";
import { type SignatureDict, type SignatureLike, signatureDict } from "../protocol/signature.ts";
import { type CallOptions, wireOptions } from "./call-options.ts";
import type {
  AnySignature,
  Anything,
  Flow,
  Follow,
  Given,
  KindOf,
  Last,
  Leading,
  Remaining,
  ResultKind,
  ResultOf,
  Takes,
  Typed,
} from "./canvas-types.ts";
import { AsyncResult } from "./result.ts";
import type { GetOptions, ResultHandle, ResultSource } from "./result-handle.ts";
import { GroupResult } from "./result-set.ts";

/** Options a signature is called with: those of `applyAsync`, and stamps. */
export type SignatureOptions = Omit<CallOptions, "kwargs">;

/** What is given to a signature when it is called. */
export interface SignatureCall {
  readonly args: readonly unknown[];
  readonly kwargs: Readonly<Record<string, unknown>>;
  /** Under their wire names. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** What signatures need of the app they belong to. */
export interface CanvasHost {
  /** Sends what the signature plans. */
  applySignature(signature: SignatureDict, call: SignatureCall): Promise<ResultHandle>;
  /** The ids of all its tasks are settled; gives it with them, and the handle of its result. */
  freezeSignature(signature: SignatureDict, id: string | undefined): readonly [SignatureDict, ResultHandle];
  /** Runs a task here and now. */
  runTask(name: string, args: readonly unknown[], kwargs: Readonly<Record<string, unknown>>): unknown;
  /** `taskAllowErrorCbOnChordHeader`. */
  errbacksOnHeaders(): boolean;
  /** The object of a signature, of the class of its type. */
  wrap(signature: SignatureDict): AnySignature;
}

/** What calling a signature gives: the result of one call, or those of a group. */
export type HandleOf<R, K extends ResultKind> = [K] extends ["one"]
  ? AsyncResult<R>
  : GroupResult<R extends readonly unknown[] ? R : unknown[]>;

/**
 * A call not made yet. `A` are the arguments it still takes, which whoever calls it puts before
 * its own; `R` is what it comes to. As data (`toJSON`) it is what Celery calls a signature, so it
 * may be an argument or an option of other calls.
 */
export class Signature<A extends readonly unknown[] = Anything, R = unknown, K extends ResultKind = "one">
  implements Typed<A, R, K>
{
  declare readonly "~types": { readonly args: (args: A) => void; readonly result: R; readonly kind: K };
  #dict: SignatureDict;
  readonly #host: CanvasHost | undefined;

  /** `host` is missing only for compositions of nothing. */
  constructor(dict: SignatureDict, host: CanvasHost | undefined) {
    this.#dict = dict;
    this.#host = host;
  }

  // ── parts ──────────────────────────────────────────────────────────────────

  /** Name of the task; `celery.chain` and the like for a composition. */
  get task(): string {
    return this.#dict.task;
  }

  get args(): readonly unknown[] {
    return this.#dict.args;
  }

  get kwargs(): Readonly<Record<string, unknown>> {
    return this.#dict.kwargs;
  }

  /** Options under their wire names. */
  get options(): Readonly<Record<string, unknown>> {
    return this.#dict.options;
  }

  get type(): SignatureDict["subtask_type"] {
    return this.#dict.subtask_type;
  }

  /** Takes no arguments from whoever calls it. */
  get immutable(): boolean {
    return this.#dict.immutable;
  }

  /** The parts of a composition: the steps of a chain, the members of a group or of a chord's header. */
  get tasks(): readonly SignatureDict[] {
    const { kwargs, subtask_type: type } = this.#dict;
    if (type === "chord") return groupTasks(chordHeader(this.#dict));
    return type === "chain" || type === "group" ? (kwargs.tasks as readonly SignatureDict[]) : [];
  }

  /** Id of the call, once it was chosen or frozen. */
  get id(): string | null {
    return textOf(this.#dict.options.task_id);
  }

  get parentId(): string | null {
    return textOf(this.#dict.options.parent_id);
  }

  get rootId(): string | null {
    return textOf(this.#dict.options.root_id);
  }

  /** The app this belongs to, as far as signatures know one. */
  get host(): CanvasHost | undefined {
    return this.#host;
  }

  // ── changing ───────────────────────────────────────────────────────────────

  /** Sets options, and returns this very signature: `add.s(2, 2).set({ countdown: 1 })`. */
  set(options: SignatureOptions & { readonly immutable?: boolean }): this {
    const { immutable, ...given } = options;
    if (immutable !== undefined) this.setImmutable(immutable);
    return this.#setOptions(wireOptions(given));
  }

  #setOptions(options: Readonly<Record<string, unknown>>): this {
    this.#dict = { ...this.#dict, options: { ...this.#dict.options, ...options } };
    return this;
  }

  /** Whether it ignores arguments given later, such as the result of the step before it. */
  setImmutable(immutable: boolean): this {
    this.#dict = { ...this.#dict, immutable };
    return this;
  }

  /**
   * Has `callback` called with the result when it succeeds; of a chord that is its body. Returns
   * the callback. A group has no result of its own: its first member gets the callback, without arguments.
   */
  link<S extends AnySignature>(callback: S & Takes<S, Flow<R>>): S {
    this.#dict = addLinks(this.#dict, [signatureDict(callback)]);
    return callback;
  }

  /** Has `errback` called when it fails; returns the errback. In a group every member gets it. */
  linkError<S extends SignatureLike>(errback: S): S {
    this.#dict = addErrbacks(this.#dict, [signatureDict(errback)]);
    return errback;
  }

  /** `linkError` that returns this very signature. */
  onError(errback: SignatureLike): this {
    this.linkError(errback);
    return this;
  }

  /**
   * Marks everything in it, callbacks too, with headers of one's own: shown in `request.stamps`,
   * and what `control.revokeByStampedHeaders` goes by. A visitor decides for each part. With
   * `appendStamps` a stamp that is there keeps its value beside the new one.
   */
  stamp(stamps: Stamps, options: { readonly visitor?: StampingVisitor; readonly appendStamps?: boolean } = {}): this {
    this.#dict = stampSignature(this.#dict, stamps, { visitor: options.visitor, append: options.appendStamps });
    return this;
  }

  // ── copies ─────────────────────────────────────────────────────────────────

  /** A copy with more: arguments come before those it has, options replace its own. */
  clone(): Signature<A, R, K>;
  clone<const G extends Given<A>>(args: G, options?: CallOptions): Signature<Remaining<A, G>, R, K>;
  clone(args: readonly unknown[] = [], options: CallOptions = {}): AnySignature {
    const { kwargs = {}, ...others } = options;
    return this.#wrap(mergeCall(cloneSignature(this.#dict), args, kwargs, wireOptions(others)));
  }

  /** A copy with keyword arguments more, which may stand for any of the arguments still to come. */
  kw(kwargs: Readonly<Record<string, unknown>>): Signature<Leading<A>, R, K> {
    return this.#wrap(mergeCall(cloneSignature(this.#dict), [], kwargs)) as never;
  }

  /** A copy with whole parts of it replaced. */
  replace(parts: {
    readonly args?: readonly unknown[];
    readonly kwargs?: Readonly<Record<string, unknown>>;
    readonly options?: SignatureOptions;
  }): Signature<Anything, R, K> {
    const { args, kwargs, options } = parts;
    const copy = cloneSignature(this.#dict);
    return this.#wrap({
      ...copy,
      ...(args === undefined ? {} : { args }),
      ...(kwargs === undefined ? {} : { kwargs }),
      ...(options === undefined ? {} : { options: wireOptions(options) }),
    }) as never;
  }

  /**
   * The steps behind this one, each called with the result of the one before it: `a.pipe(b, c)` is
   * Celery's `a | b | c`. A group becomes the header of a chord whose body is the step behind it.
   */
  pipe<S extends readonly AnySignature[]>(
    ...next: S & Follow<S, Flow<R>>
  ): Signature<A, ResultOf<Last<S>>, KindOf<Last<S>> extends "one" ? "one" : "many"> {
    const whole = next.reduce((before, step) => joinSignatures(before, signatureDict(step)), this.toJSON());
    const host = this.#host ?? next.map(hostOf).find((known) => known !== undefined);
    return (host?.wrap(whole) ?? new Signature(whole, undefined)) as never;
  }

  /** This signature and all it links to, through links of links. */
  flattenLinks(): readonly SignatureDict[] {
    const flat = (dict: SignatureDict): readonly SignatureDict[] => [
      dict,
      ...signatureList(dict.options.link).flatMap(flat),
    ];
    return flat(this.#dict);
  }

  // ── calling ────────────────────────────────────────────────────────────────

  /** Has workers run it. Resolves once the broker has it. */
  delay(...args: A): Promise<HandleOf<R, K>> {
    return this.#apply(args, {});
  }

  /** The same with options, which win over its own; with `kwargs` arguments may be left out. */
  applyAsync(
    ...call: [] extends A ? [args?: A, options?: CallOptions] : [args: A, options?: CallOptions]
  ): Promise<HandleOf<R, K>>;
  applyAsync(
    args: Leading<A>,
    options: CallOptions & { readonly kwargs: Readonly<Record<string, unknown>> },
  ): Promise<HandleOf<R, K>>;
  applyAsync(args: readonly unknown[] = [], options: CallOptions = {}): Promise<HandleOf<R, K>> {
    return this.#apply(args, options);
  }

  /** Calls it and waits for its result: `await (await s.delay()).get()`. */
  async call(args: A, options: GetOptions = {}): Promise<R> {
    return (await (await this.delay(...args)).get(options)) as R;
  }

  /** Runs the task here and now, without a message. Only for a single task. */
  run(...args: A): unknown {
    const { task, args: bound, kwargs } = mergeCall(this.#dict, args);
    return this.#hostOrThrow().runTask(task, bound, kwargs);
  }

  /**
   * Settles the ids of the call, or of all in a composition, before it is made, and gives the
   * handle of its result. Calling it twice sends the same ids.
   */
  freeze(options: { readonly taskId?: string } = {}): HandleOf<R, K> {
    const [dict, handle] = this.#hostOrThrow().freezeSignature(this.#dict, options.taskId);
    this.#dict = dict;
    return handle as HandleOf<R, K>;
  }

  async #apply(args: readonly unknown[], options: CallOptions): Promise<HandleOf<R, K>> {
    const { kwargs = {}, ...others } = options;
    const call = { args, kwargs, options: wireOptions(others) };
    if (this.#host === undefined && this.tasks.length === 0) return resultOfNothing(this.type) as HandleOf<R, K>;
    return (await this.#hostOrThrow().applySignature(this.#dict, call)) as HandleOf<R, K>;
  }

  #hostOrThrow(): CanvasHost {
    if (this.#host === undefined)
      throw new TypeError("an empty composition belongs to no app: there is nothing to call");
    return this.#host;
  }

  #wrap(dict: SignatureDict): Signature<never, unknown, ResultKind> {
    return (this.#host?.wrap(dict) ?? new Signature(dict, undefined)) as Signature<never, unknown, ResultKind>;
  }

  /** The wire form, a copy of its own. */
  toJSON(): SignatureDict {
    return cloneSignature(this.#dict);
  }

  /** As Python shows it: `proj.add(2, 2)`. */
  toString(): string {
    return signatureRepr(this.#dict);
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** For subclasses: the data as it is now. */
  protected get dict(): SignatureDict {
    return this.#dict;
  }

  protected set dict(dict: SignatureDict) {
    this.#dict = dict;
  }
}

/** The app of a signature; undefined for one that is only data. */
export function hostOf(signature: SignatureLike | AnySignature): CanvasHost | undefined {
  return signature instanceof Signature ? signature.host : undefined;
}

/** A chain of nothing comes to null, a group of nothing to no results (inventory D26, D48). */
function resultOfNothing(type: SignatureDict["subtask_type"]): ResultHandle {
  const nowhere = {} as ResultSource;
  return type === "chain" ? new AsyncResult("", nowhere, { ignored: true }) : new GroupResult("", [], nowhere);
}

const textOf = (value: unknown): string | null => (typeof value === "string" && value !== "" ? value : null);
