import { createChain } from "../canvas/chain.ts";
import { chordBody, chordHeader, createChord } from "../canvas/chord.ts";
import { createGroup } from "../canvas/group.ts";
import { joinSignatures } from "../canvas/join.ts";
import { chunksToGroup, isChunks } from "../canvas/map.ts";
import { withTasks } from "../canvas/signature.ts";
import { addErrbacks } from "../canvas/simplify.ts";
import { type SignatureDict, type SignatureLike, signatureDict } from "../protocol/signature.ts";
import type {
  AnySignature,
  Anything,
  ArgsOf,
  ArgsOfAll,
  ChainArgs,
  Chained,
  ChainKind,
  ChainResult,
  Flow,
  HeaderOf,
  KindOf,
  ResultKind,
  ResultOf,
  ResultsOf,
  Takes,
  Typed,
} from "./canvas-types.ts";
import { type CanvasHost, hostOf, Signature } from "./signature.ts";

/** Calls side by side; their results are those of the group, in its order. */
export class Group<A extends Anything = Anything, R = unknown, K extends ResultKind = "group"> extends Signature<
  A,
  R,
  K
> {
  /** Number of members. */
  get length(): number {
    return this.tasks.length;
  }

  /**
   * Lets the members start one after the other: the first `start` seconds from now, each next one
   * `step` seconds later, none later than `stop`: those left over start together with the last one.
   */
  skew(start = 1, stop: number | null = null, step = 1): this {
    let countdown = start;
    const tasks = this.tasks.map((task) => {
      const skewed = { ...task, options: { ...task.options, countdown } };
      if (stop === null || countdown + step <= stop) countdown += step;
      return skewed;
    });
    return this.#withTasks(tasks);
  }

  /** All members are made immutable, or take arguments again. */
  override setImmutable(immutable: boolean): this {
    return this.#withTasks(this.tasks.map((task) => ({ ...task, immutable })));
  }

  #withTasks(tasks: readonly SignatureDict[]): this {
    this.dict = withTasks(this.dict, tasks);
    return this;
  }
}

/** A group, its header, and what is called once with the list of its results, its body. */
export class Chord<A extends Anything = Anything, R = unknown, K extends ResultKind = "one"> extends Signature<
  A,
  R,
  K
> {
  get body(): SignatureDict {
    return chordBody(this.dict);
  }

  /** The members of the header are made immutable, or take arguments again. */
  override setImmutable(immutable: boolean): this {
    const header = createGroup(
      this.tasks.map((task) => ({ ...task, immutable })),
      chordHeader(this.dict).options,
    );
    this.dict = { ...this.dict, kwargs: { ...this.dict.kwargs, header } };
    return this;
  }

  /** The body's errback; with `taskAllowErrorCbOnChordHeader` each member of the header has it too. */
  override linkError<S extends SignatureLike>(errback: S): S {
    super.linkError(errback);
    if (this.host?.errbacksOnHeaders()) {
      const header = addErrbacks(chordHeader(this.dict), [signatureDict(errback)]);
      this.dict = { ...this.dict, kwargs: { ...this.dict.kwargs, header } };
    }
    return errback;
  }
}

/** Items cut into chunks, each of which is one message. Called, it is a group. */
export class Chunks<R = unknown> extends Signature<Anything, R, "group"> {
  /** The group of starmaps it is sent as. */
  group(): Group<Anything, R> {
    return new Group(chunksToGroup(this.dict), this.host);
  }
}

const classes: Readonly<Record<string, new (dict: SignatureDict, host: CanvasHost | undefined) => AnySignature>> = {
  group: Group,
  chord: Chord,
};

/** The object of a signature, of the class of its type. */
export function wrapSignature(dict: SignatureDict, host: CanvasHost | undefined): AnySignature {
  if (isChunks(dict)) return new Chunks(dict, host);
  return new (classes[dict.subtask_type ?? ""] ?? Signature)(dict, host);
}

/** What `chain` gives for these steps. */
export type ChainOf<S extends Anything> = Signature<ChainArgs<S>, ChainResult<S>, ChainKind<S>>;

/**
 * Calls one after another, each with the result of the one before it: `chain(add.s(2, 2), mul.s(8))`
 * comes to 32. A step made with `si` takes nothing from the one before. A group inside becomes the header
 * of a chord whose body is the next step.
 */
export function chain<const S extends readonly AnySignature[]>(steps: S & Chained<S>): ChainOf<S>;
export function chain<S extends AnySignature>(
  steps: Iterable<S & Takes<S, Flow<ResultOf<S>>>>,
): Signature<ArgsOf<S>, ResultOf<S>, KindOf<S>>;
export function chain<S extends readonly AnySignature[]>(...steps: S & Chained<S>): ChainOf<S>;
export function chain(...given: readonly unknown[]): AnySignature {
  const steps = listed(given);
  const dict = steps.map(signatureDict).reduce(joinSignatures, createChain([]));
  return wrapSignature(dict, host(steps));
}

/**
 * Calls side by side. The results come in the order of the group: `group(add.s(2, 2), add.s(4, 4))`
 * comes to `[4, 8]`. Groups among the members are unrolled.
 */
export function group<const S extends readonly AnySignature[]>(tasks: S): Group<ArgsOfAll<S>, ResultsOf<S>>;
export function group<S extends AnySignature>(tasks: Iterable<S>): Group<ArgsOfAll<S[]>, ResultsOf<S[]>>;
export function group<S extends readonly AnySignature[]>(...tasks: S): Group<ArgsOfAll<S>, ResultsOf<S>>;
export function group(...given: readonly unknown[]): Signature<never, unknown, ResultKind> {
  const tasks = listed(given);
  return new Group(createGroup(tasks.map(signatureDict)), host(tasks));
}

/** What ends a chord: one result, or those of a group. */
type BodyKind<B> = KindOf<B> extends "one" ? "one" : "many";

/**
 * A group and what is called once with the list of its results, when all are there:
 * `chord(group(add.s(1, 1), add.s(2, 2)), xsum.s())`. When a member fails the body is not called,
 * and its result is a `ChordError`.
 */
export function chord<const H extends readonly AnySignature[], B extends AnySignature>(
  header: H,
  body: B & Takes<B, HeaderOf<H>>,
): Chord<ArgsOfAll<H>, ResultOf<B>, BodyKind<B>>;
export function chord<H extends Typed<never, unknown, "group" | "many">, B extends AnySignature>(
  header: H,
  body: B & Takes<B, ResultOf<H>>,
): Chord<ArgsOf<H>, ResultOf<B>, BodyKind<B>>;
export function chord<S extends AnySignature, B extends AnySignature>(
  header: Iterable<S>,
  body: B & Takes<B, HeaderOf<S[]>>,
): Chord<ArgsOfAll<S[]>, ResultOf<B>, BodyKind<B>>;
export function chord(
  header: AnySignature | Iterable<AnySignature>,
  body: AnySignature,
): Signature<never, unknown, ResultKind> {
  const members = isSignature(header) ? [header] : [...header];
  const dict = createChord(
    isSignature(header) ? signatureDict(header) : members.map(signatureDict),
    signatureDict(body),
  );
  return new Chord(dict, host([...members, body]));
}

function listed(given: readonly unknown[]): readonly AnySignature[] {
  const [only] = given;
  if (given.length === 1 && !isSignature(only)) return [...(only as Iterable<AnySignature>)];
  return given as readonly AnySignature[];
}

const isSignature = (value: unknown): value is AnySignature =>
  typeof value === "object" && value !== null && "toJSON" in value;

function host(signatures: readonly AnySignature[]): CanvasHost | undefined {
  for (const signature of signatures) {
    const known = hostOf(signature);
    if (known !== undefined) return known;
  }
  return undefined;
}
