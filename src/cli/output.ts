import { createInterface } from "node:readline/promises";
import { CommanderError } from "commander";
import { AppLoadError, ImproperlyConfigured, OperationalError, TqError } from "../errors.ts";
import { describeError } from "../log.ts";
import { EX_CANTCREAT, EX_FAILURE, EX_NOPERM, EX_UNAVAILABLE, EX_USAGE } from "../system/exit-codes.ts";
import { identityCode } from "../system/identity.ts";

/** The terminal, or whatever stands in for it. What programs read goes to stdout, all else to stderr. */
export interface Output {
  /** A line for stdout. */
  print(text: string): void;
  /** A line for stderr. */
  notice(text: string): void;
  /** Red, where colours are shown. */
  red(text: string): string;
  /** Asks for yes or no; no is the default, and the answer of a stdin that is no terminal. */
  confirm(question: string): Promise<boolean>;
}

export function createOutput(options: { readonly color: boolean }): Output {
  const colored = options.color && process.stderr.isTTY === true;
  return {
    print: (text) => void process.stdout.write(`${text}\n`),
    notice: (text) => void process.stderr.write(`${text}\n`),
    red: (text) => (colored ? `\u001b[1;31m${text}\u001b[0m` : text),
    async confirm(question) {
      const terminal = createInterface({ input: process.stdin, output: process.stderr });
      try {
        const closed = new Promise<string>((resolve) => terminal.once("close", () => resolve("")));
        const answer = await Promise.race([terminal.question(`${question} [y/N]: `), closed]);
        return /^y(es)?$/i.test(answer.trim());
      } finally {
        terminal.close();
      }
    },
  };
}

/**
 * Says what went wrong in one message and returns the exit code: 2 for the command line, the
 * settings and the app, 69 when a broker or a result store does not serve, 73 for a pidfile that is held or
 * a log that cannot be written, 77 when the user cannot be changed, 1 for everything else. A stack is shown only when asked for.
 */
export function reportError(error: unknown, output: Output, options: { readonly traceback: boolean }): number {
  // Commander has said it already.
  if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : EX_USAGE;
  if (options.traceback) {
    output.notice(describeError(error));
    return exitCodeOf(error);
  }
  const { text, exitCode } = describeFailure(error);
  output.notice(`${output.red("Error:")} ${text}`);
  return exitCode;
}

/** What an error is in words fit for a terminal, and the exit code that says it to programs. */
export function describeFailure(error: unknown): { readonly text: string; readonly exitCode: number } {
  const expected = error instanceof TqError || isSystemError(error);
  const hint = "Run it again with --traceback (or TQ_TRACEBACK=1) to see where this comes from.";
  const message = messageOf(error, expected);
  return { text: expected ? message : `${message}\n${hint}`, exitCode: exitCodeOf(error) };
}

function messageOf(error: unknown, expected: boolean): string {
  if (!(error instanceof Error)) return String(error);
  if (error instanceof AggregateError && error.message === "")
    return error.errors.map((one) => messageOf(one, expected)).join("; ");
  return expected || error.name === "Error" ? error.message : `${error.name}: ${error.message}`;
}

function exitCodeOf(error: unknown): number {
  if (error instanceof AppLoadError || error instanceof ImproperlyConfigured) return EX_USAGE;
  if (error instanceof OperationalError) return EX_UNAVAILABLE;
  if (error instanceof TqError && error.code === identityCode) return EX_NOPERM;
  if (error instanceof TqError && /^TQ_(PIDFILE|LOGFILE)/.test(error.code)) return EX_CANTCREAT;
  return EX_FAILURE;
}

/** A file that is not there, a port that is taken: the message is the whole story. */
function isSystemError(error: unknown): boolean {
  return error instanceof Error && typeof (error as NodeJS.ErrnoException).syscall === "string";
}
