import { expectTypeOf, test } from "vitest";
import { type AsyncResult, type TaskContext, Tq } from "../../src/index.ts";

/**
 * What the compiler has to refuse and to infer. The lines under @ts-expect-error are checked by
 * `npm run typecheck`: one that compiles is an error there.
 */
test("arguments, context and results are inferred from the function", () => {
  const app = new Tq("types", { broker: "memory://types", backend: "cache+memory://types" });
  const add = app.task("types.add", (x: number, y: number) => x + y);
  const later = app.task("types.later", async (text: string) => text.length);
  const bound = app.task("types.bound", { bind: true, maxRetries: 1 }, (self, to: string, times: number = 1) => {
    expectTypeOf(self).toEqualTypeOf<TaskContext>();
    return { to, times };
  });

  expectTypeOf(add.delay).parameters.toEqualTypeOf<[x: number, y: number]>();
  expectTypeOf(add.delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(later.delay).returns.resolves.toEqualTypeOf<AsyncResult<number>>();
  expectTypeOf(bound.delay).parameters.toEqualTypeOf<[to: string, times?: number | undefined]>();
  expectTypeOf(bound.delay).returns.resolves.toEqualTypeOf<AsyncResult<{ to: string; times: number }>>();
  expectTypeOf(add(1, 2)).toEqualTypeOf<number>();

  const refused = (): unknown[] => [
    // @ts-expect-error a text is no number
    add.delay("2", 2),
    // @ts-expect-error one argument is missing
    add.delay(2),
    // @ts-expect-error one argument too many
    add.delay(1, 2, 3),
    // @ts-expect-error positional arguments of a call with options are typed as well
    add.applyAsync(["1", 2]),
    // @ts-expect-error with keyword arguments the leading ones still have their types
    add.applyAsync(["1"], { kwargs: { y: 2 } }),
    // @ts-expect-error an option nobody knows
    add.applyAsync([1, 2], { countDown: 3 }),
    // @ts-expect-error a task option nobody knows
    app.task("types.wrong", { maxretries: 3 }, () => 1),
    // @ts-expect-error a setting with a value it cannot have
    new Tq("types", { workerConcurrency: {} }),
    // @ts-expect-error the running task is not an argument of the call
    bound.delay({} as TaskContext, "you"),
  ];
  expectTypeOf(refused).returns.toEqualTypeOf<unknown[]>();
  expectTypeOf(add.applyAsync([1], { kwargs: { y: 2 } })).resolves.toEqualTypeOf<AsyncResult<number>>();
});
