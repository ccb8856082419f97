import type { CommandModule } from "./command.ts";
import { addOptions, instant, jsonArray, jsonObject, type OptionSpecs, seconds, secondsOrInstant } from "./options.ts";
import { optionsFor, withApp } from "./session.ts";

const options = {
  args: {
    flags: ["-a", "--args"],
    metavar: "JSON ARRAY",
    group: "Calling Options",
    help: "Positional arguments.",
    parse: jsonArray,
  },
  kwargs: {
    flags: ["-k", "--kwargs"],
    metavar: "JSON OBJECT",
    group: "Calling Options",
    help: "Keyword arguments.",
    parse: jsonObject,
  },
  eta: { flags: ["--eta"], metavar: "ISO-8601", group: "Calling Options", help: "scheduled time.", parse: instant },
  countdown: {
    flags: ["--countdown"],
    metavar: "FLOAT",
    group: "Calling Options",
    help: "eta in seconds from now.",
    parse: seconds,
  },
  expires: {
    flags: ["--expires"],
    metavar: "ISO-8601 OR FLOAT",
    group: "Calling Options",
    help: "expiry time.",
    parse: secondsOrInstant,
  },
  serializer: { flags: ["--serializer"], metavar: "TEXT", group: "Calling Options", help: "task serializer." },
  queue: { flags: ["--queue"], metavar: "TEXT", group: "Routing Options", help: "custom queue name." },
  exchange: { flags: ["--exchange"], metavar: "TEXT", group: "Routing Options", help: "custom exchange name." },
  routingKey: { flags: ["--routing-key"], metavar: "TEXT", group: "Routing Options", help: "custom routing key." },
} as const satisfies OptionSpecs;

/** `tq call NAME`: queues a call of a task by its name and prints the id. */
export const callCommand: CommandModule = {
  description: `Call a task by name.

Examples
--------

$ tq -A proj call proj.tasks.add -a '[2, 2]'
$ tq -b redis://localhost call proj.tasks.send -k '{"to": "me"}' --countdown 10
$ tq -A proj result $(tq -A proj call proj.tasks.add -a '[2, 2]')`,
  define(command) {
    command.usage("[OPTIONS] NAME").argument("<NAME>", "Name of the task.");
    addOptions(command, options);
  },
  async run(command, session) {
    const [name] = command.args as [string];
    const { args = [], ...callOptions } = optionsFor(command, options, session);
    return await withApp(session, async (app) => {
      const result = await app.sendTask(name, args, callOptions);
      session.output.print(result.id);
      return 0;
    });
  },
};
