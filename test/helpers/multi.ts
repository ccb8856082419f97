import { readdirSync, readFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Tq } from "../../src/app/app.ts";
import { nodeVariable } from "../../src/multi/node-state.ts";
import { environmentOf } from "../../src/system/process-command.ts";
import { root } from "./build.ts";
import { type Child, isAlive, startChild } from "./child.ts";
import { temporaryFolder } from "./tmp.ts";
import { until } from "./until.ts";

/** How a command ended and what it printed. */
export interface MultiResult {
  readonly code: number | null;
  /** Standard output and error. */
  readonly output: string;
}

/** A folder with nodes on an embedded store of their own; what runs at the end is killed. */
export interface MultiStage extends AsyncDisposable {
  readonly path: string;
  readonly host: string;
  /** A client of the nodes. */
  readonly app: Tq;
  file(...names: string[]): string;
  /** Runs `tq multi` in the folder, with the app of test/apps/acts.ts where it needs one. */
  multi(...words: string[]): Promise<MultiResult>;
  /** The same, to be gone on with. */
  start(...words: string[]): Child;
  /** What a node's pidfile says. */
  pid(name: string): number;
  /** Whether that process is there. */
  isUp(name: string): boolean;
  /** Lines of a node's log. */
  log(name: string): string[];
}

/** The command lines of this folder: with no children and few messages, so that many nodes are cheap. */
export const cheap = ["-l", "INFO", "-P", "solo", "--without-mingle", "--without-gossip"];

export async function multiStage({
  env = {},
  path,
}: {
  readonly env?: Readonly<Record<string, string>>;
  /** A folder that is there and stays; by default one of its own. */
  readonly path?: string;
} = {}): Promise<MultiStage> {
  const folder =
    path === undefined
      ? await temporaryFolder()
      : { path, file: (...names: string[]) => join(path, ...names), [Symbol.asyncDispose]: async () => undefined };
  const { TQ_BROKER_URL, TQ_RESULT_BACKEND } = {
    TQ_BROKER_URL: `sqlite://${folder.file("tq.db")}`,
    TQ_RESULT_BACKEND: `sqlite://${folder.file("tq.db")}`,
    ...env,
  };
  const app = new Tq("client", { broker: TQ_BROKER_URL, backend: TQ_RESULT_BACKEND });
  const start = (...words: string[]): Child =>
    startChild(process.execPath, [join(root, "bin", "tq.js"), "multi", ...words], {
      cwd: folder.path,
      env: {
        ...process.env,
        NO_COLOR: "1",
        TQ_APP: join(root, "test", "apps", "acts.ts"),
        ...env,
        TQ_BROKER_URL,
        TQ_RESULT_BACKEND,
      },
    });
  const pid = (name: string): number => Number(readFileSync(folder.file(`${name}.pid`), "utf8"));
  return {
    path: folder.path,
    host: hostname(),
    app,
    file: folder.file,
    start,
    async multi(...words) {
      const child = start(...words);
      const { code } = await child.exited;
      return { code, output: child.output };
    },
    pid,
    isUp: (name) => isAlive(pid(name)),
    log: (name) =>
      readFileSync(folder.file(`${name}.log`), "utf8")
        .split("\n")
        .filter(Boolean),
    async [Symbol.asyncDispose]() {
      const pids = readdirSync(folder.path)
        .filter((name) => /\.pid(\.old)?$/.test(name))
        .map((name) => Number(readFileSync(folder.file(name), "utf8")));
      for (const one of pids) killNode(one);
      await until(() => !pids.some(isAlive), { message: "the nodes to be gone" });
      await app.close();
      await folder[Symbol.asyncDispose]();
    },
  };
}

/** Kills a node and its children, if it leads its group or names itself: what a test put into a pidfile may be anybody. */
function killNode(pid: number): void {
  const isNode = environmentOf(pid, nodeVariable) !== undefined;
  for (const target of isNode ? [-pid, pid] : [-pid]) {
    try {
      process.kill(target, "SIGKILL");
    } catch {
      // Gone, or no node.
    }
  }
}

/** The text with process ids as PID, dots of waiting as three, and the host's name as HOST. */
export function normalized(text: string, host: string): string {
  return text
    .replaceAll(host, "HOST")
    .replace(/-> [\d, None]+\.{3,}/g, (waiting) => `${waiting.replace(/\d+/g, "PID").replace(/\.+$/, "")}...`)
    .replace(/(-> |pid |\()\d+/g, "$1PID");
}
