import { spawn } from "node:child_process";
import { Socket } from "node:net";
import { restartEnvironment } from "./daemonize.ts";
import { standInFor } from "./stand-in.ts";

/** Names the process that stands where this one was started, in its environment. */
const standInVariable = "TQ_STAND_IN";
/** With this code a worker tells the one that stands in for it to start it again. */
const againCode = 129;
/** A pipe that breaks when the one that stands in has gone. */
const standInFd = 3;

/** The parts of a process a restart needs; its own by default. */
export interface Restarting {
  readonly execPath: string;
  readonly execArgv: readonly string[];
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
}

/**
 * Starts this program again as it was started: same arguments, environment, working directory
 * and standard streams. Where Node can replace a process (22.15 and later, not on Windows) the new
 * one has this one's process id and this never resolves. Elsewhere this process stays, as thin as
 * it can, in front of the new one: it passes signals on, ends with its exit code, and when it is
 * killed the new one ends too. Resolves to the code to exit with.
 */
export async function restartProcess(own: Restarting = process): Promise<number> {
  if (own.env[standInVariable] !== undefined) return againCode;
  const args = [...own.execArgv, ...own.argv.slice(1)];
  const { execve } = process as { execve?: (file: string, args: readonly string[], env: NodeJS.ProcessEnv) => never };
  if (execve !== undefined) {
    execve.call(process, own.execPath, [own.execPath, ...args], { ...own.env, ...restartEnvironment });
  }
  for (;;) {
    const code = await runOnce(own, args);
    if (code !== againCode) return code;
  }
}

/** In a process that somebody stands in for: ends it, at once, when that one is gone. */
export function endWithStandIn(env: NodeJS.ProcessEnv = process.env): void {
  if (env[standInVariable] !== String(process.ppid)) {
    delete env[standInVariable];
    return;
  }
  const gone = (): void => void process.kill(process.pid, "SIGKILL");
  new Socket({ fd: standInFd, readable: true, writable: false }).on("close", gone).on("error", gone).resume().unref();
}

async function runOnce(own: Restarting, args: readonly string[]): Promise<number> {
  const child = spawn(own.execPath, args, {
    stdio: ["inherit", "inherit", "inherit", "pipe"],
    env: { ...own.env, ...restartEnvironment, [standInVariable]: String(process.pid) },
  });
  return (await standInFor(child)) ?? 1;
}
