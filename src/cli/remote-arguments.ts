import type { ArgumentType, CommandDescription } from "../control/command.ts";
import { ImproperlyConfigured } from "../errors.ts";

/** `inspect` asks, `control` tells. */
export type RemoteKind = CommandDescription["type"];

/** The commands of a kind a user may send, by name. Of several of one name the last counts. */
export function visibleCommands(all: Iterable<CommandDescription>, kind: RemoteKind): CommandDescription[] {
  const byName = new Map([...all].map((command) => [command.name, command]));
  const shown = [...byName.values()].filter(({ type, visible = true }) => type === kind && visible);
  return shown.sort((one, other) => (one.name < other.name ? -1 : 1));
}

/** Finds the command of a name. Throws `ImproperlyConfigured`, in Celery's words, with what there is. */
export function commandNamed(all: readonly CommandDescription[], kind: RemoteKind, name: string): CommandDescription {
  const choices = visibleCommands(all, kind);
  const found = choices.find((command) => command.name === name);
  if (found) return found;
  const other = kind === "inspect" ? "control" : "inspect";
  const hint = visibleCommands(all, other).some((command) => command.name === name)
    ? ` It is one of the ${other} commands: tq ${other} ${name}`
    : "";
  const names = choices.map((command) => command.name).join(", ");
  throw new ImproperlyConfigured(`Command ${name} not recognized. Available ${kind} commands: ${names}.${hint}`);
}

/** The words of a command line as the command's arguments. Throws `ImproperlyConfigured` for too many, or what is no number. */
export function compileArguments(command: CommandDescription, words: readonly string[]): Record<string, unknown> {
  const { name, args = [], variadic, signature = "" } = command;
  const values: Record<string, unknown> = {};
  for (const [index, word] of words.slice(0, args.length).entries()) {
    const { name: argument, type } = args[index] as (typeof args)[number];
    values[argument] = argumentValue(word, type, argument);
  }
  const rest = words.slice(args.length);
  if (variadic !== undefined) values[variadic] = rest;
  else if (rest.length > 0) {
    const takes = signature === "" ? "takes no arguments" : `takes arguments: ${signature}`;
    throw new ImproperlyConfigured(`Command '${name}' ${takes}`);
  }
  return values;
}

function argumentValue(word: string, type: ArgumentType, argument: string): unknown {
  switch (type) {
    case "str":
      return word;
    case "bool":
      return readBool(word, argument);
    default: {
      const value = Number(word);
      if (word.trim() !== "" && Number.isFinite(value) && (type === "float" || Number.isSafeInteger(value)))
        return value;
      throw new ImproperlyConfigured(
        `${argument} must be a ${type === "int" ? "whole number" : "number"}, got: ${JSON.stringify(word)}`,
      );
    }
  }
}

/** Also `name=True`, as signatures show it: `include_defaults=True`. */
function readBool(word: string, argument: string): boolean {
  const text = (word.split("=").at(-1) as string).toLowerCase();
  if (["1", "true", "t", "yes", "y", "on"].includes(text)) return true;
  if (["0", "false", "f", "no", "n", "off"].includes(text)) return false;
  throw new ImproperlyConfigured(`${argument} must be true or false, got: ${JSON.stringify(word)}`);
}
