import { resolve } from "node:path";
import { ImproperlyConfigured } from "../errors.ts";
import { expandNodename, nodename } from "../protocol/nodename.ts";
import type { MultiArguments } from "./arguments.ts";
import { expandFor, type NodeName, nameNodes, optionsOf } from "./names.ts";
import { joinWords, splitWords } from "./words.ts";

/** One worker process, as a command line describes it. */
export interface Node extends NodeName {
  /** Its name as the worker itself completes it. */
  readonly nodename: string;
  /** The command and its arguments, to be shown: `tq worker --detach -c 3 -n w1@host …`. */
  readonly argv: readonly string[];
  /** What is started. */
  readonly program: string;
  readonly args: readonly string[];
  /** Whether that is a worker of tq, which says itself when it is ready. */
  readonly isOurs: boolean;
  /** Absolute. */
  readonly pidfile: string;
  /** Absolute; null when it goes elsewhere than to a file of its own. `%P` is still in it, where given. */
  readonly logfile: string | null;
  /** Where relative paths begin. */
  readonly workdir: string;
  /** Who it becomes: `--uid` and `--gid`. */
  readonly uid: string | null;
  readonly gid: string | null;
}

/** What nodes are made from. */
export interface ClusterPlan {
  readonly arguments: MultiArguments;
  /** This machine. */
  readonly host: string;
  readonly cwd: string;
  /** Node, unless `--executable` names another. */
  readonly execPath: string;
  /** The file behind the command `tq`. */
  readonly tq: string;
  /** `false` where nodes stay with their supervisor: no pidfile and no logfile but those asked for. Default true. */
  readonly detached?: boolean;
}

/** Options of `tq multi` itself, which the nodes do not get. */
const own = new Set([
  ...["--cmd", "--append", "--prefix", "--suffix", "--range-prefix", "--hostname", "-n"],
  ...["--nosplash", "--quiet", "-q", "--verbose", "--no-color", "-C", "--wait", "--no-wait", "--timeout"],
  ...["--keep-nodes", "--max-restarts", "--restart-delay", "--no-prefix", "--detach", "-D"],
]);

/** Options of `tq`, which stand before the command. */
const globals = new Set([
  ...["-A", "--app", "-b", "--broker", "--result-backend", "--loader", "--config", "--workdir"],
]);

/** What documentation of Celery promises: files in the folder one is in. */
const defaultPidfile = "%n.pid";
const defaultLogfile = "%n%I.log";

/** The nodes of a command line, in order. Throws `ImproperlyConfigured` for one that cannot be understood. */
export function planNodes(plan: ClusterPlan): Node[] {
  const { options, words } = plan.arguments;
  const hostname = text(options.get("--hostname") ?? options.get("-n")) ?? plan.host;
  const suffix = text(options.get("--suffix")) ?? hostname;
  const names = nameNodes({
    words,
    prefix: text(options.get("--prefix")),
    rangePrefix: text(options.get("--range-prefix")),
    suffix: suffix === '""' || suffix === "''" ? "" : suffix,
    host: plan.host,
  });
  const all = optionsOf(names, plan.arguments);
  return names.map((name, index) => nodeOf(name, all[index] as ReadonlyMap<string, string | null>, plan));
}

function nodeOf(name: NodeName, given: ReadonlyMap<string, string | null>, plan: ClusterPlan): Node {
  const expand = (value: string): string => expandFor(name, value);
  const { detached = true } = plan;
  const options = new Map(given);
  for (const flag of own) options.delete(flag);
  options.set("-n", name.name);
  if (detached && !options.get("--pidfile")) options.set("--pidfile", defaultPidfile);
  if (detached && !options.get("--logfile") && !options.get("-f")) options.set("--logfile", defaultLogfile);
  const executable = options.get("--executable");
  options.delete("--executable");

  const command = splitWords(expand(text(given.get("--cmd")) ?? "tq worker --detach"));
  if (command.length === 0) throw new ImproperlyConfigured("--cmd must name a command, got an empty one");
  const before: string[] = [];
  const after: string[] = [];
  for (const [flag, value] of options) {
    (globals.has(flag) ? before : after).push(...optionWords(flag, value === null ? null : expand(value)));
  }
  const append = splitWords(expand(text(given.get("--append")) ?? ""));
  // Celery's commands may begin with `-m`, or with a path: its options go behind the program's name.
  const tool = command.findIndex((word) => /^(?:.*\/)?(?:tq|celery)$/.test(word));
  const at = tool < 0 ? command.length : tool + 1;
  const argv = [
    ...command.slice(0, at),
    ...before,
    ...command.slice(at),
    ...after,
    ...plan.arguments.passthrough,
    ...append,
  ];

  const isOurs = command[0] === "tq" && command.includes("worker");
  const workdir = resolve(plan.cwd, expand(options.get("--workdir") ?? "."));
  const pidfile = expand(options.get("--pidfile") ?? "");
  const logfile = expand(options.get("--logfile") ?? options.get("-f") ?? "");
  const full = nodename(name.name, plan.host);
  return {
    ...name,
    nodename: full,
    argv,
    ...program(argv, executable ? expand(executable) : null, plan),
    isOurs,
    pidfile: pidfile === "" ? "" : resolve(workdir, expandNodename(pidfile, { nodename: full })),
    logfile:
      logfile === "" || logfile === "stderr" || logfile === "stdout"
        ? null
        : resolve(workdir, expandNodename(logfile, { nodename: full })),
    workdir,
    uid: options.get("--uid") ?? null,
    gid: options.get("--gid") ?? null,
  };
}

/** The line a user would type to have this node, ready for a shell. */
export function commandLine(node: Node, { detach = true }: { readonly detach?: boolean } = {}): string {
  const args = detach ? node.args : withoutDetach(node.args);
  return joinWords([node.program, ...args]);
}

/** A node that is started by us is in the background already. */
export function withoutDetach(args: readonly string[]): string[] {
  const end = args.indexOf("--");
  return args.filter((word, index) => !(/^(-D|--detach)$/.test(word) && (end < 0 || index < end)));
}

function program(
  argv: readonly string[],
  executable: string | null,
  plan: ClusterPlan,
): { readonly program: string; readonly args: readonly string[] } {
  const [first, ...rest] = argv as [string, ...string[]];
  if (first === "tq") return { program: executable ?? plan.execPath, args: [plan.tq, ...rest] };
  if (executable !== null) return { program: executable, args: argv };
  if (first.startsWith("-")) {
    throw new ImproperlyConfigured(`--cmd begins with ${first}: name the program it is for with --executable`);
  }
  return { program: first, args: rest };
}

/** Long options with `=`, short ones as two words. */
function optionWords(flag: string, value: string | null): string[] {
  if (value === null) return [flag];
  return flag.startsWith("--") ? [`${flag}=${value}`] : [flag, value];
}

const text = (value: string | null | undefined): string | undefined =>
  value === null || value === undefined || value === "" ? undefined : value;
