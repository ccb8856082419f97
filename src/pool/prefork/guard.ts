import { spawn } from "node:child_process";
import type { Socket } from "node:net";

/**
 * Sees to it that no child outlives its parent. A child that runs an endless loop does not notice
 * that its parent was killed; this tiny process does, because its input ends then, and
 * kills every child it was told of. Where there is no shell, children that are not blocked end by
 * themselves all the same.
 */
export class Guard {
  #input: Socket | undefined;

  watch(pid: number): void {
    this.#input ??= start();
    this.#tell(`+ ${pid}`);
  }

  forget(pid: number): void {
    this.#tell(`- ${pid}`);
  }

  close(): void {
    this.#input?.end();
    this.#input = undefined;
  }

  #tell(line: string): void {
    if (this.#input?.writable) this.#input.write(`${line}\n`);
  }
}

/** It goes on in the background, as nobody's child: a worker's children are those that run tasks. */
const script = `
(
  trap '' INT TERM HUP QUIT USR1 USR2
  pids=" "
  while read -r verb pid; do
    case "$verb" in
      +) pids="$pids$pid " ;;
      -) case "$pids" in *" $pid "*) pids="\${pids%% $pid *} \${pids#* $pid }" ;; esac ;;
    esac
  done
  [ "$pids" = " " ] || kill -9 $pids
) <&3 3<&- >/dev/null 2>&1 &
`;

function start(): Socket {
  // Not over standard input: Node closes that when the shell that made the guard ends.
  const child = spawn("/bin/sh", ["-c", script, "tq-guard"], { stdio: ["ignore", "ignore", "ignore", "pipe"] });
  const input = child.stdio[3] as Socket;
  child.on("error", () => undefined);
  input.on("error", () => undefined);
  child.unref();
  input.unref();
  return input;
}
