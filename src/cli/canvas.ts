import type { Progress } from "../canvas/progress.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { addOptions, type OptionSpecs } from "./options.ts";
import { optionsFor, withApp } from "./session.ts";

const options = {
  force: {
    flags: ["--force"],
    group: "Canvas Options",
    help: "repair: also while messages wait in the queues, and also what a worker has in hand: it may run twice.",
  },
  queue: {
    flags: ["--queue"],
    metavar: "TEXT",
    group: "Canvas Options",
    help: "repair: queue to send to, instead of the one of the first time.",
  },
  terminate: {
    flags: ["--terminate"],
    group: "Canvas Options",
    help: "cancel: also stop what is running.",
  },
} as const satisfies OptionSpecs;

/** `tq canvas show|repair|cancel ID`: what a workflow waits for, and how it goes on. Exit code 1 for one nobody knows. */
export const canvasCommand: CommandModule = {
  description: `Look at a workflow that is under way, and mend it when it is stuck.

The id is that of its result, of its first step, or of one of its chords. Known
are workflows that tq has sent, for as long as results are kept.

  show    which calls have ended, which are under way, what chords wait for
  repair  sends again what should be under way and is in no queue and in no
          worker's hands, and tells of failures nobody was told of
  cancel  revokes what has not ended`,
  define(command) {
    command
      .usage("[OPTIONS] show|repair|cancel ROOT_ID")
      .argument("<ACTION>", "show, repair or cancel.")
      .argument("<ROOT_ID>", "Id of the workflow.");
    addOptions(command, options);
  },
  async run(command, session) {
    const [action, id] = command.args as [string, string];
    const { force = false, queue, terminate = false } = optionsFor(command, options, session);
    const { output } = session;
    return await withApp(session, async ({ workflows }) => {
      const unknown = (): number => {
        output.notice(`nothing is known of a workflow ${id}`);
        return EX_FAILURE;
      };
      switch (action) {
        case "show": {
          const progress = await workflows.show(id);
          if (progress === undefined) return unknown();
          for (const line of shown(progress)) output.print(line);
          return EX_OK;
        }
        case "repair": {
          const onDoubt = (doubt: string): void => output.notice(doubt);
          const done = await workflows.repair(id, { force, onDoubt, ...(queue === undefined ? {} : { queue }) });
          if (done === undefined) return unknown();
          for (const { id: call, state, node } of done.inHand)
            output.print(`${call} is ${state} on ${node}: left alone`);
          output.print(`${done.sent} sent again, ${done.told} told of a failure before them`);
          return EX_OK;
        }
        case "cancel": {
          const count = await workflows.cancel(id, { terminate });
          if (count === undefined) return unknown();
          output.print(`${count} revoked`);
          return EX_OK;
        }
        default:
          return command.error(`error: the action must be show, repair or cancel, got: ${action}`);
      }
    });
  },
};

function shown({ ended, open, untold, chords }: Progress): readonly string[] {
  const done = open.length === 0 && untold.length === 0;
  return [
    ...ended.map(({ state, task, id }) => `${state.padEnd(8)} ${task}[${id}]`),
    ...open.map(({ state, task, id }) => `${state.padEnd(8)} ${task}[${id}] <- waits for this`),
    ...untold.map(({ id }) => `${"PENDING".padEnd(8)} ${id} <- never told that a call before it failed`),
    ...chords.map(({ groupId, size, done: parts }) => `chord ${groupId}: ${parts} of ${size} members have ended`),
    done ? "nothing is left to do" : `${ended.length} ended, ${open.length} open, ${untold.length} to be told`,
  ];
}
