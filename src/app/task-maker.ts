import type { TaskContext } from "../task/context.ts";
import type { ArgsInput, ArgsOutput, ArgsSchema, Schema, SchemaInput, SchemaOutput } from "../task/schema.ts";
import type { BoundFunction, TaskDefinition, TaskHandle } from "./task-handle.ts";

/** A definition whose `args` say what the arguments are: the function gets what the schema makes of them. */
type WithArgs<S extends ArgsSchema, R extends Schema | undefined, T extends object> = Omit<
  TaskDefinition<T>,
  "args" | "returns"
> & { readonly args: S; readonly returns?: R };

/** What the function may return: what `returns` takes, where there is one. */
type Returned<R extends Schema | undefined> = R extends Schema ? SchemaInput<R> | Promise<SchemaInput<R>> : unknown;
/** What a caller gets: what `returns` makes of it, or else what the function returns. */
type Result<R extends Schema | undefined, V> = R extends Schema ? SchemaOutput<R> : V;

/** `app.task` on a static method: `@app.task({ name: "proj.add" }) static add(…) {…}`. */
export type StaticMethodDecorator = <A extends unknown[], R>(
  method: (...args: A) => R,
  context: ClassMethodDecoratorContext,
) => TaskHandle<A, R>;

/**
 * Registers a function as a task workers can run. Name, options, function, in that order;
 * without a name it is made of the app's and the function's. With `bind: true` the function's
 * first argument is the running task. A name that is taken keeps its first task. Given options
 * alone it is a decorator for static methods.
 *
 * Throws `ImproperlyConfigured` for what cannot be a task.
 */
export interface TaskMaker {
  // With schemas: arguments and result are what they say.
  <const S extends ArgsSchema, R extends Schema | undefined, V extends Returned<R>, T extends object = object>(
    name: string,
    options: WithArgs<S, R, T> & { readonly bind: true },
    fn: (self: TaskContext<T>, ...args: ArgsOutput<S>) => V,
  ): TaskHandle<ArgsInput<S>, Result<R, V>>;
  <const S extends ArgsSchema, R extends Schema | undefined, V extends Returned<R>, T extends object = object>(
    name: string,
    options: WithArgs<S, R, T> & { readonly bind?: false },
    fn: (...args: ArgsOutput<S>) => V,
  ): TaskHandle<ArgsInput<S>, Result<R, V>>;
  // From the function alone.
  <A extends unknown[], R>(fn: (...args: A) => R): TaskHandle<A, R>;
  <A extends unknown[], R>(name: string, fn: (...args: A) => R): TaskHandle<A, R>;
  <A extends unknown[], R, T extends object = object>(
    options: TaskDefinition<T> & { readonly bind: true },
    fn: BoundFunction<A, R, T>,
  ): TaskHandle<A, R>;
  <A extends unknown[], R, T extends object = object>(
    options: TaskDefinition<T> & { readonly bind?: false },
    fn: (...args: A) => R,
  ): TaskHandle<A, R>;
  <A extends unknown[], R, T extends object = object>(
    name: string,
    options: TaskDefinition<T> & { readonly bind: true },
    fn: BoundFunction<A, R, T>,
  ): TaskHandle<A, R>;
  <A extends unknown[], R, T extends object = object>(
    name: string,
    options: TaskDefinition<T> & { readonly bind?: false },
    fn: (...args: A) => R,
  ): TaskHandle<A, R>;
  (options: TaskDefinition & { readonly bind?: false }): StaticMethodDecorator;
}
