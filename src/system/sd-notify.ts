import { spawn } from "node:child_process";
import type { Logger } from "../log.ts";
import { findProgram } from "./executable.ts";

/**
 * systemd's notify protocol (sd_notify(3)): lines such as `READY=1` in one datagram to the socket that
 * `NOTIFY_SOCKET` names. Node has no datagram sockets on paths, so a program that is there anyway
 * sends them: `systemd-notify`, else python3 or perl (a container with the socket mounted). It is a child of this
 * process, therefore the unit needs `NotifyAccess=all`.
 */
export interface ServiceManager {
  /** Seconds after which the manager takes a silent process for dead; null when it does not watch. */
  readonly watchdog: number | null;
  /** Sends in the order of the calls; never rejects. What cannot be sent is logged once. */
  notify(...lines: readonly string[]): Promise<void>;
}

/** Seconds a single message may take. */
const patience = 5;

/**
 * The manager that started this process and waits for its word; undefined without one. Takes the variables out
 * of the environment: what this process starts is not who is waited for.
 */
export function takeServiceManager(env: NodeJS.ProcessEnv, logger: Logger): ServiceManager | undefined {
  const { NOTIFY_SOCKET: socket, WATCHDOG_USEC: usec, WATCHDOG_PID: watched } = env;
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"]) delete env[name];
  // A path, or `@` and a name of Linux's abstract space; whatever else there is (vsock), nobody here can write to.
  if (!socket || !/^[/@]/.test(socket)) return undefined;
  let isSaid = false;
  const complain = (reason: string): void => {
    if (!isSaid) logger.warn("The service manager cannot be told anything: %s", reason);
    isSaid = true;
  };
  const sender = findSender(env.PATH ?? "");
  if (!sender) complain("there is none of systemd-notify, python3 and perl.");
  let last: Promise<void> = Promise.resolve();
  return {
    watchdog: watchdogOf(usec, watched),
    notify(...lines) {
      if (!sender) return last;
      const send = async (): Promise<void> => {
        const problem = await run(sender, lines, { ...env, NOTIFY_SOCKET: socket });
        if (problem !== undefined) complain(problem);
      };
      last = last.then(send);
      return last;
    },
  };
}

function watchdogOf(usec: string | undefined, pid: string | undefined): number | null {
  const microseconds = Number(usec);
  const isMeant = pid === undefined || pid === "" || Number(pid) === process.pid;
  return isMeant && Number.isFinite(microseconds) && microseconds > 0 ? microseconds / 1e6 : null;
}

interface Sender {
  readonly program: string;
  /** Everything before the lines. */
  readonly args: readonly string[];
}

/** Both take the lines as arguments and the socket from the environment; an abstract name begins with a zero byte. */
const python =
  "import os,socket,sys;a=os.environ['NOTIFY_SOCKET'];" +
  "socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM).sendto('\\n'.join(sys.argv[1:]).encode(),'\\0'+a[1:] if a[0]=='@' else a)";
const perl =
  'use Socket;my $a=$ENV{NOTIFY_SOCKET};$a=~s/^@/\\0/;socket(my $s,AF_UNIX,SOCK_DGRAM,0) or die "$!\\n";' +
  'send($s,join("\\n",@ARGV),0,pack("S a*",AF_UNIX,$a)) or die "$!\\n";';

function findSender(path: string): Sender | undefined {
  const candidates: readonly Sender[] = [
    { program: "systemd-notify", args: [] },
    { program: "python3", args: ["-c", python] },
    { program: "perl", args: ["-e", perl] },
  ];
  for (const { program, args } of candidates) {
    const file = findProgram(program, path);
    if (file !== undefined) return { program: file, args };
  }
  return undefined;
}

/** Resolves to what went wrong. */
function run(sender: Sender, lines: readonly string[], env: NodeJS.ProcessEnv): Promise<string | undefined> {
  return new Promise((resolve) => {
    const child = spawn(sender.program, [...sender.args, ...lines], {
      env,
      stdio: ["ignore", "ignore", "pipe"],
      timeout: patience * 1_000,
      killSignal: "SIGKILL",
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said += text;
    });
    child.once("error", (error) => resolve(error.message));
    child.once("close", (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(said.trim().split("\n").at(-1) || `${sender.program} ended with ${signal ?? `code ${code}`}`);
    });
  });
}
