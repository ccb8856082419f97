import type { CallPlace } from "../app/call-places.ts";
import type { Shown } from "../app/workflows.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { addOptions, type OptionSpecs } from "./options.ts";
import { optionsFor, withApp } from "./session.ts";

const options = {
  force: {
    flags: ["--force"],
    group: "Canvas Options",
    help: "repair: send again all that has not ended, wherever it is: it may run twice.",
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
  json: { flags: ["-j", "--json"], group: "Canvas Options", help: "Print one JSON document." },
} as const satisfies OptionSpecs;

/** `tq canvas show|repair|cancel ID`: what a workflow waits for, and how it goes on. Exit code 1 for one nobody knows. */
export const canvasCommand: CommandModule = {
  description: `Look at a workflow that is under way, and mend it when it is stuck.

The id is that of its result, of its first step, or of one of its chords. Known
are workflows that tq has sent, for as long as results are kept.

  show    which calls have ended, which are under way and where, what chords
          wait for
  repair  sends again what should be under way and is in no queue and in
          nobody's hands, and tells of failures nobody was told of. What is in
          the hands of a worker that is gone comes back by itself: it says when
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
    const { force = false, queue, terminate = false, json = false } = optionsFor(command, options, session);
    const { output } = session;
    return await withApp(session, async ({ workflows }) => {
      const unknown = (): number => {
        output.notice(`nothing is known of a workflow ${id}`);
        return EX_FAILURE;
      };
      const onDoubt = (doubt: string): void => output.notice(doubt);
      switch (action) {
        case "show": {
          const shown = await workflows.show(id);
          if (shown === undefined) return unknown();
          shown.doubts.forEach(onDoubt);
          if (json) output.print(JSON.stringify(documentOf(shown)));
          else for (const line of linesOf(shown)) output.print(line);
          return EX_OK;
        }
        case "repair": {
          const done = await workflows.repair(id, { force, onDoubt, ...(queue === undefined ? {} : { queue }) });
          if (done === undefined) return unknown();
          if (json) {
            output.print(JSON.stringify(done));
            return EX_OK;
          }
          for (const { id: call, task, place } of done.left)
            output.print(`${task}[${call}] ${placeText(place)}: left alone`);
          output.print(`${done.sent} sent again, ${done.told} told of a failure before them`);
          return EX_OK;
        }
        case "cancel": {
          const count = await workflows.cancel(id, { terminate });
          if (count === undefined) return unknown();
          output.print(json ? JSON.stringify({ revoked: count }) : `${count} revoked`);
          return EX_OK;
        }
        default:
          return command.error(`error: the action must be show, repair or cancel, got: ${action}`);
      }
    });
  },
};

/** What `show --json` prints. */
function documentOf({ ended, open, untold, chords }: Shown): object {
  return { ended, open, untold: untold.map(({ id, because }) => ({ id, because: because.task_id })), chords };
}

function linesOf({ ended, open, untold, chords }: Shown): readonly string[] {
  const done = open.length === 0 && untold.length === 0;
  return [
    ...ended.map(({ state, task, id }) => `${state.padEnd(8)} ${task}[${id}]`),
    ...open.map(
      ({ state, task, id, place }) => `${state.padEnd(8)} ${task}[${id}] <- waits for this: ${placeText(place)}`,
    ),
    ...untold.map(({ id }) => `${"PENDING".padEnd(8)} ${id} <- never told that a call before it failed`),
    ...chords.map(({ groupId, size, done: parts }) => `chord ${groupId}: ${parts} of ${size} members have ended`),
    done ? "nothing is left to do" : `${ended.length} ended, ${open.length} open, ${untold.length} to be told`,
  ];
}

function placeText(place: CallPlace): string {
  switch (place.kind) {
    case "waiting":
      return `waits in the queue ${place.queue}`;
    case "parked":
      return `waits in the broker until ${place.due.toISOString()}`;
    case "working":
      return `is ${place.state} on ${place.node}`;
    case "held": {
      const { node, until } = place;
      const whose = node === null ? "a worker" : node;
      return until === null
        ? `is in the hands of ${whose}`
        : `is in the hands of ${whose}, or comes back at ${until.toISOString()} if that one is gone`;
    }
    case "orphaned": {
      const when = place.due === null ? "as soon as a worker is there" : `at ${place.due.toISOString()}`;
      return `was in the hands of ${place.node ?? "a worker"}, which is gone, and comes back ${when}`;
    }
    case "dead":
      return `is among the dead letters: tq dead show ${place.letter}`;
    case "lost":
      return "is lost: repair sends it again";
    case "untold":
      return "is with no worker that answers: it waits in a queue or is lost";
    default:
      return place satisfies never;
  }
}
