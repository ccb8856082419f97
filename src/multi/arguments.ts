import { constants } from "node:os";

/** Flags and their values in the order given; null for a flag without a value. */
export type Options = ReadonlyMap<string, string | null>;

/** An option that is for some nodes only: `-c:1-3 10`. */
export interface ScopedOption {
  /** What stood after the colon: an index, a range, a name, or a list of these. */
  readonly scope: string;
  readonly flag: string;
  readonly value: string | null;
}

/** A command line of `tq multi`, after the command's name. */
export interface MultiArguments {
  /** What is no option: the names of nodes, or their number. */
  readonly words: readonly string[];
  readonly options: Options;
  readonly scoped: readonly ScopedOption[];
  /** From `--` on, for every node. */
  readonly passthrough: readonly string[];
  /** `-HUP`, `-SIGQUIT` or `-9`. */
  readonly signal: NodeJS.Signals | null;
}

export interface Grammar {
  /** Whether a flag has a value; undefined for one that is not known. */
  readonly takesValue: (flag: string) => boolean | undefined;
  /** Whether the command sends a signal, so that `-QUIT` is one. Default false. */
  readonly signals?: boolean;
}

/** Other spellings of an option, so that what is given for some nodes replaces what is given for all. */
const spellings: Readonly<Record<string, string>> = { "-L": "-l", "-p": "--pidfile" };

/**
 * Reads a command line by the grammar of `celery multi` (inventory F53 to F58), and a little more.
 *
 * Celery's: a short option takes the next word unless that begins with a dash; a long option takes
 * what follows its `=`; a colon after either restricts it to some nodes. Of the options that are
 * known it is also known whether they have a value: `-E w1` leaves `w1` alone, `--concurrency 3`
 * takes the 3, and `-Ofair` is `-O fair`.
 */
export function parseMultiArguments(argv: readonly string[], grammar: Grammar): MultiArguments {
  const words: string[] = [];
  const options = new Map<string, string | null>();
  const scoped: ScopedOption[] = [];
  let passthrough: readonly string[] = [];
  let signal: NodeJS.Signals | null = null;
  const rest = argv.filter((word) => word !== "");

  for (let at = 0; at < rest.length; at++) {
    const word = rest[at] as string;
    if (word === "--") {
      passthrough = rest.slice(at);
      break;
    }
    const named = grammar.signals ? signalOf(word) : undefined;
    if (named) {
      signal = named;
      continue;
    }
    if (!word.startsWith("-") || word === "-") {
      words.push(word);
      continue;
    }
    const option = word.startsWith("--") ? longOption(word) : shortOption(word, grammar);
    const following = rest[at + 1];
    if (option.value === undefined && following !== undefined && !following.startsWith("-")) {
      // Unknown ones by Celery's rule: short options swallow the next word, long ones do not.
      if (grammar.takesValue(option.flag) ?? !word.startsWith("--")) {
        option.value = following;
        at++;
      }
    }
    const flag = spellings[option.flag] ?? option.flag;
    const value = option.value ?? null;
    if (option.scope === undefined) options.set(flag, value);
    else scoped.push({ scope: option.scope, flag, value });
  }
  return { words, options, scoped, passthrough, signal };
}

/** `-QUIT`, `-sigquit` or `-3` → SIGQUIT; undefined for anything else. */
export function signalOf(word: string): NodeJS.Signals | undefined {
  const text = /^-(\w+)$/.exec(word)?.[1];
  if (text === undefined) return undefined;
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    return (Object.entries(constants.signals).find(([, value]) => value === number)?.[0] ?? undefined) as
      | NodeJS.Signals
      | undefined;
  }
  const name = text.toUpperCase().replace(/^(?!SIG)/, "SIG");
  return Object.hasOwn(constants.signals, name) ? (name as NodeJS.Signals) : undefined;
}

interface ParsedOption {
  flag: string;
  scope: string | undefined;
  value: string | undefined;
}

function longOption(word: string): ParsedOption {
  const equals = word.indexOf("=");
  const [flag, scope] = splitScope(equals < 0 ? word : word.slice(0, equals));
  return { flag, scope, value: equals < 0 ? undefined : word.slice(equals + 1) };
}

function shortOption(word: string, { takesValue }: Grammar): ParsedOption {
  const letter = word.slice(0, 2);
  // An app and a URL have colons of their own.
  if (/^-[Ab][^:]/.test(word)) return { flag: letter, scope: undefined, value: word.slice(2) };
  const [flag, scope] = splitScope(word);
  const glued = flag.length > 2 && takesValue(flag) === undefined && takesValue(letter) === true;
  return glued ? { flag: letter, scope, value: flag.slice(2) } : { flag, scope, value: undefined };
}

function splitScope(text: string): [flag: string, scope: string | undefined] {
  const colon = text.indexOf(":");
  return colon < 0 ? [text, undefined] : [text.slice(0, colon), text.slice(colon + 1)];
}
