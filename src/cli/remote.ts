import { format } from "node:util";
import type { Command } from "commander";
import type { Tq } from "../app/app.ts";
import type { BroadcastOptions } from "../control/broadcast-options.ts";
import type { CommandDescription } from "../control/command.ts";
import { OperationalError } from "../errors.ts";
import { silentLogger } from "../log.ts";
import { encodeJson } from "../serialization/json.ts";
import { EX_OK } from "../system/exit-codes.ts";
import { onSignal } from "../system/posix-signals.ts";
import type { CommandModule } from "./command.ts";
import { addOptions, commaSeparated, integer, limit, type OptionSpecs, type OptionValues, oneOf } from "./options.ts";
import { commandNamed, compileArguments, type RemoteKind, visibleCommands } from "./remote-arguments.ts";
import { colored, onlineText, plain, replyText } from "./remote-text.ts";
import { openApp, optionsFor, type Session, withApp } from "./session.ts";

const group = "Remote Control Options";

/** What `inspect`, `control` and `status` share. */
export const remoteOptions = {
  timeout: {
    flags: ["-t", "--timeout"],
    metavar: "FLOAT",
    group,
    help: "Timeout in seconds waiting for reply; default 1.",
    parse: limit,
  },
  destination: {
    flags: ["-d", "--destination"],
    metavar: "COMMA SEPARATED LIST",
    group,
    help: "Comma separated list of destination node names.",
    parse: commaSeparated,
  },
  pattern: { flags: ["--pattern"], metavar: "TEXT", group, help: "Only nodes whose name matches, such as 'web*@*'." },
  matcher: {
    flags: ["--matcher"],
    metavar: "[glob|pcre]",
    group,
    help: "How the pattern is meant; default glob.",
    parse: oneOf(["glob", "pcre"]),
  },
  limit: {
    flags: ["--limit"],
    metavar: "INTEGER",
    group,
    help: "Do not wait for more replies than these.",
    parse: integer(1),
  },
  json: { flags: ["-j", "--json"], group, help: "Use json as output format." },
} as const satisfies OptionSpecs;

export type RemoteValues = OptionValues<typeof remoteOptions>;

const listOption = {
  list: { flags: ["--list"], group, help: "List the available commands and exit." },
} as const satisfies OptionSpecs;

/** Milliseconds between two dots while nobody has answered yet. */
const dotMs = 250;

/** What went wrong when nobody answered: exit code 69. */
const nobody = (): OperationalError => new OperationalError("No nodes replied within time constraint");

/** Asks with these options, shows each reply as it comes, and gives them all. Ctrl+C ends the waiting. */
export async function broadcast(
  app: Tq,
  session: Session,
  call: { readonly method: string; readonly args: Readonly<Record<string, unknown>>; readonly body: boolean },
  values: RemoteValues,
): Promise<readonly Readonly<Record<string, unknown>>[]> {
  const { output, globals } = session;
  const { json = false, timeout, destination, pattern, matcher, limit: most } = values;
  app.logger = { ...silentLogger, warn: (...words: readonly unknown[]) => output.notice(format(...words)) };
  const style = globals.noColor !== true && process.stdout.isTTY === true ? colored : plain;
  const stop = new AbortController();
  using _interrupted = onSignal(["SIGINT", "SIGTERM"], () => stop.abort());
  using dots = progress(!json && globals.quiet !== true);
  const options: BroadcastOptions = {
    reply: true,
    signal: stop.signal,
    ...(timeout === undefined ? {} : { timeout }),
    ...(destination === undefined ? {} : { destination }),
    ...(pattern === undefined ? {} : { pattern }),
    ...(matcher === undefined ? {} : { matcher }),
    ...(most === undefined ? {} : { limit: most }),
    callback(reply) {
      dots.end();
      if (json) return;
      for (const [node, value] of Object.entries(reply)) {
        output.print(replyText(node, value, { style, body: call.body, quiet: globals.quiet === true }));
      }
    },
  };
  const replies = await app.control.broadcast<unknown>(call.method, call.args, options);
  dots.end();
  if (replies.length === 0) throw nobody();
  return replies;
}

/** How many nodes answered, for those who did not ask for less. */
export function sayOnline(session: Session, count: number): void {
  if (session.globals.quiet !== true) session.output.print(onlineText(count));
}

/** A dot now and then on a terminal, until somebody answers. */
function progress(wanted: boolean): Disposable & { end(): void } {
  let dots = 0;
  const show = wanted && process.stderr.isTTY === true;
  const timer = show
    ? setInterval(() => {
        dots += 1;
        process.stderr.write(".");
      }, dotMs)
    : undefined;
  const end = (): void => {
    clearInterval(timer);
    // The line is needed for what is said next.
    if (dots > 0) process.stderr.write(`\r${" ".repeat(dots)}\r`);
    dots = 0;
  };
  return { end, [Symbol.dispose]: end };
}

/** `tq inspect` or `tq control`. */
export function remoteCommand(kind: RemoteKind, texts: { readonly description: string }): CommandModule {
  const title = kind === "inspect" ? "Inspect" : "Control";
  return {
    description: texts.description,
    define(command) {
      command
        .usage("[OPTIONS] COMMAND [ARGS]...")
        .argument("[COMMAND]", `One of the ${kind} commands below.`)
        .argument("[ARGS...]", "Its arguments.")
        // An argument may begin with a dash behind `--`.
        .addHelpText("after", () => `\n${listing(title, visibleCommands(listed.get(command) ?? [], kind))}`);
      addOptions(command, { ...remoteOptions, ...listOption });
    },
    async prepareHelp(command, session) {
      listed.set(command, await commandsOf(session).catch(() => builtin()));
    },
    async run(command, session) {
      const { list = false, ...values } = optionsFor(command, { ...remoteOptions, ...listOption }, session);
      const [name, ...words] = command.args;
      if (list || name === undefined) {
        session.output.print(listing(title, visibleCommands(await commandsOf(session), kind)));
        return EX_OK;
      }
      return await withApp(session, async (app) => {
        const found = await lookUp(app, kind, name);
        const args = compileArguments(found, words);
        const replies = await broadcast(app, session, { method: found.name, args, body: true }, values);
        // Celery gives a map of questions, and of commands the list of replies.
        const all = kind === "inspect" ? Object.assign({}, ...replies) : replies;
        if (values.json) session.output.print(encodeJson(all));
        else if (kind === "inspect") sayOnline(session, replies.length);
        return EX_OK;
      });
    },
  };
}

/** What the help of a command lists, once known. */
const listed = new WeakMap<Command, readonly CommandDescription[]>();

const builtin = async (): Promise<readonly CommandDescription[]> =>
  (await import("../worker/control/registry.ts")).builtinCommands;

async function commandsOf(session: Session): Promise<readonly CommandDescription[]> {
  const { app } = await openApp(session);
  try {
    await app.loadModules();
    return [...(await builtin()), ...app.controlCommands];
  } finally {
    await app.close();
  }
}

/** The app's modules are loaded only for a command that is none of ours. */
async function lookUp(app: Tq, kind: RemoteKind, name: string): Promise<CommandDescription> {
  const ours = await builtin();
  const own = [...ours, ...app.controlCommands];
  if (own.some((command) => command.name === name)) return commandNamed(own, kind, name);
  await app.loadModules();
  return commandNamed([...ours, ...app.controlCommands], kind, name);
}

/** `--list`: a line for each command, its help beside it. */
function listing(title: string, commands: readonly CommandDescription[]): string {
  const rows = commands.map(({ name, signature, help }): [string, string] => [
    signature === undefined ? name : `${name} ${signature}`,
    help,
  ]);
  const width = Math.min(30, Math.max(...rows.map(([term]) => term.length)));
  const lines = rows.map(([term, help]) =>
    term.length <= width ? `  ${term.padEnd(width)}  ${help}` : `  ${term}\n  ${" ".repeat(width)}  ${help}`,
  );
  return [`${title} Commands:`, ...lines.map((line) => line.trimEnd())].join("\n");
}
