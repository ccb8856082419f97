import { CommandRegistry } from "../../control/command.ts";
import type { Panel, WorkerCommand } from "./panel.ts";
import { workerCommands } from "./worker.ts";

/** Every command a worker comes with. */
export const builtinCommands: readonly WorkerCommand[] = [...workerCommands];

/** The commands of a worker: its own, and those of its app, which may replace them. */
export function commandRegistry(own: Iterable<WorkerCommand> = []): CommandRegistry<Panel> {
  return new CommandRegistry([...builtinCommands, ...own]);
}
