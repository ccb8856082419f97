import { spawn } from "node:child_process";
import { findProgram, isExecutable } from "./executable.ts";
import { standInFor } from "./stand-in.ts";

/**
 * A process 1 that buries what it did not start, as Node never does: a shell looks for whatever child has ended
 * while it waits for its own. Passes signals on, and ends with the code of the program it stands for.
 * On a terminal the program gets a process group of its own, so that Ctrl-C arrives once.
 */
export const reaperScript = `[ -t 0 ] && set -m
"$@" <&3 3<&- &
program=$!
exec 3<&-
for signal in TERM INT QUIT HUP USR1 USR2; do
  trap "kill -$signal $program 2>/dev/null" "$signal"
done
while wait "$program"; code=$?; [ "$code" -gt 128 ] && kill -0 "$program" 2>/dev/null; do :; done
if [ "$code" -gt 128 ]; then
  wait "$program" 2>/dev/null
  last=$?
  [ "$last" -eq 127 ] || code=$last
fi
exit "$code"`;

/** The command that runs another one beneath the shell above. */
export const beneathShell = (command: readonly string[]): readonly string[] => [
  "/bin/sh",
  "-c",
  `exec 3<&0\n${reaperScript}`,
  "tq-init",
  ...command,
];

/** What this process can do to have its orphans buried. */
export type ReaperPlan =
  /** Becomes the reaper, and goes on beneath it. */
  | { readonly kind: "replace"; readonly command: readonly string[] }
  /** Starts the reaper as its child, to which orphans come. */
  | { readonly kind: "start"; readonly command: readonly string[] }
  | { readonly kind: "none" };

/** Decides by what there is: Node that can replace its process (from 22.15 on), tini, a shell. */
export function planReaper({
  command,
  canReplace,
  tini,
  hasShell,
}: {
  readonly command: readonly string[];
  readonly canReplace: boolean;
  /** Path of tini. */
  readonly tini: string | undefined;
  readonly hasShell: boolean;
}): ReaperPlan {
  if (canReplace && tini !== undefined) return { kind: "replace", command: [tini, "--", ...command] };
  if (canReplace && hasShell) return { kind: "replace", command: beneathShell(command) };
  // A subreaper: orphans of what is beneath it come to it, and not to process 1. No shell can be one.
  if (tini !== undefined) return { kind: "start", command: [tini, "-s", "--", ...command] };
  return { kind: "none" };
}

type Replace = (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never;

/**
 * Has this program, as process 1, run beneath one that buries orphans. Resolves to the exit code when
 * it has ended there; to null when there is no such thing here, and the program has to go on as it is.
 */
export async function runBeneathReaper(env: NodeJS.ProcessEnv): Promise<number | null> {
  const { execve } = process as { execve?: Replace };
  const plan = planReaper({
    command: [process.execPath, ...process.execArgv, ...process.argv.slice(1)],
    canReplace: execve !== undefined,
    tini: findProgram("tini", env.PATH ?? ""),
    hasShell: isExecutable("/bin/sh"),
  });
  if (plan.kind === "none") return null;
  const [file = "", ...args] = plan.command;
  if (plan.kind === "replace") execve?.call(process, file, plan.command, env);
  return await standInFor(spawn(file, args, { stdio: "inherit", env }));
}
