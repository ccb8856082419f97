import type { CommandRegistry } from "../../control/command.ts";
import { pythonRepr, pythonStringLiteral } from "../../util/repr.ts";
import { nok, type Panel, type WorkerCommand } from "./panel.ts";

/** What running a command came to. */
export type CommandOutcome =
  | { readonly kind: "value"; readonly value: unknown }
  /** `value` is what is replied. */
  | { readonly kind: "error"; readonly error: unknown; readonly value: unknown }
  /** Nothing is replied: the worker is on its way out. */
  | { readonly kind: "silent" };

/** Returned by a command that wants no reply sent. */
export const noReply: unique symbol = Symbol("no reply");

/** Runs a command by name. Never rejects: what it throws is replied as Celery does, `{"error": repr}` (protocol 10.2). */
export async function runCommand(
  registry: CommandRegistry<Panel>,
  panel: Panel,
  method: string,
  args: Readonly<Record<string, unknown>>,
): Promise<CommandOutcome> {
  try {
    const command = registry.get(method);
    if (command === undefined) return failed(`KeyError(${pythonStringLiteral(method.slice(0, 100))})`);
    const missing = (command.required ?? []).filter((name) => args[name] === undefined);
    if (missing.length > 0) return failed(`TypeError(${pythonStringLiteral(missingText(command, missing))})`);
    const value = await command.run(panel, args);
    return value === noReply ? { kind: "silent" } : { kind: "value", value: value ?? null };
  } catch (error) {
    return { kind: "error", error, value: nok(errorRepr(error)) };
  }
}

const failed = (repr: string): CommandOutcome => ({ kind: "error", error: repr, value: nok(repr) });

function errorRepr(error: unknown): string {
  return error instanceof Error
    ? `${error.name}(${pythonStringLiteral(error.message.slice(0, 1_000))})`
    : pythonRepr(error);
}

/** Python's words for a call that lacks arguments. */
function missingText({ name }: WorkerCommand, missing: readonly string[]): string {
  const quoted = missing.map((one) => `'${one}'`);
  const last = quoted.pop() as string;
  const list = quoted.length === 0 ? last : `${quoted.join(", ")}${quoted.length > 1 ? "," : ""} and ${last}`;
  return `${name}() missing ${missing.length} required positional argument${missing.length === 1 ? "" : "s"}: ${list}`;
}
