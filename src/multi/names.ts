import { ImproperlyConfigured } from "../errors.ts";
import { nodename, splitNodename } from "../protocol/nodename.ts";
import type { MultiArguments, Options } from "./arguments.ts";

/** What nodes are called by: the words of a command line and how to complete them. */
export interface Naming {
  readonly words: readonly string[];
  /** Before each name; by default `celery` for numbers, nothing for names. */
  readonly prefix?: string | undefined;
  /** Before each number of a range. */
  readonly rangePrefix?: string | undefined;
  /** Host part of the names that have none. */
  readonly suffix: string;
  /** What `%h` stands for in a name. */
  readonly host: string;
}

/** A node's name and what scopes of options may call it. */
export interface NodeName {
  /** `w1@host`, as it is shown. */
  readonly name: string;
  readonly short: string;
  readonly host: string;
  /** As it stood in the command line, the number in a range. */
  readonly word: string;
}

/** The nodes of a command line: a single number stands for as many (inventory F53). */
export function nameNodes({ words, prefix = "", rangePrefix = "celery", suffix, host }: Naming): NodeName[] {
  const [only] = words;
  const isRange = words.length === 1 && /^\d+$/.test(only as string);
  const list = isRange ? Array.from({ length: Number(only) }, (_, index) => String(index + 1)) : words;
  const names = list.map((word) => nameOf(word, isRange ? rangePrefix : prefix, suffix, host));
  const double = names.find(({ name }, index) => names.findIndex((other) => other.name === name) !== index);
  if (double)
    throw new ImproperlyConfigured(`the node ${double.name} is named twice; every node needs a name of its own`);
  return names;
}

function nameOf(word: string, prefix: string, suffix: string, host: string): NodeName {
  // `%h` and the like may stand in either part.
  const name = word.includes("@")
    ? nodename(word, host)
    : suffix === ""
      ? `${prefix}${word}@`
      : nodename(`${prefix}${word}@${suffix}`, host);
  const [short, own] = splitNodename(name);
  return { name, short: short ?? "", host: own, word };
}

/**
 * The options of each node: those for all, changed by those for some (inventory F54). What says
 * more exactly whom it means is stronger, whatever the order: a name or a single index, then
 * ranges and lists, then what is for all.
 *
 * A scope that names none of the nodes has no effect, since a command may be for a part of a
 * cluster only; a single index beyond the last node is an error, as in Celery.
 */
export function optionsOf(names: readonly NodeName[], { options, scoped }: MultiArguments): Options[] {
  const merged = names.map(() => new Map(options));
  const selections = scoped.map((option) => ({ option, ...select(option.scope, names) }));
  for (const exact of [false, true]) {
    for (const { option, indexes, isExact } of selections) {
      if (isExact === exact) for (const index of indexes) merged[index]?.set(option.flag, option.value);
    }
  }
  return merged;
}

function select(
  scope: string,
  names: readonly NodeName[],
): { readonly indexes: readonly number[]; readonly isExact: boolean } {
  const called = (text: string): number[] =>
    names.flatMap(({ name, short, word }, index) => ([name, short, word].includes(text) ? [index] : []));
  const byName = called(scope);
  if (byName.length > 0 && !/^\d+$/.test(scope)) return { indexes: byName, isExact: true };
  if (/^\d+$/.test(scope)) {
    const index = Number(scope) - 1;
    if (index < 0) throw new ImproperlyConfigured(`Indexes start at 1 got: '${scope}'`);
    if (index >= names.length) {
      throw new ImproperlyConfigured(
        `No node at index '${scope}': there ${names.length === 1 ? "is" : "are"} ${names.length}`,
      );
    }
    return { indexes: [index], isExact: true };
  }
  const indexes = scope.split(",").flatMap((part) => {
    const range = /^(\d+)-(\d+)$/.exec(part);
    if (range && called(part).length === 0) {
      const [from, to] = [Number(range[1]), Number(range[2])];
      if (from < 1 || to < from) {
        throw new ImproperlyConfigured(`'${part}' is no range of nodes: give the lower index first, from 1 on`);
      }
      return names.map((_, index) => index).filter((index) => index >= from - 1 && index <= to - 1);
    }
    if (/^\d+$/.test(part)) return Number(part) >= 1 && Number(part) <= names.length ? [Number(part) - 1] : [];
    return called(part);
  });
  return { indexes, isExact: false };
}

/**
 * Fills in a value for one node, as `celery multi` does before the worker sees it: `%n` and `%N`
 * its short name, `%h` and `%p` its full name, `%d` its host, `%%` a per cent sign. `%i` and `%I`
 * are left for the worker, and anything else stays.
 */
export function expandFor(node: NodeName, text: string): string {
  const values: Readonly<Record<string, string>> = {
    n: node.short,
    N: node.short,
    h: node.name,
    p: node.name,
    d: node.host,
    "%": "%",
  };
  return text.replace(/%(.)/g, (whole, key: string) => (Object.hasOwn(values, key) ? (values[key] as string) : whole));
}
