import { ValidationError } from "../errors.ts";

/**
 * A Standard Schema (standardschema.dev, version 1): what zod, valibot, arktype and others give.
 * Written down here because it is an interface, not a library.
 */
export interface Schema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** Of a task's arguments: one schema of a tuple, or a list with one for each. */
export type ArgsSchema = Schema<readonly unknown[], readonly unknown[]> | readonly Schema[];

/** What a caller gives. */
export type SchemaInput<S> = S extends Schema<infer Input, infer _> ? Input : never;
/** What the function gets. */
export type SchemaOutput<S> = S extends Schema<infer _, infer Output> ? Output : never;

type Mutable<T> = T extends readonly [...infer Items] ? [...Items] : never;
/** Trailing arguments that may be undefined may be left out. */
type Optional<T extends readonly unknown[]> = T extends readonly [...infer Head, infer Last]
  ? undefined extends Last
    ? readonly [...Optional<Head>, Last?]
    : T
  : T;

type Inputs<S extends readonly Schema[]> = S extends readonly [infer Head, ...infer Rest extends readonly Schema[]]
  ? readonly [SchemaInput<Head>, ...Inputs<Rest>]
  : readonly [];
type Outputs<S extends readonly Schema[]> = S extends readonly [infer Head, ...infer Rest extends readonly Schema[]]
  ? readonly [SchemaOutput<Head>, ...Outputs<Rest>]
  : readonly [];

export type ArgsInput<S extends ArgsSchema> = S extends readonly Schema[]
  ? Mutable<Optional<Inputs<S>>>
  : Mutable<SchemaInput<S>>;
export type ArgsOutput<S extends ArgsSchema> = S extends readonly Schema[]
  ? Mutable<Optional<Outputs<S>>>
  : Mutable<SchemaOutput<S>>;

/** Values for a function, checked and as the schema makes them. Throws or rejects with `ValidationError`. */
export function checkArguments(
  task: string,
  schema: ArgsSchema,
  values: readonly unknown[],
): readonly unknown[] | Promise<readonly unknown[]> {
  if (!Array.isArray(schema)) return check(task, "arguments", schema as Schema, values) as readonly unknown[];
  const schemas: readonly Schema[] = schema;
  if (values.length > schemas.length) {
    const message = `takes ${schemas.length} arguments but ${values.length} were given`;
    throw new ValidationError(`${task}() ${message}`, [{ message }]);
  }
  const checked = schemas.map((one, index) => check(task, `argument ${index}`, one, values[index]));
  const isAsync = checked.some((one) => one instanceof Promise);
  // What was left out stays so, unless the schema has a default for it: the function has its own.
  const trimmed = (all: readonly unknown[]): readonly unknown[] => {
    let { length } = all;
    while (length > values.length && all[length - 1] === undefined) length -= 1;
    return all.slice(0, length);
  };
  return isAsync ? Promise.all(checked).then(trimmed) : trimmed(checked);
}

/** What a function returned, checked and as the schema makes it. Throws or rejects with `ValidationError`. */
export function checkResult(task: string, schema: Schema, value: unknown): unknown {
  return check(task, "the result", schema, value);
}

function check(task: string, what: string, schema: Schema, value: unknown): unknown {
  const result = schema["~standard"].validate(value);
  return result instanceof Promise ? result.then((answer) => settled(task, what, answer)) : settled(task, what, result);
}

function settled(task: string, what: string, result: SchemaResult<unknown>): unknown {
  if (result.issues === undefined) return result.value;
  const told = result.issues.map(({ message, path }) => `${pathText(path)}${message}`).join("; ");
  throw new ValidationError(`${task}(): ${what} must fit its schema: ${told}`, result.issues);
}

function pathText(path: SchemaIssue["path"]): string {
  if (!path || path.length === 0) return "";
  const keys = path.map((part) => String(typeof part === "object" ? part.key : part));
  return `at ${keys.join(".")}: `;
}
