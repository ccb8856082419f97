import { inspect } from "node:util";
import type { DeadLetter, DeadLetters } from "../broker/broker.ts";
import { ImproperlyConfigured } from "../errors.ts";
import { EX_FAILURE, EX_OK } from "../system/exit-codes.ts";
import type { CommandModule } from "./command.ts";
import { type LetterView, matches, parseWhere, viewOf, type Where } from "./dead-where.ts";
import { addOptions, integer, type OptionSpecs } from "./options.ts";
import type { Output } from "./output.ts";
import { optionsFor, withApp } from "./session.ts";

const group = "Dead Letter Options";

const options = {
  where: {
    flags: ["-w", "--where"],
    metavar: "KEY=PATTERN,...",
    group,
    help: "Only those that match: task, task_id, queue, node, reason or id, with * and ?.",
    parse: parseWhere,
  },
  shelf: { flags: ["--shelf"], group, help: "What waits for a worker that can run it, instead of the dead letters." },
  limit: { flags: ["--limit"], metavar: "INTEGER", group, help: "Most to list; default 100.", parse: integer(1) },
  json: { flags: ["-j", "--json"], group, help: "Print JSON, one document a line." },
  force: { flags: ["-f", "--force"], group, help: "Don't prompt for verification." },
} as const satisfies OptionSpecs;

interface Given {
  readonly where?: Where;
  readonly limit?: number;
  readonly json?: boolean;
  readonly force?: boolean;
}

const pageSize = 500;

/** `tq dead ls | show ID | redrive | purge`: looks after what was rejected. */
export const deadCommand: CommandModule = {
  description: `Look after the dead letters: messages that were rejected, with the reason.

Commands
--------

ls             List them, newest first.
show ID...     Show all of them, headers and body.
redrive [ID...]  Put them back into their queues, under their own ids.
purge [ID...]  Forget them.

redrive and purge take ids, or --where, or --where "id=*" for all.

Examples
--------

$ tq -A proj dead ls --where "task=proj.*"
$ tq -A proj dead show 3f0c0d5e
$ tq -A proj dead redrive --where "reason=*ConnectionError*"
$ tq -A proj dead ls --shelf --json`,
  define(command) {
    command.usage("[OPTIONS] ls|show|redrive|purge [ID]...").argument("<COMMAND>", "ls, show, redrive or purge.");
    command.argument("[ID...]", "Ids of dead letters, or of their tasks.");
    addOptions(command, options);
  },
  async run(command, session) {
    const [action, ...ids] = command.args as [string, ...string[]];
    const { shelf = false, ...given } = optionsFor(command, options, session);
    const { output } = session;
    const act = actions[action];
    if (act === undefined) {
      throw new ImproperlyConfigured(`tq dead must be followed by ls, show, redrive or purge, got: ${action}`);
    }
    return await withApp(session, async (app) => {
      const broker = await app.broker();
      return await act(shelf ? broker.shelf : broker.deadLetters, ids, given, output);
    });
  },
};

type Act = (letters: DeadLetters, ids: readonly string[], given: Given, output: Output) => Promise<number>;

const actions: Readonly<Record<string, Act | undefined>> = {
  async ls(letters, ids, { where = [], limit = 100, json = false }, output) {
    let listed = 0;
    for await (const letter of all(letters)) {
      if (!isChosen(viewOf(letter), ids, where)) continue;
      if (listed === limit) {
        output.notice(`There are more: --limit ${limit * 10} lists more of them.`);
        break;
      }
      listed += 1;
      output.print(json ? JSON.stringify(viewOf(letter)) : lineOf(viewOf(letter)));
    }
    if (listed === 0) output.notice("There are none.");
    return EX_OK;
  },

  async show(letters, ids, { where = [], json = false }, output) {
    if (ids.length === 0 && where.length === 0) throw chooseSome("show");
    let shown = 0;
    for await (const letter of all(letters)) {
      const view = viewOf(letter);
      if (!isChosen(view, ids, where)) continue;
      shown += 1;
      const content = contentOf(letter);
      output.print(json ? JSON.stringify({ ...view, ...content }) : inspect({ ...view, ...content }, { depth: 8 }));
    }
    if (shown > 0) return EX_OK;
    output.notice("There is no such dead letter.");
    return EX_FAILURE;
  },

  async redrive(letters, ids, { where = [] }, output) {
    const chosen = await choose("redrive", letters, ids, where);
    let count = 0;
    // Oldest first: in the order in which they were rejected.
    for (const some of inPages(chosen.reverse())) count += await letters.redrive(some);
    output.print(
      `Put ${count} ${count === 1 ? "message" : "messages"} back into ${count === 1 ? "its queue" : "their queues"}.`,
    );
    return EX_OK;
  },

  async purge(letters, ids, { where = [], force = false }, output) {
    const chosen = await choose("purge", letters, ids, where);
    if (!force && chosen.length > 0) {
      output.notice(`${output.red("WARNING")}: This will forget ${chosen.length} dead letters for good.`);
      if (!(await output.confirm("Are you sure?"))) {
        output.notice("Aborted!");
        return EX_FAILURE;
      }
    }
    let count = 0;
    for (const some of inPages(chosen)) count += await letters.purge(some);
    output.print(`Forgot ${count} ${count === 1 ? "dead letter" : "dead letters"}.`);
    return EX_OK;
  },
};

async function choose(action: string, letters: DeadLetters, ids: readonly string[], where: Where): Promise<string[]> {
  if (ids.length === 0 && where.length === 0) throw chooseSome(action);
  const chosen: string[] = [];
  for await (const letter of all(letters)) if (isChosen(viewOf(letter), ids, where)) chosen.push(letter.id);
  return chosen;
}

async function* all(letters: DeadLetters): AsyncGenerator<DeadLetter> {
  for (let offset = 0; ; offset += pageSize) {
    const page = await letters.list({ limit: pageSize, offset });
    yield* page;
    if (page.length < pageSize) return;
  }
}

function* inPages(ids: readonly string[]): Generator<readonly string[]> {
  for (let first = 0; first < ids.length; first += pageSize) yield ids.slice(first, first + pageSize);
}

const isChosen = (view: LetterView, ids: readonly string[], where: Where): boolean =>
  (ids.length === 0 || ids.some((id) => id === view.id || id === view.task_id)) && matches(view, where);

const chooseSome = (action: string): ImproperlyConfigured =>
  new ImproperlyConfigured(`tq dead ${action} needs ids, or --where KEY=PATTERN; --where "id=*" means all`);

function lineOf({ id, at, queue, node, task, task_id: taskId, reason, crashes, redriven }: LetterView): string {
  const often = [
    ...(crashes > 0 ? [`${crashes} crashes before`] : []),
    ...(redriven > 0 ? [`redriven ${redriven} times`] : []),
  ];
  const suffix = often.length > 0 ? ` (${often.join(", ")})` : "";
  return `${id}  ${at}  ${queue}  ${node || "-"}  ${task ?? "?"}[${taskId ?? "?"}]  ${firstLine(reason)}${suffix}`;
}

const firstLine = (text: string): string => text.split("\n", 1)[0]?.slice(0, 300) ?? "";

/** Headers, and the body as text where it is text. */
function contentOf({ message, raw }: DeadLetter): Readonly<Record<string, unknown>> {
  if (message === null) return { raw };
  const body = Buffer.from(message.body, "base64");
  const isText = /^utf-?8$/i.test(message.contentEncoding) || message.contentType === "application/json";
  return {
    headers: message.headers,
    properties: message.properties,
    content_type: message.contentType,
    body: isText ? body.toString("utf8") : message.body,
  };
}
