import type { Command } from "commander";
import type { OptionSpecs } from "./options.ts";
import type { Session } from "./session.ts";

/** A word that may follow a command, and the options that go with it. */
export interface CommandWord {
  readonly name: string;
  readonly summary: string;
  readonly options: OptionSpecs;
  /** Signals that may be given as options. */
  readonly signals: readonly string[];
}

/** A command's module: it adds options and arguments, and gives what is done with them. */
export interface CommandModule {
  /** What the command's own help begins with. */
  readonly description: string;
  define(command: Command): void;
  /** What shells complete behind it, for a command that reads its words itself. */
  words?(): readonly CommandWord[];
  /** Finds out what its help tells beyond that; called when the help is asked for. */
  prepareHelp?(command: Command, session: Session): Promise<void>;
  /** Resolves to the exit code. */
  run(command: Command, session: Session): Promise<number>;
}
