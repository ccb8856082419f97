import type { CommandWord } from "./command.ts";
import { type OptionSpecs, spellingsOf } from "./options.ts";
import { globalOptions } from "./session.ts";
import { workerOptionSpecs } from "./worker.ts";

/** Options of `tq multi` beyond those of the worker. */
const own = {
  nosplash: { flags: ["--nosplash"], help: "Don't display program info." },
  quiet: { flags: ["-q", "--quiet"], help: "Don't show as much output." },
  verbose: { flags: ["--verbose"], help: "Show more output." },
  noColor: { flags: ["-C", "--no-color"], help: "Don't display colors." },
  prefix: { flags: ["-p", "--prefix"], metavar: "TEXT", help: "Before the name of each node." },
  suffix: { flags: ["--suffix"], metavar: "TEXT", help: "After the name of each node." },
  rangePrefix: { flags: ["--range-prefix"], metavar: "TEXT", help: "Before the number of each node." },
  cmd: { flags: ["--cmd"], metavar: "COMMAND", help: "What is started." },
  append: { flags: ["--append"], metavar: "TEXT", help: "What is added to the command of each node." },
  wait: { flags: ["--wait"], help: "Wait until nodes are ready, as by default." },
  noWait: { flags: ["--no-wait"], help: "Start nodes without waiting until they are ready." },
  timeout: { flags: ["--timeout"], metavar: "SECONDS", help: "How long to wait for nodes that start or stop." },
  keepNodes: { flags: ["--keep-nodes"], help: "Leave the nodes running when the supervisor ends." },
  maxRestarts: {
    flags: ["--max-restarts"],
    metavar: "N",
    help: "Give up on a node after so many failed starts in a row.",
  },
  restartDelay: { flags: ["--restart-delay"], metavar: "SECONDS", help: "Before the first restart of a node." },
  noPrefix: { flags: ["--no-prefix"], help: "Print lines of the nodes as they are." },
} as const satisfies OptionSpecs;

/** Every option and whether it has a value. */
export function multiFlags(): ReadonlyMap<string, boolean> {
  const all = spellingsOf({ ...own, ...globalOptions, ...workerOptionSpecs });
  return new Map(all.map(({ flag, takesValue }) => [flag, takesValue]));
}

type OwnName = keyof typeof own;

const always: readonly OwnName[] = ["nosplash", "quiet", "verbose", "noColor", "prefix", "suffix", "rangePrefix"];
const started: readonly OwnName[] = ["cmd", "append"];
const awaited: readonly OwnName[] = ["wait", "noWait", "timeout"];

interface MultiWord {
  readonly summary: string;
  readonly own: readonly OwnName[];
  /** Whether options of the worker matter, or no more than what names a node and its files. */
  readonly takesWorker: boolean;
  readonly signals?: boolean;
}

const words: Readonly<Record<string, MultiWord>> = {
  start: { summary: "Start nodes.", own: [...started, ...awaited], takesWorker: true },
  stop: { summary: "Signal nodes to stop.", own: [], takesWorker: false, signals: true },
  stopwait: { summary: "Stop nodes and wait for them.", own: ["timeout"], takesWorker: false, signals: true },
  restart: { summary: "Stop nodes and start them.", own: [...started, ...awaited], takesWorker: true, signals: true },
  reload: { summary: "Replace nodes without a gap.", own: [...started, "timeout"], takesWorker: true },
  run: {
    summary: "Keep nodes running in the foreground.",
    own: [...started, "timeout", "keepNodes", "maxRestarts", "restartDelay", "noPrefix"],
    takesWorker: true,
  },
  kill: { summary: "Kill nodes and all their processes.", own: [], takesWorker: false },
  reopen: { summary: "Have nodes open their logs anew.", own: [], takesWorker: false },
  status: { summary: "Say which nodes run.", own: [], takesWorker: false },
  show: { summary: "Print the commands that start nodes.", own: started, takesWorker: true },
  get: { summary: "Print the options of one node.", own: started, takesWorker: true },
  names: { summary: "Print the names of nodes.", own: [], takesWorker: false },
  expand: { summary: "Print a template for each node.", own: [], takesWorker: false },
  help: { summary: "Print examples.", own: [], takesWorker: false },
};

/** What follows `tq multi`, each with its options, for the completions of shells. */
export function multiWords(): readonly CommandWord[] {
  const { hostname, pidfile, logfile } = workerOptionSpecs;
  return Object.entries(words).map(([name, word]) => ({
    name,
    summary: word.summary,
    options: {
      ...Object.fromEntries([...always, ...word.own].map((key) => [key, own[key]])),
      ...(word.takesWorker
        ? { app: globalOptions.app, workdir: globalOptions.workdir, ...workerOptionSpecs }
        : { hostname, pidfile, logfile }),
    },
    signals: word.signals ? ["-TERM", "-INT", "-QUIT", "-HUP"] : [],
  }));
}
