import type { Help, HelpConfiguration } from "commander";
import { optionTerm } from "./options.ts";

/** Where descriptions begin; longer terms have a line of their own. click's layout, and so Celery's. */
const descriptionColumn = 34;

/** The look of every help text. */
export const configureHelp: HelpConfiguration = {
  helpWidth: Math.max(60, Math.min(process.stdout.columns ?? 80, 100)),
  optionTerm,
  subcommandTerm: (command) => command.name(),
  subcommandDescription: (command) => command.summary(),
  optionDescription: (option) => option.description,
  padWidth(command, helper) {
    const longest = Math.max(
      helper.longestSubcommandTermLength(command, helper),
      helper.longestArgumentTermLength(command, helper),
    );
    return Math.max(
      longest,
      command.parent ? descriptionColumn - 4 : 0,
      rootWidth(command.parent === null, helper, command),
    );
  },
  formatItem(term, termWidth, description, helper) {
    const indent = "  ";
    if (description === "") return `${indent}${term}`;
    const gap = " ".repeat(termWidth + 4);
    const width = (helper.helpWidth ?? 80) - gap.length;
    const lines = helper.boxWrap(description, width).split("\n");
    const fits = term.length <= termWidth;
    const first = fits ? `${indent}${term.padEnd(termWidth)}${indent}` : `${indent}${term}\n${gap}`;
    return first + lines.join(`\n${gap}`);
  },
};

function rootWidth(isRoot: boolean, helper: Help, command: Parameters<Help["padWidth"]>[0]): number {
  return isRoot ? helper.longestOptionTermLength(command, helper) : 0;
}
