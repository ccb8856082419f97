import type { SignatureDict } from "../protocol/signature.ts";

/**
 * How signatures are typed: what they still take, what they come to, and whether that is one
 * result, those of a group (`"group"`), or those of something that ends in a group (`"many"`).
 */
export type ResultKind = "one" | "group" | "many";

/** What the compiler knows of a signature. */
export interface Typed<A, R, K extends ResultKind> {
  /** Never there at run time. */
  readonly "~types": { readonly args: (args: A) => void; readonly result: R; readonly kind: K };
  toJSON(): SignatureDict;
}

/** Any signature, whatever it takes and gives. */
export type AnySignature = Typed<never, unknown, ResultKind>;

/** What a signature still takes. */
export type ArgsOf<S> = S extends Typed<infer A extends readonly unknown[], unknown, ResultKind> ? A : never;

/** What it comes to. */
export type ResultOf<S> = S extends Typed<never, infer R, ResultKind> ? R : never;

export type KindOf<S> = S extends Typed<never, unknown, infer K> ? K : never;

/** What takes any arguments, and ignores them. */
export type Anything = readonly unknown[];

/** What a value is for the task that gets it: nothing travels as null. */
// biome-ignore lint/suspicious/noConfusingVoidType: what a function without a return statement gives
export type Flow<R> = R extends void | undefined ? null : R;

/**
 * What may be given to `s()`: the last arguments of a call, as many as one likes. Whoever calls
 * the signature puts others before them.
 */
export type Given<P extends Anything> = number extends P["length"]
  ? P extends readonly [infer _, ...infer Rest]
    ? P | Given<Rest>
    : P
  : P extends readonly []
    ? []
    : P extends readonly [_?: infer _, ...rest: infer Rest]
      ? P | Given<Rest>
      : P;

/** The arguments that are still to come before those given. */
export type Remaining<P extends Anything, G extends Anything, Before extends Anything = []> = number extends P["length"]
  ? P extends readonly [infer Head, ...infer Rest]
    ? (G extends P ? Before : never) | Remaining<Rest, G, [...Before, Head]>
    : G extends P
      ? [...Before, ...P]
      : never
  :
      | (G extends P ? Before : never)
      | (P extends readonly []
          ? never
          : P extends readonly [_?: infer Head, ...rest: infer Rest]
            ? Remaining<Rest, G, [...Before, Head]>
            : never);

/** Arguments of which the last ones may come by name. */
export type Leading<P extends Anything> = P extends readonly [infer Head, ...infer Rest]
  ? readonly [] | readonly [Head, ...Leading<Rest>]
  : P;

/** The arguments every one of these signatures takes. */
export type ArgsOfAll<S extends Anything> = S extends readonly []
  ? Anything
  : (S[number] extends infer One ? (One extends AnySignature ? (box: ArgsOf<One>) => void : never) : never) extends (
        box: infer All,
      ) => void
    ? All extends Anything
      ? All
      : never
    : never;

/** Results of a group, in its order; a group in a group is unrolled. */
export type ResultsOf<S extends Anything> = S extends readonly []
  ? []
  : S extends readonly [infer Only]
    ? KindOf<Only> extends "many" | "group"
      ? AsTuple<ResultOf<Only>>
      : [ResultOf<Only>]
    : MembersOf<S>;

type MembersOf<S extends Anything> = S extends readonly []
  ? []
  : S extends readonly [infer First, ...infer Rest]
    ? [...(KindOf<First> extends "group" ? AsTuple<ResultOf<First>> : [ResultOf<First>]), ...MembersOf<Rest>]
    : Member<S[number]>[];

type AsTuple<R> = R extends Anything ? R : [R];
type Member<S> = S extends AnySignature ? (KindOf<S> extends "group" ? Element<ResultOf<S>> : ResultOf<S>) : never;
type Element<R> = R extends readonly (infer E)[] ? E : R;

/**
 * What the body of a chord is called with: one value for each member of the header, a list for one that ends in a
 * group. Groups in the header are unrolled, in an order the compiler does not follow.
 */
export type HeaderOf<S extends Anything> = "group" extends KindOf<S[number]> ? LeafOf<S[number]>[] : ResultsOf<S>;
type LeafOf<S> = S extends AnySignature ? (KindOf<S> extends "group" ? Element<ResultOf<S>> : ResultOf<S>) : never;

/** Why a step does not fit. It stands where the compiler shows what is wrong with an argument. */
export interface CannotTake<Value, Args> {
  readonly "it cannot take the result of what comes before it": { readonly result: Value; readonly takes: Args };
}

/** `unknown` when the value can be what the signature is called with, else a type nothing is. */
export type Takes<S, Value> = [value: Value] extends ArgsOf<S> ? unknown : CannotTake<Value, ArgsOf<S>>;

/** For each of the steps, whether it takes the result of the one before it; `Before` is the first of these. */
export type Follow<S extends Anything, Before> = S extends readonly [infer First, ...infer Rest]
  ? [Takes<First, Before>, ...Follow<Rest, Flow<ResultOf<First>>>]
  : S extends readonly []
    ? []
    : Takes<S[number], Flow<ResultOf<S[number]>>>[];

/** The same for a chain: nothing comes before its first step. */
export type Chained<S extends Anything> = S extends readonly [infer First, ...infer Rest]
  ? [unknown, ...Follow<Rest, Flow<ResultOf<First>>>]
  : S extends readonly []
    ? []
    : Takes<S[number], Flow<ResultOf<S[number]>>>[];

export type First<S extends Anything> = S extends readonly [infer One, ...unknown[]] ? One : S[number];
export type Last<S extends Anything> = S extends readonly [...unknown[], infer One] ? One : S[number];

/** What a chain takes and comes to. */
export type ChainArgs<S extends Anything> = S extends readonly [] ? Anything : ArgsOf<First<S>>;
export type ChainResult<S extends Anything> = S extends readonly [] ? null : ResultOf<Last<S>>;
export type ChainKind<S extends Anything> = S extends readonly []
  ? "one"
  : KindOf<Last<S>> extends "one"
    ? "one"
    : S extends readonly [unknown]
      ? KindOf<Last<S>>
      : "many";

/** What one argument `map` gives to each call. */
export type OnlyArgument<P extends Anything> = P extends readonly [_?: infer Head, ...rest: infer _]
  ? [Head] extends P
    ? Head
    : never
  : P extends readonly (infer E)[]
    ? E
    : never;
