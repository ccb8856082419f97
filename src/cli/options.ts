import { type Command, InvalidArgumentError, Option } from "commander";

/** One option of a command, as its help shows it and as its value is read. */
export interface OptionSpec<Value = unknown> {
  /** All spellings, the short one first; the first long one names the environment variable. */
  readonly flags: readonly string[];
  /** Spellings that work and are not shown. */
  readonly hiddenFlags?: readonly string[];
  /** The word for its value in the help; left out for a switch. */
  readonly metavar?: string;
  readonly help?: string;
  /** Heading it stands under. */
  readonly group?: string;
  /** Environment variables that give it beside `TQ_<COMMAND>_<OPTION>`, strongest first; `null` for none at all. */
  readonly env?: readonly string[] | null;
  /** Text → value; throws `InvalidArgumentError` saying what is expected. */
  readonly parse?: (text: string) => Value;
}

export type OptionSpecs = Readonly<Record<string, OptionSpec>>;

/** What the options of a table hold once read: those not given are absent. */
export type OptionValues<Specs extends OptionSpecs> = {
  readonly [Name in keyof Specs]?: Specs[Name] extends { readonly parse: (text: string) => infer Value }
    ? Value
    : Specs[Name] extends { readonly metavar: string }
      ? string
      : boolean;
};

const displayedTerms = new WeakMap<Option, string>();

/** How an option is spelled in the help: all its flags, and the word for its value. */
export const optionTerm = (option: Option): string => displayedTerms.get(option) ?? option.flags;

/** Adds the options of a table to a command, in order. */
export function addOptions(command: Command, specs: OptionSpecs): void {
  for (const spec of Object.values(specs)) {
    const [shown, ...hidden] = optionsOf(spec);
    if (shown) {
      displayedTerms.set(
        shown,
        [spec.flags.join(", "), ...(spec.metavar === undefined ? [] : [spec.metavar])].join(" "),
      );
    }
    for (const option of hidden) option.hideHelp();
    for (const option of optionsOf(spec, shown, hidden)) command.addOption(option);
  }
}

/** Commander knows one short and one long flag of an option; more spellings are options of their own. */
function optionsOf(spec: OptionSpec, shown?: Option, hidden?: readonly Option[]): Option[] {
  if (shown && hidden) return [shown, ...hidden];
  const long = spec.flags.find((flag) => flag.startsWith("--")) as string;
  const short = spec.flags.find((flag) => !flag.startsWith("--"));
  const others = [...spec.flags, ...(spec.hiddenFlags ?? [])].filter((flag) => flag !== long && flag !== short);
  const spellings = [short === undefined ? long : `${short}, ${long}`, ...others];
  return spellings.map((flags) => {
    const option = new Option(spec.metavar === undefined ? flags : `${flags} <${long.slice(2)}>`, spec.help ?? "");
    if (spec.parse) option.argParser(spec.parse);
    if (spec.group !== undefined) option.helpGroup(`${spec.group}:`);
    return option;
  });
}

/**
 * The values given for the options of a table: on the command line, else in the environment.
 * A value of the environment that cannot be read ends the command as a usage error.
 */
export function readOptions<Specs extends OptionSpecs>(
  command: Command,
  specs: Specs,
  env: NodeJS.ProcessEnv,
): OptionValues<Specs> {
  const values: Record<string, unknown> = {};
  for (const [name, spec] of Object.entries(specs)) {
    const given = optionsOf(spec).find((option) => command.getOptionValueSource(option.attributeName()) === "cli");
    const value = given
      ? isSwitch(spec) || command.getOptionValue(given.attributeName())
      : readVariable(command, spec, env);
    if (value !== undefined) values[name] = value;
  }
  return values as OptionValues<Specs>;
}

/** All spellings of the options of a table, and whether a value follows. */
export function spellingsOf(specs: OptionSpecs): { readonly flag: string; readonly takesValue: boolean }[] {
  return Object.values(specs).flatMap((spec) =>
    [...spec.flags, ...(spec.hiddenFlags ?? [])].map((flag) => ({ flag, takesValue: !isSwitch(spec) })),
  );
}

const isSwitch = (spec: OptionSpec): boolean => spec.metavar === undefined;

function readVariable(command: Command, spec: OptionSpec, env: NodeJS.ProcessEnv): unknown {
  if (spec.env === null) return undefined;
  const variable = [...(spec.env ?? []), variableName(command, spec)].find((name) => env[name]);
  if (variable === undefined) return undefined;
  const text = env[variable] as string;
  try {
    if (isSwitch(spec)) return parseSwitch(text);
    return spec.parse ? spec.parse(text) : text;
  } catch (error) {
    if (!(error instanceof InvalidArgumentError)) throw error;
    return command.error(`error: the environment variable ${variable}='${text}' is invalid. ${error.message}`);
  }
}

/** click's `auto_envvar_prefix`: `TQ_WORKER_PREFETCH_MULTIPLIER`, and `TQ_APP` for an option of `tq` itself. */
function variableName(command: Command, spec: OptionSpec): string {
  const long = spec.flags.find((flag) => flag.startsWith("--")) as string;
  const prefix = command.parent ? ["TQ", command.name()] : ["TQ"];
  return [...prefix, long.slice(2)].join("_").replaceAll("-", "_").toUpperCase();
}

function parseSwitch(text: string): boolean {
  const word = text.trim().toLowerCase();
  if (["1", "true", "t", "yes", "y", "on"].includes(word)) return true;
  if (["0", "false", "f", "no", "n", "off"].includes(word)) return false;
  throw new InvalidArgumentError("Expected true or false.");
}

// ── values ───────────────────────────────────────────────────────────────────

/** A whole number from `least` on. */
export function integer(least: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    if (text.trim() === "" || !Number.isSafeInteger(value) || value < least) {
      throw new InvalidArgumentError(`Expected a whole number, ${least} or more.`);
    }
    return value;
  };
}

/** A number of seconds. */
export function seconds(text: string): number {
  const value = Number(text);
  if (text.trim() === "" || !Number.isFinite(value)) throw new InvalidArgumentError("Expected a number of seconds.");
  return value;
}

/** A number of seconds above nothing: a limit. */
export function limit(text: string): number {
  const value = seconds(text);
  if (value <= 0) throw new InvalidArgumentError("Expected a number of seconds, more than 0.");
  return value;
}

/** `a,b, c` → its names; empty ones are left out. */
export function commaSeparated(text: string): readonly string[] {
  return text
    .split(",")
    .map((name) => name.trim())
    .filter((name) => name !== "");
}

/** One of the words, in any case; given back as listed. */
export function oneOf<const Word extends string>(words: readonly Word[]): (text: string) => Word {
  return (text) => {
    const word = words.find((one) => one.toLowerCase() === text.toLowerCase());
    if (word === undefined) throw new InvalidArgumentError(`Expected one of ${words.join(", ")}.`);
    return word;
  };
}

export function jsonArray(text: string): readonly unknown[] {
  const value = json(text);
  if (!Array.isArray(value)) throw new InvalidArgumentError("Expected a JSON array such as '[2, 2]'.");
  return value;
}

export function jsonObject(text: string): Readonly<Record<string, unknown>> {
  const value = json(text);
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InvalidArgumentError(`Expected a JSON object such as '{"x": 2}'.`);
  }
  return value as Readonly<Record<string, unknown>>;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InvalidArgumentError(`It is not JSON: ${(error as Error).message}.`);
  }
}

/** An instant in ISO 8601; without an offset it is UTC, as in Celery's messages. */
export function instant(text: string): Date {
  const match = /^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:[.,]\d+)?)?)(Z|[+-]\d\d(?::?\d\d)?)?)?$/i.exec(
    text.trim(),
  );
  const [, day, time = "00:00", offset = "Z"] = match ?? [];
  const zone = /^[+-]\d\d$/.test(offset) ? `${offset}:00` : offset.replace(/^([+-]\d\d)(\d\d)$/, "$1:$2").toUpperCase();
  const date = match ? new Date(`${day}T${time.replace(",", ".")}${zone}`) : new Date(Number.NaN);
  if (Number.isNaN(date.getTime())) {
    throw new InvalidArgumentError("Expected an instant in ISO 8601 such as 2026-01-31T12:00:00Z.");
  }
  return date;
}

/** Seconds from now, or an instant. */
export function secondsOrInstant(text: string): number | Date {
  return /^[+-]?(\d+\.?\d*|\.\d+)$/.test(text.trim()) ? seconds(text) : instant(text);
}
