import { ImproperlyConfigured } from "../errors.ts";
import type { RawSettings } from "./resolve.ts";

/** What `(type)` before a value makes of it (inventory A51). The collections are written in JSON. */
const casts: Readonly<Record<string, (text: string) => unknown>> = {
  string: (text) => text,
  str: (text) => text,
  int: Number,
  float: Number,
  bool: (text) => text,
  any: (text) => text,
  json: JSON.parse,
  dict: JSON.parse,
  list: JSON.parse,
  tuple: JSON.parse,
};

/**
 * The settings behind `--` on a command line (inventory A51, F24): `worker.prefetch_multiplier=1`,
 * `task_always_eager=yes`, `.pool=solo` for the namespace of the command, `beat_schedule=(json){…}`.
 * Values are texts, which the settings' own rules read. Throws `ImproperlyConfigured`.
 */
export function settingsFromArguments(words: readonly string[], namespace = "worker"): RawSettings {
  return Object.fromEntries(
    words.map((word) => {
      const [, spelled = "", cast, text = ""] = /^([^=]+)=(?:\((\w+)\))?([\s\S]*)$/.exec(word) ?? [];
      if (spelled === "") throw unreadable(word, "write it as key=value");
      const name = spelled.trim().replaceAll(".", "_");
      return [name.startsWith("_") ? `${namespace}${name}` : name, castValue(word, text, cast)];
    }),
  );
}

function castValue(word: string, text: string, cast: string | undefined): unknown {
  if (cast === undefined) return text;
  const read = Object.hasOwn(casts, cast) ? casts[cast] : undefined;
  if (read === undefined) throw unreadable(word, `(${cast}) is none of ${Object.keys(casts).join(", ")}`);
  try {
    return read(text);
  } catch (error) {
    throw unreadable(word, `after (${cast}) comes JSON`, error);
  }
}

const unreadable = (word: string, hint: string, cause?: unknown): ImproperlyConfigured =>
  new ImproperlyConfigured(
    `Unable to parse extra configuration from command line. ${JSON.stringify(word.replace(/=[\s\S]*/, "=…"))}: ${hint}`,
    { cause },
  );
