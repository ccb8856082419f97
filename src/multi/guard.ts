import { spawn } from "node:child_process";

/** Seconds between the end of the supervisor and that of nodes that have not heard of it. */
const patience = 3;

/** Remembers the last line it was given; when no more can come, has the processes in it some time, and ends them. */
const script = `groups=
while read -r line; do groups=$line; done
[ -n "$groups" ] || exit 0
sleep ${patience}
for group in $groups; do kill -KILL "-$group" 2>/dev/null; done
exit 0`;

/** Outlives the process that started it by a few seconds, to end what that has left running. */
export interface Guard extends Disposable {
  /** The processes, each leading a group of its own, that must not go on alone. */
  watch(pids: readonly number[]): void;
}

/**
 * Starts a process, no more than a shell, that ends nodes when this one is gone, however it ended. A node ends
 * with its supervisor by itself; but one whose only process is held by a task cannot hear of it.
 * Without a shell there is no guard.
 */
export function startGuard(): Guard {
  const child = spawn("/bin/sh", ["-c", script, "tq-guard"], { stdio: ["pipe", "ignore", "ignore"], detached: true });
  child.on("error", () => undefined);
  child.stdin.on("error", () => undefined); // it was killed
  child.unref();
  const watch = (pids: readonly number[]): void => void child.stdin.write(`${pids.join(" ")}\n`);
  return {
    watch,
    [Symbol.dispose]() {
      watch([]);
      child.stdin.end();
    },
  };
}
