import { hostname } from "node:os";
import { join } from "node:path";
import { format } from "node:util";
import { ImproperlyConfigured, TqError } from "../errors.ts";
import { silentLogger } from "../log.ts";
import { type Grammar, type Options, parseMultiArguments } from "../multi/arguments.ts";
import { Cluster } from "../multi/cluster.ts";
import { expandFor } from "../multi/names.ts";
import { commandLine, type Node, planNodes } from "../multi/node.ts";
import { stateOf } from "../multi/node-state.ts";
import { prepareNodes } from "../multi/prepare.ts";
import { Report } from "../multi/report.ts";
import { Supervisor } from "../multi/supervisor.ts";
import { help, usage } from "../multi/usage.ts";
import { joinWords } from "../multi/words.ts";
import { EX_OK, EX_USAGE } from "../system/exit-codes.ts";
import { installation } from "../system/installation.ts";
import { onSignal } from "../system/posix-signals.ts";
import { runBeneathReaper } from "../system/reaper.ts";
import { takeServiceManager } from "../system/sd-notify.ts";
import { readinessService, watchdogService } from "../system/sd-services.ts";
import { takeSupervision } from "../system/supervision.ts";
import type { CommandModule } from "./command.ts";
import { multiFlags, multiWords } from "./multi-options.ts";

/** The command `tq`, as nodes are started with it. */
const tq = join(installation, "bin", "tq.js");

/** Its place among the commands; its words are read by `runMulti`. */
export const multiCommand: CommandModule = {
  description: "Start multiple worker instances.",
  define(command) {
    command.usage("COMMAND [NODES]... [OPTIONS]");
  },
  words: multiWords,
  run: async (command, session) => await runMulti(command.args, session.env),
};

interface Context {
  readonly nodes: readonly Node[];
  readonly cluster: Cluster;
  readonly report: Report;
  readonly options: Options;
  readonly env: NodeJS.ProcessEnv;
  readonly signal: NodeJS.Signals;
}

interface MultiCommand {
  readonly splash?: boolean;
  /** Whether `-QUIT` among its words is a signal. */
  readonly signals?: boolean;
  /** Whether its first word is no node. */
  readonly takes?: string;
  readonly detached?: boolean;
  readonly run: (context: Context, taken: string) => Promise<number> | number;
}

const commands: Readonly<Record<string, MultiCommand>> = {
  start: { splash: true, run: ({ cluster }) => cluster.start() },
  stop: { splash: true, signals: true, run: ({ cluster, signal }) => cluster.stop(signal) },
  stopwait: { splash: true, signals: true, run: ({ cluster, signal }) => cluster.stopwait(signal) },
  stop_verify: { splash: true, signals: true, run: ({ cluster, signal }) => cluster.stopwait(signal) },
  restart: { splash: true, signals: true, run: ({ cluster, signal }) => cluster.restart(signal) },
  reload: { splash: true, run: ({ cluster }) => cluster.reload() },
  kill: { splash: true, run: ({ cluster }) => cluster.kill() },
  reopen: { splash: true, run: ({ cluster }) => cluster.signal("SIGUSR2") },
  status: { run: ({ cluster }) => cluster.status() },
  run: { detached: false, run: superviseNodes },
  show: {
    run({ nodes, report }) {
      for (const node of nodes) report.answer(commandLine(node));
      return EX_OK;
    },
  },
  names: {
    run({ nodes, report }) {
      for (const { name } of nodes) report.answer(name);
      return EX_OK;
    },
  },
  get: {
    takes: "the full name of a node",
    run({ nodes, report }, wanted) {
      const node = nodes.find(({ name, nodename }) => name === wanted || nodename === wanted);
      if (node === undefined) {
        throw new ImproperlyConfigured(
          `no node ${wanted}: there ${nodes.length === 1 ? "is" : "are"} ${nodes.map(({ name }) => name).join(", ")}`,
        );
      }
      report.answer(joinWords(node.argv));
      return EX_OK;
    },
  },
  expand: {
    takes: "a template such as %n.pid",
    run({ nodes, report }, template) {
      for (const node of nodes) report.answer(expandFor(node, template));
      return EX_OK;
    },
  },
};

/**
 * `tq multi`: several nodes started, watched and stopped by one command. It reads its words
 * itself, since options that are for some nodes only (`-c:1-3 10`) are like no other command's.
 */
export async function runMulti(argv: readonly string[], env: NodeJS.ProcessEnv): Promise<number> {
  const [name = "", ...words] = argv.filter((word) => !reserved.test(word));
  const flags = new Set(argv.filter((word) => reserved.test(word)));
  const report = new Report({
    write: (text) => void process.stdout.write(text),
    complain: (text) => void process.stderr.write(text),
    color: process.stdout.isTTY === true && !flags.has("--no-color") && !flags.has("-C") && !env.NO_COLOR,
    quiet: flags.has("--quiet") || flags.has("-q"),
    verbose: flags.has("--verbose"),
    nosplash: flags.has("--nosplash"),
  });

  if (["help", "--help", "-h"].includes(name) || (name !== "" && words.some((word) => word === "--help"))) {
    report.answer(help.trimEnd());
    return EX_OK;
  }
  const command = Object.hasOwn(commands, name) ? (commands[name] as MultiCommand) : undefined;
  if (command === undefined) {
    report.splash();
    process.stderr.write(`${name === "" ? "" : `Invalid command: ${name}\n`}${usage}`);
    return EX_USAGE;
  }
  return await runCommand(name, command, words, { report, env });
}

async function runCommand(
  name: string,
  command: MultiCommand,
  words: readonly string[],
  { report, env }: { readonly report: Report; readonly env: NodeJS.ProcessEnv },
): Promise<number> {
  const [taken = "", ...others] = command.takes === undefined ? ["", ...words] : words;
  if (command.takes !== undefined && taken === "")
    throw new ImproperlyConfigured(`tq multi ${name} needs ${command.takes}`);
  const parsed = parseMultiArguments(others, { ...grammar(), signals: command.signals ?? false });
  if (parsed.words.length === 0)
    throw new ImproperlyConfigured(`tq multi ${name} needs the names of nodes, or their number`);
  const { options } = parsed;
  const nodes = planNodes({
    arguments: parsed,
    host: hostname(),
    cwd: process.cwd(),
    execPath: process.execPath,
    tq,
    // Nodes that are to be found again need their pidfiles, and a log that does not end with us.
    detached: (command.detached ?? true) || options.has("--keep-nodes"),
  });
  const timeout = seconds(options, "--timeout");
  if (command.splash) report.splash();
  const cluster = new Cluster(nodes, report, {
    env,
    wait: !options.has("--no-wait"),
    startTimeout: timeout ?? 60,
    stopTimeout: timeout ?? Number.POSITIVE_INFINITY,
  });
  return await command.run({ nodes, cluster, report, options, env, signal: parsed.signal ?? "SIGTERM" }, taken);
}

/** `tq multi run`: the nodes in the foreground, kept running until told to stop. */
async function superviseNodes({ nodes, options, env }: Context): Promise<number> {
  const say = (line: string): void => void process.stderr.write(`${line}\n`);
  if (process.pid === 1) {
    const exitCode = await runBeneathReaper(env);
    if (exitCode !== null) return exitCode;
    say("tq multi run is process 1, where Node buries no orphans of tasks: have tini in the PATH, or Node 22.15.");
  }
  const supervision = takeSupervision(env);
  // Out of the environment before a node is started: this process speaks for all of them.
  const manager = takeServiceManager(env, { ...silentLogger, warn: (...said: unknown[]) => say(format(...said)) });
  const keepNodes = options.has("--keep-nodes");
  prepareNodes(nodes);
  for (const node of keepNodes ? [] : nodes) refuseRunning(node);
  const timeout = seconds(options, "--timeout");
  const print = linePrinter(nodes, options.has("--no-prefix"));
  const supervisor = new Supervisor(nodes, {
    env,
    keepNodes,
    policy: {
      maxRestarts: seconds(options, "--max-restarts") ?? 5,
      delay: seconds(options, "--restart-delay") ?? 1,
      maxDelay: 30,
      stableAfter: 10,
    },
    startTimeout: 60,
    stopTimeout: timeout ?? Number.POSITIVE_INFINITY,
    onLine: print,
    say,
    onReady() {
      supervision.ready();
      void readiness?.start();
    },
  });
  const readiness = manager && readinessService(manager, `${nodes.length} ${nodes.length === 1 ? "node" : "nodes"}`);
  const watchdog = manager && watchdogService(manager);
  using _signals = onSignal(["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"], (signal) => {
    if (signal === "SIGHUP") void supervisor.reload();
    else if (signal === "SIGUSR1" || signal === "SIGUSR2") supervisor.forward(signal);
    else {
      void readiness?.stop(AbortSignal.abort());
      supervisor.stop(signal);
    }
  });
  await watchdog?.start();
  try {
    return await supervisor.run();
  } finally {
    await watchdog?.stop(AbortSignal.abort());
  }
}

function refuseRunning(node: Node): void {
  if (node.pidfile === "") return;
  const state = stateOf(node);
  if (state.kind !== "running" && state.kind !== "foreign") return;
  throw new TqError(
    `The pidfile ${node.pidfile} of ${node.name} belongs to process ${state.pid}: stop that first. Nothing was started.`,
    { code: "TQ_PIDFILE_HELD" },
  );
}

/** Lines of the nodes as they come, each with the name of its node. */
function linePrinter(
  nodes: readonly Node[],
  plain: boolean,
): (node: Node, line: string, stream: "stdout" | "stderr") => void {
  const hosts = new Set(nodes.map(({ host }) => host));
  const called = (node: Node): string => (hosts.size === 1 ? node.short : node.name);
  const width = Math.max(...nodes.map((node) => called(node).length));
  return (node, line, stream) => {
    process[stream].write(plain ? `${line}\n` : `${called(node).padEnd(width)} | ${line}\n`);
  };
}

/** What Celery takes out of a command line wherever it stands. */
const reserved = /^(--nosplash|--quiet|-q|--verbose|--no-color|-C)$/;

function grammar(): Grammar {
  const known = multiFlags();
  return { takesValue: (flag) => known.get(flag) };
}

function seconds(options: Options, flag: string): number | undefined {
  const text = options.get(flag);
  if (text === undefined) return undefined;
  const value = Number(text);
  if (!text || !Number.isFinite(value) || value < 0) {
    throw new ImproperlyConfigured(`${flag} must be a number of seconds, 0 or more, got: ${text ?? "nothing"}`);
  }
  return value;
}
