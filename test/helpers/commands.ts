import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { root } from "./build.ts";
import { startChild } from "./child.ts";
import { celeryBin } from "./services.ts";
import { pythonEnv, pythonFolder } from "./worker.ts";

/** What a command printed, both streams, and its exit code. */
export interface Printed {
  readonly code: number;
  readonly output: string;
}

/** A command line in a process that lives on: a command costs milliseconds, not a start. */
export interface Commands extends AsyncDisposable {
  run(...args: readonly string[]): Promise<Printed>;
}

/** The command `celery`, or `tq`, as often as wanted. */
export function startCommands(language: "Python" | "tq", env: Readonly<Record<string, string | undefined>>): Commands {
  const all = { NO_COLOR: "1", ...env };
  const child =
    language === "Python"
      ? startChild(join(celeryBin(), "python"), ["commands.py"], {
          cwd: pythonFolder,
          env: pythonEnv(all),
          stdio: ["pipe", "pipe", "pipe"],
        })
      : startChild(process.execPath, [join(root, "test/helpers/tq-commands.mjs")], {
          cwd: root,
          env: { ...process.env, ...all },
          stdio: ["pipe", "pipe", "pipe"],
        });
  const { stdin, stdout } = child.process;
  if (stdin === null || stdout === null) throw new Error("the commands have no pipes");
  const replies = createInterface({ input: stdout });
  return {
    async run(...args) {
      const line = once(replies, "line") as Promise<[string]>;
      stdin.write(`${JSON.stringify(args)}\n`);
      const answered = await Promise.race([line, child.exited]);
      if (!Array.isArray(answered)) throw new Error(`${language} ended at ${args.join(" ")}:\n${child.output}`);
      return JSON.parse(answered[0]) as Printed;
    },
    async [Symbol.asyncDispose]() {
      replies.close();
      await child.kill();
    },
  };
}

/** What was printed of each node, its status first, and under no name what belongs to none. */
export function sections(output: string): Record<string, readonly string[]> {
  const found: Record<string, string[]> = { "": [] };
  let current = found[""] as string[];
  for (const line of output.split("\n")) {
    const [, node, status] = /^->\s+(\S+): (.*)$/.exec(line) ?? [];
    if (node !== undefined) found[node] = current = [status as string];
    else if (/^\d+ nodes? online/.test(line)) (found[""] as string[]).push(line);
    else if (line.trim() !== "") current.push(line);
  }
  return found;
}
