import { expectTypeOf, test } from "vitest";
import { type AsyncResult, chain, chord, type GroupResult, group, type Signature, Tq } from "../../src/index.ts";

/**
 * What the compiler has to refuse and to infer of compositions. The lines under @ts-expect-error
 * are checked by `npm run typecheck`: one that compiles is an error there.
 */
const app = new Tq("types", { broker: "memory://canvas-types", backend: "cache+memory://canvas-types" });
const add = app.task("types.add", (x: number, y: number) => x + y);
const mul = app.task("types.mul", async (x: number, y: number = 2) => x * y);
const xsum = app.task("types.xsum", (numbers: readonly number[]) => numbers.reduce((sum, one) => sum + one, 0));
const upper = app.task("types.upper", (text: string) => text.toUpperCase());
const quiet = app.task("types.quiet", (_text: string) => {});
const every = app.task("types.every", (...numbers: number[]) => numbers.length);
const labelled = app.task("types.labelled", (label: string, ...numbers: number[]) => `${label}${numbers.length}`);
const bound = app.task(
  "types.bound",
  { bind: true },
  (_self, to: { name: string }, mode: "fast" | "slow") => to.name + mode,
);
const nothing = app.task("types.nothing", () => 1);

test("partial arguments: what is given comes last, what is left comes first", () => {
  expectTypeOf(add.s()).toEqualTypeOf<Signature<[number, number], number>>();
  expectTypeOf(add.s(2)).toEqualTypeOf<Signature<[number], number>>();
  expectTypeOf(add.s(2, 2)).toEqualTypeOf<Signature<[], number>>();
  expectTypeOf(add.s(2).delay).parameters.toEqualTypeOf<[number]>();
  expectTypeOf(add.s(2, 2).delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  // One argument of two, the second of which may be left out: it is either of them.
  expectTypeOf(mul.s(5).delay).parameters.toEqualTypeOf<[] | [number]>();
  expectTypeOf(mul.s(5).delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(every.s(1, 2).delay).parameters.toEqualTypeOf<number[]>();
  expectTypeOf(labelled.s("a", 1).delay).parameters.toEqualTypeOf<[]>();
  expectTypeOf(labelled.s(1).delay).parameters.toEqualTypeOf<[string, ...number[]]>();
  expectTypeOf(bound.s("fast").delay).parameters.toEqualTypeOf<[{ name: string }]>();
  expectTypeOf(add.signature([2], { countdown: 1 })).toEqualTypeOf<Signature<[number], number>>();
  expectTypeOf(add.s().clone([1])).toEqualTypeOf<Signature<[number], number>>();
  expectTypeOf(quiet.s("x").call).returns.resolves.toEqualTypeOf<void>();
  const refused = (): unknown[] => [
    // @ts-expect-error a text is no number
    add.s("2"),
    // @ts-expect-error three arguments for two
    add.s(1, 2, 3),
    // @ts-expect-error one is still to come
    add.s(2).delay(),
    // @ts-expect-error it is a number
    add.s(2).delay("4"),
    // @ts-expect-error nothing is left to give
    add.s(2, 2).delay(4),
    // @ts-expect-error an immutable signature needs all its arguments
    add.si(2),
    // @ts-expect-error not one of the modes
    bound.s("medium"),
    // @ts-expect-error an option nobody knows
    add.signature([2], { countDown: 1 }),
    // @ts-expect-error without its argument
    add.s(2).applyAsync(),
    // @ts-expect-error options of the wrong type
    add.s(2).set({ countdown: "1" }),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
});

test("the value that flows through a chain", () => {
  expectTypeOf(chain(add.s(2, 2), mul.s(8))).toEqualTypeOf<Signature<[], number>>();
  expectTypeOf(chain(add.s(4), mul.s(8)).delay).parameters.toEqualTypeOf<[number]>();
  expectTypeOf(add.s(2, 2).pipe(mul.s(8), add.s(1)).delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(chain([add.s(2, 2), mul.s(8)])).toEqualTypeOf<Signature<[], number>>();
  expectTypeOf(chain(upper.s("x"), nothing.si(), add.s(1))).toEqualTypeOf<Signature<[], number>>();
  expectTypeOf(chain([1, 2, 3].map((n) => add.s(n)))).toEqualTypeOf<Signature<[number], number>>();
  expectTypeOf(add.s(1, 1).link(mul.s(2))).toEqualTypeOf(mul.s(2));
  const refused = (): unknown[] => [
    // @ts-expect-error a number cannot feed a text
    chain(add.s(2, 2), upper.s()),
    // @ts-expect-error nothing is left to feed
    chain(add.s(2, 2), mul.s(8, 8)),
    // @ts-expect-error two arguments are missing, a step gives one
    chain(add.s(2, 2), add.s()),
    // @ts-expect-error in a pipe as well
    add.s(2, 2).pipe(mul.s(8), upper.s()),
    // @ts-expect-error what gives nothing gives null
    chain(quiet.s("x"), upper.s()),
    // @ts-expect-error a task without parameters takes nothing, unless it is immutable
    chain(add.s(2, 2), nothing.s()),
    // @ts-expect-error in a list as well
    chain([add.s(2, 2), upper.s()]),
    // @ts-expect-error a callback gets the result
    add.s(2, 2).link(upper.s()),
    // @ts-expect-error the caller gives a number
    chain(add.s(4), mul.s(8)).delay("4"),
    // @ts-expect-error what is no signature
    chain(add.s(2, 2), mul),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
});

test("the tuple of a group's results", () => {
  const mixed = group(add.s(1, 1), upper.s("x"));
  expectTypeOf(mixed.delay).returns.resolves.toEqualTypeOf<GroupResult<[number, string]>>();
  expectTypeOf(group([add.s(1, 1), upper.s("x")]).delay).returns.resolves.toEqualTypeOf<
    GroupResult<[number, string]>
  >();
  expectTypeOf(group([1, 2].map((n) => add.s(n, n))).delay).returns.resolves.toEqualTypeOf<GroupResult<number[]>>();
  expectTypeOf(group(add.s(1), mul.s(2)).delay)
    .parameter(0)
    .toEqualTypeOf<number>();
  expectTypeOf(group(mixed, add.s(1, 1)).delay).returns.resolves.toEqualTypeOf<GroupResult<[number, string, number]>>();
  expectTypeOf(chain(add.s(1, 1), group(add.s(1), mul.s())).delay).returns.resolves.toEqualTypeOf<
    GroupResult<[number, number]>
  >();
  expectTypeOf(add.chunks([[1, 2]], 10).delay).returns.resolves.toEqualTypeOf<GroupResult<number[][]>>();
  const refused = (): unknown[] => [
    // @ts-expect-error every member gets the number
    chain(add.s(1, 1), group(add.s(1), upper.s())),
    // @ts-expect-error members that can take no argument in common
    group(add.s(1), upper.s()).delay(1),
    // @ts-expect-error pairs, not numbers
    add.starmap([1, 2]),
    // @ts-expect-error map gives one argument
    add.map([1, 2]),
    // @ts-expect-error numbers, not texts
    xsum.map([["a"]]),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
});

test("what the body of a chord receives, and the result of the whole", () => {
  const sum = chord(group(add.s(1, 1), add.s(2, 2)), xsum.s());
  expectTypeOf(sum.delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(chord([add.s(1, 1), add.s(2, 2)], xsum.s()).call).returns.resolves.toEqualTypeOf<number>();
  expectTypeOf(
    chord(
      [1, 2].map((n) => add.s(n, n)),
      xsum.s(),
    ).call,
  ).returns.resolves.toEqualTypeOf<number>();
  expectTypeOf(group(add.s(1, 1), add.s(2, 2)).pipe(xsum.s()).call).returns.resolves.toEqualTypeOf<number>();
  expectTypeOf(chain(group(add.s(1), add.s(2)), xsum.s(), group(add.s(1), add.s(2))).delay).parameters.toEqualTypeOf<
    [number]
  >();
  expectTypeOf(chord(add.chunks([[1, 2]], 10), xsum.map([]).kw({})).call).returns.resolves.toEqualTypeOf<number[]>();
  const ends = chain(add.s(1, 1), group(add.s(1), upper.si("x")));
  const nested = app.task("types.nested", (_parts: readonly [readonly [number, string], number]) => true);
  expectTypeOf(chord([ends, add.s(1, 1)], nested.s()).call).returns.resolves.toEqualTypeOf<boolean>();
  expectTypeOf(chord(group(ends, add.s(1, 1)), nested.s()).call).returns.resolves.toEqualTypeOf<boolean>();
  expectTypeOf(chord(group(add.s(1, 1)), chain(xsum.s(), add.s(1))).call).returns.resolves.toEqualTypeOf<number>();
  const refused = (): unknown[] => [
    // @ts-expect-error texts are no numbers
    chord(group(upper.s("a"), add.s(1, 1)), xsum.s()),
    // @ts-expect-error the body gets a list
    chord(group(add.s(1, 1), add.s(2, 2)), mul.s(2)),
    // @ts-expect-error the same in a chain
    chain(group(add.s(1, 1), add.s(2, 2)), mul.s(2)),
    // @ts-expect-error the same of a list
    chord([add.s(1, 1)], upper.s()),
    // @ts-expect-error a member that ends in a group is a list among the others
    chord([chain(add.s(1, 1), group(add.s(1), add.s(2))), add.s(1, 1)], xsum.s()),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
});

test("a signature by name has the types one gives it, and feeds nothing without", () => {
  const named = app.signature<[number], number>("other.task");
  expectTypeOf(chain(add.s(1, 1), named, mul.s(2))).toEqualTypeOf<Signature<[], number>>();
  const refused = (): unknown[] => [
    // @ts-expect-error nothing is known of its result
    chain(app.signature("other.task"), mul.s(2)),
    // @ts-expect-error it takes a number
    chain(upper.s("x"), named),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
});
