import { constants } from "node:os";
import { codename, version } from "../version.ts";
import type { Exit, Readiness } from "./launch.ts";

/** Where the lines go, and how many of them. */
export interface ReportOptions {
  readonly write: (text: string) => void;
  /** For what is said even when quiet: that something did not work. */
  readonly complain: (text: string) => void;
  readonly color?: boolean | undefined;
  readonly quiet?: boolean | undefined;
  readonly verbose?: boolean | undefined;
  readonly nosplash?: boolean | undefined;
}

const colors = { red: 31, green: 32, yellow: 33, blue: 34, magenta: 35, cyan: 36 } as const;

/** What `tq multi` says, in the words and the layout of `celery multi` (O3 to O6 of the inventory). */
export class Report {
  readonly #options: ReportOptions;

  constructor(options: ReportOptions) {
    this.#options = options;
  }

  /** A line that is the answer to a question; also said when quiet. */
  answer(line: string): void {
    this.#options.write(`${line}\n`);
  }

  note(line: string): void {
    this.part(`${line}\n`);
  }

  /** Text that is gone on with. */
  part(text: string): void {
    if (!this.#options.quiet) this.#options.write(text);
  }

  detail(line: string): void {
    if (this.#options.verbose) this.note(line);
  }

  splash(): void {
    if (!this.#options.nosplash) this.note(this.#paint("cyan", `tq multi v${version} (${codename})`));
  }

  heading(text: string): string {
    return this.#paint("blue", text);
  }

  get ok(): string {
    return this.#paint("green", "OK");
  }

  get failed(): string {
    return this.#paint("red", "FAILED");
  }

  get down(): string {
    return this.#paint("magenta", "DOWN");
  }

  warning(text: string): string {
    return this.#paint("yellow", text);
  }

  /** Why a node did not come up: how its process ended, FAILED, and what it last said. */
  failure(name: string, { exit, reason, log }: Readiness & { readonly kind: "ended" }): void {
    if (this.#options.quiet) {
      this.#options.complain(`${name} did not start: ${reason ?? log.at(-1) ?? describeExit(exit)}\n`);
      return;
    }
    this.note(`* ${describeExit(exit)}`);
    this.note(this.failed);
    for (const line of lastWords(reason, log)) this.note(`\t  ${line}`);
  }

  /** Something that did not work, in the place of a node's state. */
  problem(name: string, text: string): void {
    if (this.#options.quiet) this.#options.complain(`${name}: ${text}\n`);
    else this.note(this.warning(text));
  }

  #paint(color: keyof typeof colors, text: string): string {
    return this.#options.color ? `\u001b[1;${colors[color]}m${text}\u001b[0m` : text;
  }
}

/** How a process ended, in Celery's words. */
export function describeExit({ code, signal }: Exit): string {
  return signal === null
    ? `Child terminated with exit code ${code}`
    : `Child was terminated by signal ${constants.signals[signal]}`;
}

/** What the process said of its end, unless its log says it too, and the end of the log. */
export function lastWords(reason: string | null, log: readonly string[]): string[] {
  const [first] = (reason ?? "").split("\n");
  const said = first !== undefined && first !== "" && log.some((line) => line.includes(first));
  return [...(reason === null || said ? [] : reason.split("\n")), ...log];
}

/** `1 node -> 88126` and `2 nodes -> None, 42`: those that are waited for, as Celery counts them. */
export function waitingFor(pids: readonly (number | null)[]): string {
  const count = `${pids.length} ${pids.length === 1 ? "node" : "nodes"}`;
  return `> Waiting for ${count} -> ${pids.map((pid) => pid ?? "None").join(", ")}...`;
}
