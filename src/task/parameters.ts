import { InvalidTaskError } from "../errors.ts";

/** What can be learnt about a function's parameters: enough to bind keyword arguments by name. */
export interface Parameters {
  /** Name of each positional parameter; null for a pattern. */
  readonly names: readonly (string | null)[];
  /** How many must be given. */
  readonly required: number;
  /** The last one gathers what is left (`...rest`). */
  readonly rest: boolean;
  /** The last one is an object pattern: it takes the keyword arguments no name fits. */
  readonly keywords: boolean;
}

/**
 * Reads the parameters of a function from its source text. `skip` leading ones (the running
 * task of a bound function) are left out. Parameters with a default are optional; nothing else
 * can be, since types are gone by the time the text is read.
 */
export function readParameters(fn: (...args: never[]) => unknown, skip = 0): Parameters {
  const parts = splitTopLevel(parameterText(Function.prototype.toString.call(fn)))
    .map((part) => part.trim())
    .filter((part) => part !== "")
    .slice(skip);
  const names: (string | null)[] = [];
  let required = 0;
  let optionalSeen = false;
  let rest = false;
  let keywords = false;
  parts.forEach((part, index) => {
    if (part.startsWith("...")) {
      rest = true;
      return;
    }
    const optional = hasDefault(part);
    optionalSeen ||= optional;
    if (part.startsWith("{") && index === parts.length - 1) {
      keywords = true;
      return;
    }
    if (!optionalSeen) required = index + 1;
    names.push(/^[\p{ID_Start}$_][\p{ID_Continue}$]*/u.exec(part)?.[0] ?? null);
  });
  return { names, required, rest, keywords };
}

/** Parameters declared by hand (option `params`), for functions whose names a bundler has changed. */
export function declaredParameters(params: readonly string[]): Parameters {
  const names = params.map((param) => param.replace(/[?=].*$/, ""));
  const firstOptional = params.findIndex((param) => /[?=]/.test(param));
  return { names, required: firstOptional < 0 ? names.length : firstOptional, rest: false, keywords: false };
}

/**
 * Puts positional and keyword arguments in the order the function takes them, as Python does.
 * Throws `InvalidTaskError` in Python's words when they do not fit; `strict: false` only
 * tolerates missing ones.
 */
export function bindArguments(
  taskName: string,
  parameters: Parameters,
  args: readonly unknown[],
  kwargs: Readonly<Record<string, unknown>>,
  strict = true,
): readonly unknown[] {
  const { names, required, rest, keywords } = parameters;
  if (rest && keywords) return args; // takes anything; keyword arguments are in the request
  const keys = Object.keys(kwargs);
  const surplus = args.length > names.length + (keywords ? 1 : 0) && !rest;
  if (surplus) {
    throw misfit(
      taskName,
      `takes ${plural(names.length, "positional argument")} but ${args.length} ${args.length === 1 ? "was" : "were"} given`,
    );
  }
  if (keys.length === 0) {
    if (strict && args.length < required) throw missing(taskName, names.slice(args.length, required));
    return keywords && args.length <= names.length ? [...padded(args, names.length), {}] : args;
  }
  const bound: unknown[] = [...args];
  const gathered: Record<string, unknown> = Object.create(null);
  const filled = new Set<number>();
  for (const key of keys) {
    const index = names.indexOf(key);
    if (index < 0) {
      if (!keywords) throw misfit(taskName, `got an unexpected keyword argument '${key}'`);
      gathered[key] = kwargs[key];
      continue;
    }
    if (index < args.length) throw misfit(taskName, `got multiple values for argument '${key}'`);
    bound[index] = kwargs[key];
    filled.add(index);
  }
  if (strict) {
    const absent = names.slice(0, required).filter((_, index) => index >= args.length && !filled.has(index));
    if (absent.length > 0) throw missing(taskName, absent);
  }
  if (keywords && args.length <= names.length) return [...padded(bound, names.length), { ...gathered }];
  return Array.from(bound);
}

function padded(values: readonly unknown[], length: number): unknown[] {
  const out = Array.from(values);
  while (out.length < length) out.push(undefined);
  return out;
}

function misfit(taskName: string, what: string): InvalidTaskError {
  return new InvalidTaskError(`${shortName(taskName)}() ${what}`, { code: "TQ_ARGUMENTS" });
}

function missing(taskName: string, names: readonly (string | null)[]): InvalidTaskError {
  const quoted = names.map((name) => `'${name ?? "?"}'`);
  const list = quoted.length < 2 ? quoted.join("") : `${quoted.slice(0, -1).join(", ")} and ${quoted.at(-1)}`;
  return misfit(taskName, `missing ${plural(names.length, "required positional argument")}: ${list}`);
}

const shortName = (taskName: string): string => taskName.slice(taskName.lastIndexOf(".") + 1);
const plural = (count: number, noun: string): string => `${count} ${noun}${count === 1 ? "" : "s"}`;

function hasDefault(part: string): boolean {
  let depth = 0;
  for (let i = 0; i < part.length; i += 1) {
    const char = part[i] as string;
    if (char === '"' || char === "'" || char === "`") i = skipString(part, i);
    else if ("([{".includes(char)) depth += 1;
    else if (")]}".includes(char)) depth -= 1;
    else if (char === "=" && depth === 0 && part[i + 1] !== ">") return true;
  }
  return false;
}

/** The text between the parentheses of a function's head, without comments. */
function parameterText(source: string): string {
  const text = withoutComments(source);
  const bare = /^(?:async\s+)?([\p{ID_Start}$_][\p{ID_Continue}$]*)\s*=>/u.exec(text);
  if (bare) return bare[1] as string;
  const open = text.indexOf("(");
  if (open < 0) return "";
  let depth = 0;
  for (let i = open; i < text.length; i += 1) {
    const char = text[i] as string;
    if (char === '"' || char === "'" || char === "`") i = skipString(text, i);
    else if ("([{".includes(char)) depth += 1;
    else if (")]}".includes(char)) {
      depth -= 1;
      if (depth === 0) return text.slice(open + 1, i);
    }
  }
  return "";
}

function splitTopLevel(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let start = 0;
  for (let i = 0; i < text.length; i += 1) {
    const char = text[i] as string;
    if (char === '"' || char === "'" || char === "`") i = skipString(text, i);
    else if ("([{".includes(char)) depth += 1;
    else if (")]}".includes(char)) depth -= 1;
    else if (char === "," && depth === 0) {
      parts.push(text.slice(start, i));
      start = i + 1;
    }
  }
  parts.push(text.slice(start));
  return parts;
}

function skipString(text: string, start: number): number {
  const quote = text[start];
  let i = start + 1;
  while (i < text.length && text[i] !== quote) i += text[i] === "\\" ? 2 : 1;
  return i;
}

function withoutComments(source: string): string {
  let out = "";
  for (let i = 0; i < source.length; i += 1) {
    const char = source[i] as string;
    if (char === '"' || char === "'" || char === "`") {
      const end = skipString(source, i);
      out += source.slice(i, end + 1);
      i = end;
    } else if (char === "/" && source[i + 1] === "*") {
      i = source.indexOf("*/", i + 2) + 1;
      if (i === 0) return out;
    } else if (char === "/" && source[i + 1] === "/") {
      i = source.indexOf("\n", i);
      if (i < 0) return out;
    } else out += char;
  }
  return out;
}
