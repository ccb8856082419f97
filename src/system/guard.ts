import { spawn } from "node:child_process";
import type { Socket } from "node:net";

/**
 * Sees to it that nothing this process has started outlives it. A process that runs an endless loop
 * does not notice that its parent was killed; this tiny one does, because its input ends then, and
 * kills whatever it was told of. Where there is no shell, those that are not blocked end by
 * themselves all the same.
 */
export class Guard {
  readonly #patience: number;
  #input: Socket | undefined;

  /** Seconds the others have to end by themselves; none by default. */
  constructor(patience = 0) {
    this.#patience = patience;
  }

  /** The id of a process; negative, that of a group of processes. */
  watch(pid: number): void {
    this.#input ??= start(this.#patience);
    this.#tell(`+ ${pid}`);
  }

  forget(pid: number): void {
    this.#tell(`- ${pid}`);
  }

  /** Leaves in peace whatever still runs. */
  close(): void {
    this.#tell("0");
    this.#input?.end();
    this.#input = undefined;
  }

  #tell(line: string): void {
    if (this.#input?.writable) this.#input.write(`${line}\n`);
  }
}

/** It goes on in the background, as nobody's child: a worker's children are those that run tasks. */
const script = (patience: number): string => `
(
  trap '' INT TERM HUP QUIT USR1 USR2
  pids=" "
  while read -r verb pid; do
    case "$verb" in
      +) pids="$pids$pid " ;;
      -) case "$pids" in *" $pid "*) pids="\${pids%% $pid *} \${pids#* $pid }" ;; esac ;;
      0) pids=" " ;;
    esac
  done
  [ "$pids" = " " ] && exit
${patience > 0 ? `  sleep ${patience}\n` : ""}  for pid in $pids; do kill -KILL "$pid"; done
) <&3 3<&- >/dev/null 2>&1 &
`;

function start(patience: number): Socket {
  // Not over standard input: Node closes that when the shell that made the guard ends.
  const child = spawn("/bin/sh", ["-c", script(patience), "tq-guard"], {
    stdio: ["ignore", "ignore", "ignore", "pipe"],
    // A signal to the whole group is not meant for it.
    detached: true,
  });
  const input = child.stdio[3] as Socket;
  child.on("error", () => undefined);
  input.on("error", () => undefined);
  child.unref();
  input.unref();
  return input;
}
