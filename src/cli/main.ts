import { Command, CommanderError } from "commander";
import { asDetached } from "../system/daemonize.ts";
import { EX_OK } from "../system/exit-codes.ts";
import { codename, version } from "../version.ts";
import type { CommandModule } from "./command.ts";
import type { CompletedCommand } from "./completion.ts";
import { configureHelp } from "./help.ts";
import { addOptions, readOptions, spellingsOf } from "./options.ts";
import { createOutput, reportError } from "./output.ts";
import { type GlobalValues, globalOptions, type Session } from "./session.ts";

interface CommandEntry {
  readonly summary: string;
  /** Loaded when its turn comes: `tq call` does not pay for the worker. */
  readonly load: () => Promise<CommandModule>;
}

const commands: Readonly<Record<string, CommandEntry>> = {
  beat: {
    summary: "Start the beat periodic task scheduler.",
    load: async () => (await import("./beat.ts")).beatCommand,
  },
  call: { summary: "Call a task by name.", load: async () => (await import("./call.ts")).callCommand },
  control: { summary: "Workers remote control.", load: async () => (await import("./control.ts")).controlCommand },
  dead: {
    summary: "Look after messages that were rejected.",
    load: async () => (await import("./dead.ts")).deadCommand,
  },
  events: { summary: "Event-stream utilities.", load: async () => (await import("./events.ts")).eventsCommand },
  inspect: { summary: "Inspect the workers.", load: async () => (await import("./inspect.ts")).inspectCommand },
  completion: {
    summary: "Print the completion of bash, zsh or fish.",
    load: async () => (await import("./completion.ts")).completionCommand(describeCommands),
  },
  multi: { summary: "Start multiple worker instances.", load: async () => (await import("./multi.ts")).multiCommand },
  canvas: {
    summary: "Look at a workflow, and mend one that is stuck.",
    load: async () => (await import("./canvas.ts")).canvasCommand,
  },
  purge: {
    summary: "Erase all messages from all known task queues.",
    load: async () => (await import("./purge.ts")).purgeCommand,
  },
  report: {
    summary: "Shows information useful to include in bug-reports.",
    load: async () => (await import("./report.ts")).reportCommand,
  },
  result: {
    summary: "Print the return value for a given task id.",
    load: async () => (await import("./result.ts")).resultCommand,
  },
  status: {
    summary: "Show list of workers that are online.",
    load: async () => (await import("./status.ts")).statusCommand,
  },
  worker: { summary: "Start worker instance.", load: async () => (await import("./worker.ts")).workerCommand },
};

/**
 * The command `tq`. Resolves to the exit code and never ends the process itself: 0 done, 1 it
 * failed, 2 the command line or the app is wrong, 69 a broker or a result store does not serve, 73 the
 * pidfile is held.
 */
export async function main(argv: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<number> {
  // `tq … | head` is no failure.
  process.stdout.on("error", ignoreClosedPipe);
  process.stderr.on("error", ignoreClosedPipe);
  let output = createOutput({ color: !env.NO_COLOR });
  let traceback = isTrue(env.TQ_TRACEBACK);
  let exitCode = EX_OK;
  const detached = asDetached(env);

  const session = (globals: GlobalValues): Session => ({ env, output, globals, detached });
  const asksForHelp = argv.some((word) => word === "-h" || word === "--help") || argv[0] === "help";
  const prepare = async (command: Command, module: CommandModule): Promise<void> => {
    if (asksForHelp) await module.prepareHelp?.(command, session(readOptions(program, globalOptions, env)));
  };
  const program = createProgram(output.red, prepare, async (command, module) => {
    const globals = readOptions(program, globalOptions, env);
    traceback = globals.traceback ?? traceback;
    output = createOutput({ color: globals.noColor !== true });
    // In the background it works where its starter did, which has gone there already.
    if (globals.workdir !== undefined && !detached) enter(program, globals.workdir);
    if (globals.config !== undefined) env.TQ_CONFIG_MODULE = globals.config;
    if (globals.loader !== undefined) output.notice(`--loader ${globals.loader} is ignored: tq has one loader.`);
    exitCode = await module.run(command, session(globals));
  });

  try {
    if (argv.length === 0) {
      program.outputHelp();
      return EX_OK;
    }
    const multi = multiWords(argv);
    if (multi !== undefined) {
      const { runMulti } = await import("./multi.ts");
      return await runMulti(multi, env);
    }
    const words = argv[0] === "help" ? [...argv.slice(1), "--help"] : argv;
    await program.parseAsync([...words], { from: "user" });
    return exitCode;
  } catch (error) {
    // Options and no command: commander has said what there is, as Celery does.
    if (error instanceof CommanderError && error.code === "commander.help") return EX_OK;
    return reportError(error, output, { traceback: traceback || argv.includes("--traceback") });
  } finally {
    process.stdout.off("error", ignoreClosedPipe);
    process.stderr.off("error", ignoreClosedPipe);
  }
}

/**
 * What belongs to `tq multi`, when that is the command: it has a grammar of its own. Options of
 * `tq` before it are moved behind, as Celery does.
 */
function multiWords(argv: readonly string[]): readonly string[] | undefined {
  const taking = new Set(spellingsOf(globalOptions).flatMap(({ flag, takesValue }) => (takesValue ? [flag] : [])));
  let at = 0;
  while (argv[at]?.startsWith("-")) at += taking.has(argv[at] as string) ? 2 : 1;
  const asksForHelp = argv[at] === "help" && argv[at + 1] === "multi";
  if (asksForHelp) return ["help"];
  if (argv[at] !== "multi") return undefined;
  const [name, ...rest] = argv.slice(at + 1);
  if (name === undefined) return [];
  const end = rest.indexOf("--");
  return [name, ...(end < 0 ? rest : rest.slice(0, end)), ...argv.slice(0, at), ...(end < 0 ? [] : rest.slice(end))];
}

/** The program and its commands, each defined once, for the completions of shells. */
async function describeCommands(): Promise<readonly CompletedCommand[]> {
  const { describeForCompletion } = await import("./completion.ts");
  const nothing = async (): Promise<void> => undefined;
  const program = createProgram((text) => text, nothing, nothing);
  const described = [describeForCompletion(program)];
  for (const command of program.commands) {
    const module = await commands[command.name()]?.load();
    module?.define(command);
    described.push(describeForCompletion(command, module?.words?.()));
  }
  return described;
}

function createProgram(
  red: (text: string) => string,
  prepare: (command: Command, module: CommandModule) => Promise<void>,
  run: (command: Command, module: CommandModule) => Promise<void>,
): Command {
  const program = new Command("tq")
    .description("Celery, for Node, done right.")
    .usage("[OPTIONS] COMMAND [ARGS]...")
    .version(`${version} (${codename})`, "--version", "Show the version and exit.")
    .helpOption("-h, --help", "Show this message and exit.")
    .helpCommand(false)
    .exitOverride()
    .configureHelp(configureHelp)
    .configureOutput({ outputError: (text, write) => write(red(text.replace(/^error: /, "Error: "))) })
    .showHelpAfterError("Try 'tq --help' for help.");
  addOptions(program, globalOptions);

  const modules = new Map<Command, CommandModule>();
  for (const [name, { summary }] of Object.entries(commands)) {
    program.addCommand(
      new Command(name)
        .summary(summary)
        .copyInheritedSettings(program)
        .showHelpAfterError(`Try 'tq ${name} --help' for help.`),
    );
  }
  program.hook("preSubcommand", async (_program, command) => {
    const module = await (commands[command.name()] as CommandEntry).load();
    modules.set(command, module);
    command.description(module.description);
    module.define(command);
    await prepare(command, module);
    command.action(() => run(command, module));
  });
  return program;
}

function enter(program: Command, folder: string): void {
  try {
    process.chdir(folder);
  } catch (error) {
    const reason =
      (error as NodeJS.ErrnoException).code === "ENOENT" ? "There is no such folder." : (error as Error).message;
    program.error(`error: option '--workdir' argument '${folder}' is invalid. ${reason}`);
  }
}

function ignoreClosedPipe(error: NodeJS.ErrnoException): void {
  // EIO: the terminal is gone.
  if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
}

const isTrue = (text: string | undefined): boolean => text !== undefined && !/^(|0|false|no|off)$/i.test(text);
