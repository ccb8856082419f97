import { ImproperlyConfigured } from "../errors.ts";
import type { ArgumentType, CommandArgument, ControlCommand, ControlPanel } from "./command.ts";

/** The type of the values an argument may have. */
type ArgumentValue<Type extends ArgumentType> = Type extends "str" ? string : Type extends "bool" ? boolean : number;

export type ArgumentTypes = Readonly<Record<string, ArgumentType>>;

/** What a command of these arguments is called with; what was not given is absent. */
export type ArgumentValues<Types extends ArgumentTypes, Variadic extends string> = {
  readonly [Name in keyof Types]?: ArgumentValue<Types[Name]>;
} & { readonly [Name in Variadic]?: readonly string[] };

/** What is told of a command besides its name. */
export interface ControlCommandOptions<Types extends ArgumentTypes, Variadic extends string> {
  /** `inspect` for a question that changes nothing; default `control`. */
  readonly type?: "control" | "inspect";
  /** One line, for `--list`. */
  readonly help?: string;
  /** Arguments in the order of the command line: `{ name: "str", n: "int" }`. */
  readonly args?: Types;
  /** Name of the list that takes the words left over. */
  readonly variadic?: Variadic;
  /** Arguments without which it cannot run. */
  readonly required?: readonly (Extract<keyof Types, string> | Variadic)[];
  /** How `--list` shows the arguments; default made of their names. */
  readonly signature?: string;
  readonly alias?: string;
  /** False keeps it out of `--list`. */
  readonly visible?: boolean;
}

/** A user's command as the registry takes it. Values from the wire are checked before the function sees them. */
export function userCommand<Types extends ArgumentTypes, Variadic extends string>(
  name: string,
  options: ControlCommandOptions<Types, Variadic>,
  run: (panel: ControlPanel, args: ArgumentValues<Types, Variadic>) => unknown,
): ControlCommand<ControlPanel> {
  if (typeof run !== "function") {
    throw new ImproperlyConfigured(
      'app.controlCommand takes a name, options and a function: app.controlCommand("cache_size", { type: "inspect" }, () => …)',
    );
  }
  const { type = "control", help = "", args: types, variadic, required, alias, visible } = options;
  const args = Object.entries(types ?? {}).map(([argument, kind]): CommandArgument => ({ name: argument, type: kind }));
  const signature = options.signature ?? signatureOf(args, variadic, new Set<string>(required));
  return {
    name,
    type,
    help,
    args,
    ...(signature === "" ? {} : { signature }),
    ...(variadic === undefined ? {} : { variadic }),
    ...(required === undefined ? {} : { required }),
    ...(alias === undefined ? {} : { alias }),
    ...(visible === undefined ? {} : { visible }),
    run: (panel, given) => run(panel, checked(args, variadic, given) as ArgumentValues<Types, Variadic>),
  };
}

function signatureOf(
  args: readonly CommandArgument[],
  variadic: string | undefined,
  required: ReadonlySet<string>,
): string {
  const words = args.map(({ name }) => (required.has(name) ? `<${name}>` : `[${name}]`));
  return [...words, ...(variadic === undefined ? [] : [`[${variadic}1 [${variadic}2 [...]]]`])].join(" ");
}

function checked(
  args: readonly CommandArgument[],
  variadic: string | undefined,
  given: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const values: Record<string, unknown> = {};
  for (const { name, type } of args) {
    const value = given[name];
    if (value === undefined || value === null) continue;
    if (!fits(type, value))
      throw new TypeError(`${name} must be ${expected[type]}, got: ${JSON.stringify(value)?.slice(0, 100)}`);
    values[name] = value;
  }
  if (variadic !== undefined && given[variadic] !== undefined && given[variadic] !== null) {
    values[variadic] = [given[variadic]].flat().map(String);
  }
  return values;
}

const expected: Readonly<Record<ArgumentType, string>> = {
  str: "a text",
  int: "a whole number",
  float: "a number",
  bool: "true or false",
};

function fits(type: ArgumentType, value: unknown): boolean {
  switch (type) {
    case "str":
      return typeof value === "string";
    case "int":
      return typeof value === "number" && Number.isSafeInteger(value);
    case "float":
      return typeof value === "number" && Number.isFinite(value);
    case "bool":
      return typeof value === "boolean";
  }
}
