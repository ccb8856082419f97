import type { SignatureDict } from "../protocol/signature.ts";
import { chainTasks, isChain } from "./chain.ts";
import { chordBody, chordHeader, isChord, withParts } from "./chord.ts";
import { groupTasks, isGroup } from "./group.ts";
import { type Options, signatureList, withTasks } from "./signature.ts";

/**
 * Stamps by name. With a key `stamped_headers` only the names it lists are stamps and the others
 * travel along as options; without it all are.
 */
export type Stamps = Readonly<Record<string, unknown>>;

/** Decides which stamps each part of a composition gets (inventory D89). Whatever is left out stamps nothing. */
export interface StampingVisitor {
  onSignature?(signature: SignatureDict, headers: Stamps): Stamps | undefined;
  onGroupStart?(group: SignatureDict, headers: Stamps): Stamps | undefined;
  onGroupEnd?(group: SignatureDict, headers: Stamps): void;
  onChainStart?(chain: SignatureDict, headers: Stamps): Stamps | undefined;
  onChainEnd?(chain: SignatureDict, headers: Stamps): void;
  /** Left out: `onGroupStart`, with the header as a group. */
  onChordHeaderStart?(chord: SignatureDict, headers: Stamps): Stamps | undefined;
  onChordHeaderEnd?(chord: SignatureDict, headers: Stamps): void;
  onChordBody?(chord: SignatureDict, headers: Stamps): Stamps | undefined;
  onCallback?(callback: SignatureDict, headers: Stamps): Stamps | undefined;
  onErrback?(errback: SignatureDict, headers: Stamps): Stamps | undefined;
}

export interface StampOptions {
  readonly visitor?: StampingVisitor | undefined;
  /** A stamp that is there already gets the new value beside its own, instead of the new one in its place. */
  readonly append?: boolean | undefined;
  /** A stamp that is there already stays as it is. */
  readonly keep?: boolean | undefined;
}

/** The signature with stamps on it and on everything in it, callbacks and errbacks among them. */
export function stampSignature(signature: SignatureDict, stamps: Stamps, options: StampOptions = {}): SignatureDict {
  return stamp(signature, named(stamps), options);
}

/** Names its stamps, where it does not yet. */
function named(stamps: Stamps): Stamps {
  if (Array.isArray(stamps.stamped_headers)) return stamps;
  const names = Object.keys(stamps).filter((name) => name !== "stamped_headers");
  return { ...stamps, stamped_headers: names };
}

function stamp(signature: SignatureDict, headers: Stamps, how: StampOptions): SignatureDict {
  const { visitor } = how;
  if (isChain(signature)) {
    const own = withHeaders(headers, visitor?.onChainStart?.(signature, headers), how);
    const tasks = chainTasks(signature).map((task) => stamp(task, own, how));
    const stamped = withTasks(stampLinks(signature, own, how), tasks);
    visitor?.onChainEnd?.(stamped, own);
    return stamped;
  }
  if (isGroup(signature)) {
    const own = withHeaders(headers, visitor?.onGroupStart?.(signature, headers), how);
    const tasks = groupTasks(signature).map((task) => stamp(task, own, how));
    const stamped = withTasks(stampLinks(signature, own, how), tasks);
    visitor?.onGroupEnd?.(stamped, own);
    return stamped;
  }
  if (isChord(signature)) return stampChord(signature, headers, how);
  const linked = stampLinks(signature, headers, how);
  const own = withHeaders(headers, visitor?.onSignature?.(signature, headers), how);
  return { ...linked, options: stampedOptions(linked.options, own, how) };
}

function stampChord(chord: SignatureDict, headers: Stamps, how: StampOptions): SignatureDict {
  const { visitor } = how;
  const header = chordHeader(chord);
  const given = visitor?.onChordHeaderStart
    ? visitor.onChordHeaderStart(chord, headers)
    : visitor?.onGroupStart?.(header, headers);
  const own = withHeaders(headers, given, how);
  const tasks = groupTasks(header).map((task) => stamp(task, own, how));
  const stampedHeader = withTasks(header, tasks);
  if (visitor?.onChordHeaderEnd) visitor.onChordHeaderEnd(chord, own);
  else visitor?.onGroupEnd?.(stampedHeader, own);
  // Celery stamps the body only when a visitor does it (canvas.py, chord.stamp); a stamp for the whole is for it too.
  const ofBody = withHeaders(own, visitor?.onChordBody?.(chord, own), how);
  const body = stamp(chordBody(chord), ofBody, how);
  return withParts(stampLinks(chord, own, how), stampedHeader, body);
}

function stampLinks(signature: SignatureDict, headers: Stamps, how: StampOptions): SignatureDict {
  const { visitor } = how;
  const options: Record<string, unknown> = { ...signature.options };
  const links = signatureList(options.link);
  const errbacks = signatureList(options.link_error);
  if (links.length > 0) {
    options.link = links.map((link) =>
      stamp(link, withHeaders(headers, visitor?.onCallback?.(link, headers), how), how),
    );
  }
  if (errbacks.length > 0) {
    options.link_error = errbacks.map((errback) =>
      stamp(errback, withHeaders(headers, visitor?.onErrback?.(errback, headers), how), how),
    );
  }
  return { ...signature, options };
}

/** Headers with what a visitor adds; all it gives are stamps unless it says which are. */
function withHeaders(headers: Stamps, given: Stamps | undefined, how: StampOptions): Stamps {
  if (given === undefined || Object.keys(given).length === 0) return headers;
  const more = named(given);
  return { ...merged(headers, more, how), stamped_headers: namesOf(headers, more) };
}

function stampedOptions(stored: Options, headers: Stamps, how: StampOptions): Options {
  const names = namesOf(stored, headers);
  if (names.length === 0) return stored;
  return { ...merged(stored, headers, how), stamped_headers: names };
}

function namesOf(...all: readonly Stamps[]): readonly string[] {
  return [...new Set(all.flatMap(({ stamped_headers: names }) => (Array.isArray(names) ? (names as string[]) : [])))];
}

/** The new value in place of the old one, or both as a list. */
function merged(old: Stamps, given: Stamps, { append = false, keep = false }: StampOptions): Stamps {
  const result: Record<string, unknown> = { ...old };
  for (const [key, value] of Object.entries(given)) {
    if (key === "stamped_headers") continue;
    const before = old[key];
    if (keep && before !== undefined) continue;
    result[key] =
      append && before !== undefined && before !== null && !same(before, value)
        ? [...new Set([...listOf(before), ...listOf(value)])]
        : value;
  }
  return result;
}

const listOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [value]);
const same = (one: unknown, other: unknown): boolean => JSON.stringify(one) === JSON.stringify(other);
