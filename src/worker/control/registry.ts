import { CommandRegistry } from "../../control/command.ts";
import { eventCommands } from "./events.ts";
import { memoryCommands } from "./memory.ts";
import type { Panel, WorkerCommand } from "./panel.ts";
import { poolCommands } from "./pool.ts";
import { queueCommands } from "./queues.ts";
import { requestCommands } from "./requests.ts";
import { taskCommands } from "./tasks.ts";
import { workerCommands } from "./worker.ts";

/** Every command a worker comes with. */
export const builtinCommands: readonly WorkerCommand[] = [
  ...workerCommands,
  ...requestCommands,
  ...taskCommands,
  ...queueCommands,
  ...poolCommands,
  ...eventCommands,
  ...memoryCommands,
];

/** The commands of a worker: its own, and those of its app, which may replace them. */
export function commandRegistry(own: Iterable<WorkerCommand> = []): CommandRegistry<Panel> {
  return new CommandRegistry([...builtinCommands, ...own]);
}
