import { ImproperlyConfigured } from "../errors.ts";
import type { Logger } from "../log.ts";

/** How an argument of the command line becomes a value. */
export type ArgumentType = "str" | "int" | "float" | "bool";

/** A named argument of a command. */
export interface CommandArgument {
  readonly name: string;
  readonly type: ArgumentType;
}

/** What a command line has to know of a remote control command. */
export interface CommandDescription {
  readonly name: string;
  /** `inspect` changes nothing and replies with a value; `control` replies with `{ok}` or `{error}`. */
  readonly type: "control" | "inspect";
  /** Another name it answers to. */
  readonly alias?: string;
  /** What the words after it mean, in order. */
  readonly args?: readonly CommandArgument[];
  /** The argument that takes all the words that are left, as a list. */
  readonly variadic?: string;
  /** Shown by `--list`: `[id1 [id2 [... [idN]]]]`. */
  readonly signature?: string;
  /** One line. */
  readonly help: string;
  /** False for what is not for users. */
  readonly visible?: boolean;
}

/** What a command sees of the worker it runs in. */
export interface ControlPanel {
  /** The worker's node name. */
  readonly hostname: string;
  readonly logger: Logger;
}

/** A remote control command: what it is called, what it takes, what it is for and what it does, in one place. */
export interface ControlCommand<Panel> extends CommandDescription {
  /** Arguments without which it cannot run. */
  readonly required?: readonly string[];
  /**
   * Runs in the worker. What it returns is the reply; what it throws is replied as an error. It
   * must not keep the worker from its other work.
   */
  readonly run: (panel: Panel, args: Readonly<Record<string, unknown>>) => unknown;
}

/** Commands by name and alias. The last one of a name counts, as in Celery: users may replace any. */
export class CommandRegistry<Panel> {
  readonly #commands = new Map<string, ControlCommand<Panel>>();
  readonly #aliases = new Map<string, string>();

  constructor(commands: Iterable<ControlCommand<Panel>> = []) {
    for (const command of commands) this.add(command);
  }

  add(command: ControlCommand<Panel>): void {
    if (!/^[A-Za-z_][\w.-]*$/.test(command.name)) {
      throw new ImproperlyConfigured(
        `the name of a control command must be a word such as cache_size, got: ${JSON.stringify(command.name)}`,
      );
    }
    this.#commands.set(command.name, command);
    if (command.alias !== undefined) this.#aliases.set(command.alias, command.name);
  }

  get(name: string): ControlCommand<Panel> | undefined {
    return this.#commands.get(name) ?? this.#commands.get(this.#aliases.get(name) ?? "");
  }

  [Symbol.iterator](): IterableIterator<ControlCommand<Panel>> {
    return this.#commands.values();
  }
}
