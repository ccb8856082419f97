import { inspect } from "node:util";
import { NotRegistered, TimeoutError } from "../errors.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { addOptions, limit, type OptionSpecs } from "./options.ts";
import { optionsFor, withApp } from "./session.ts";

const options = {
  task: {
    flags: ["-t", "--task"],
    metavar: "TEXT",
    group: "Result Options",
    help: "Name of task (if custom backend).",
  },
  timeout: {
    flags: ["--timeout"],
    metavar: "FLOAT",
    group: "Result Options",
    help: "Seconds to wait for the result; default: until it is there.",
    parse: limit,
  },
} as const satisfies OptionSpecs;

/** `tq result ID`: waits for a result and prints it. Exit code 1 when the task failed or the time is up. */
export const resultCommand: CommandModule = {
  description: `Print the return value for a given task id.

Waits until the task is done. The exit code is 0 when it succeeded, 1 when it
failed, with its error on stderr. With --traceback the traceback of the task is
printed instead.`,
  define(command) {
    command.usage("[OPTIONS] TASK_ID").argument("<TASK_ID>", "Id of the task.");
    addOptions(command, options);
  },
  async run(command, session) {
    const [id] = command.args as [string];
    const { task, timeout } = optionsFor(command, options, session);
    const { output, globals } = session;
    return await withApp(session, async (app) => {
      if (task !== undefined) {
        await app.loadModules();
        if (!app.tasks.get(task)) throw new NotRegistered(`there is no task named ${JSON.stringify(task)} in this app`);
      }
      const result = app.asyncResult(id);
      if (globals.traceback) {
        const traceback = await result.traceback();
        if (traceback) output.print(traceback.trimEnd());
        return EX_OK;
      }
      try {
        const value = await result.get({ ...(timeout === undefined ? {} : { timeout }) });
        output.print(display(value));
        return EX_OK;
      } catch (error) {
        if (error instanceof TimeoutError || !(await result.ready())) throw error;
        const { name, message } = error as Error;
        output.notice(`${output.red(`${name}:`)} ${message}`);
        return EX_FAILURE;
      }
    });
  },
};

/** Text as it is, everything else as JSON where JSON can say it. */
function display(value: unknown): string {
  if (typeof value === "string") return value;
  if (value === undefined) return "null";
  if (typeof value === "bigint") return value.toString();
  try {
    return JSON.stringify(value) ?? inspect(value);
  } catch {
    return inspect(value, { depth: null });
  }
}
