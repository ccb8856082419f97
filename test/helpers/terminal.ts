import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { promisify } from "node:util";
import { tmuxProgram } from "./services.ts";
import { until } from "./until.ts";

const run = promisify(execFile);

/** A program in a real terminal. */
export interface Terminal extends AsyncDisposable {
  /** What the screen shows, line by line. */
  screen(): Promise<string[]>;
  /** Waits for a line that matches, and gives the whole screen. */
  shows(pattern: RegExp, timeout?: number): Promise<string[]>;
  /** Presses keys, by tmux's names: `j`, `Down`, `Enter`, `C-c`. */
  press(...keys: readonly string[]): Promise<void>;
  resize(width: number, height: number): Promise<void>;
}

/** Runs a command in a terminal of this size. What stands on the screen when it ends stays there. */
export async function openTerminal(
  command: readonly string[],
  options: { readonly env: Readonly<Record<string, string>>; readonly width: number; readonly height: number },
): Promise<Terminal> {
  const socket = `tq-test-${randomBytes(4).toString("hex")}`;
  const tmux = async (...args: readonly string[]): Promise<string> =>
    (await run(tmuxProgram(), ["-L", socket, "-f", "/dev/null", ...args])).stdout;
  const quoted = command.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ");
  const variables = Object.entries(options.env).flatMap(([name, value]) => ["-e", `${name}=${value}`]);
  const size = ["-x", `${options.width}`, "-y", `${options.height}`];
  await tmux("new-session", "-d", "-s", "t", ...size, ...variables, `${quoted}; echo "ended with $?"; sleep 60`);
  const screen = async (): Promise<string[]> => (await tmux("capture-pane", "-p", "-t", "t")).split("\n");
  return {
    screen,
    async shows(pattern, timeout = 15) {
      let lines: string[] = [];
      await until(
        async () => {
          lines = await screen();
          return lines.some((line) => pattern.test(line));
        },
        { timeout, interval: 0.05 },
      ).catch(() => {
        throw new Error(`the terminal never showed ${pattern}; it shows:\n${lines.join("\n")}`);
      });
      return lines;
    },
    press: async (...keys) => void (await tmux("send-keys", "-t", "t", ...keys)),
    resize: async (width, height) => void (await tmux("resize-window", "-t", "t", "-x", `${width}`, "-y", `${height}`)),
    async [Symbol.asyncDispose]() {
      await tmux("kill-server").catch(() => undefined);
    },
  };
}
