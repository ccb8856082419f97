import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { addOptions, commaSeparated, type OptionSpecs } from "./options.ts";
import { optionsFor, withApp } from "./session.ts";

const options = {
  force: { flags: ["-f", "--force"], group: "Purging Options", help: "Don't prompt for verification." },
  queues: {
    flags: ["-Q", "--queues"],
    metavar: "COMMA SEPARATED LIST",
    group: "Purging Options",
    help: "Comma separated list of queue names to purge.",
    parse: commaSeparated,
  },
  excludeQueues: {
    flags: ["-X", "--exclude-queues"],
    metavar: "COMMA SEPARATED LIST",
    group: "Purging Options",
    help: "Comma separated list of queues names not to purge.",
    parse: commaSeparated,
  },
} as const satisfies OptionSpecs;

/** `tq purge`: removes what waits in the queues, after asking. Exit code 1 when the answer is no. */
export const purgeCommand: CommandModule = {
  description: `Erase all messages from all known task queues.

Warning:

    There's no undo operation for this command.`,
  define(command) {
    command.usage("[OPTIONS]");
    addOptions(command, options);
  },
  async run(command, session) {
    const { force = false, queues, excludeQueues = [] } = optionsFor(command, options, session);
    const { output } = session;
    return await withApp(session, async (app) => {
      const known = queues ?? [...app.topology.queues.keys()];
      const names = [...new Set(known)].filter((name) => !excludeQueues.includes(name)).sort();
      if (names.length === 0) return EX_OK;
      const headline = names.length === 1 ? "queue" : "queues";
      if (!force) {
        output.notice(
          `${output.red("WARNING")}: This will remove all tasks from ${headline}: ${names.join(", ")}.\n` +
            "         There is no undo for this operation!\n\n(to skip this prompt use the -f option)",
        );
        if (!(await output.confirm("Are you sure you want to delete all tasks?"))) {
          output.notice("Aborted!");
          return EX_FAILURE;
        }
      }
      const broker = await app.broker();
      let messages = 0;
      for (const name of names) messages += await broker.purge(name);
      output.print(
        messages === 0
          ? `No messages purged from ${names.length} ${headline}.`
          : `Purged ${messages} ${messages === 1 ? "message" : "messages"} from ${names.length} known task ${headline}.`,
      );
      return EX_OK;
    });
  },
};
