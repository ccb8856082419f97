import type { ChildProcess } from "node:child_process";
import { constants } from "node:os";
import { onSignal } from "./posix-signals.ts";

const passedOn = ["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGUSR1", "SIGUSR2"] as const;

/**
 * Stands in front of a process for whoever knows this one: passes signals on until it ends. Resolves to
 * the exit code, as a shell has it for one that a signal ended; to null when it could not be started.
 */
export async function standInFor(child: ChildProcess): Promise<number | null> {
  using _signals = onSignal(passedOn, (signal) => {
    // A terminal sends Ctrl-C to everybody itself.
    if (signal !== "SIGINT" || !process.stdin.isTTY) child.kill(signal);
  });
  return await new Promise((resolve) => {
    child.once("error", () => resolve(null));
    child.once("exit", (code, signal) => resolve(code ?? 128 + constants.signals[signal as NodeJS.Signals]));
  });
}
