import type { Command } from "commander";
import type { Session } from "./session.ts";

/** A command's module: it adds options and arguments, and gives what is done with them. */
export interface CommandModule {
  /** What the command's own help begins with. */
  readonly description: string;
  define(command: Command): void;
  /** Finds out what its help tells beyond that; called when the help is asked for. */
  prepareHelp?(command: Command, session: Session): Promise<void>;
  /** Resolves to the exit code. */
  run(command: Command, session: Session): Promise<number>;
}
