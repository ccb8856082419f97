/**
 * A shell pattern as a regular expression over the whole text, by Python's `fnmatch` rules:
 * `*` anything, `?` one character, `[abc]` `[a-z]` `[!abc]` a set; case matters, and there are
 * no path separators. An unclosed `[` is itself.
 */
export function globToRegExp(pattern: string): RegExp {
  let source = "";
  let index = 0;
  while (index < pattern.length) {
    const char = pattern[index] as string;
    index += 1;
    if (char === "*") {
      // Several stars mean one; as several `.*` they would take exponential time.
      while (pattern[index] === "*") index += 1;
      source += ".*";
    } else if (char === "?") source += ".";
    else if (char === "[") {
      const end = setEnd(pattern, index);
      source += end < 0 ? "\\[" : setSource(pattern.slice(index, end));
      if (end >= 0) index = end + 1;
    } else source += char.replace(/[\\^$.*+?()[\]{}|/]/, "\\$&");
  }
  return new RegExp(`^${source}$`, "s");
}

/** Whether the text matches the pattern from end to end. */
export function matchGlob(pattern: string, text: string): boolean {
  return globToRegExp(pattern).test(text);
}

/** A `]` right after `[` or `[!` belongs to the set. */
function setEnd(pattern: string, start: number): number {
  const first = pattern[start] === "!" ? start + 1 : start;
  return pattern.indexOf("]", pattern[first] === "]" ? first + 1 : first);
}

function setSource(body: string): string {
  const negated = body.startsWith("!");
  const members = setMembers(negated ? body.slice(1) : body);
  if (members === "") return negated ? "." : "(?!)";
  return `[${negated ? "^" : ""}${members}]`;
}

/** Ranges running backwards (`z-a`) are empty in Python and a syntax error in a RegExp. */
function setMembers(body: string): string {
  let members = "";
  for (let index = 0; index < body.length; index += 1) {
    const [from, to] = [body[index] as string, body[index + 2]];
    const isRange = body[index + 1] === "-" && to !== undefined;
    if (!isRange) members += escapeMember(from);
    else if (from <= to) members += `${escapeMember(from)}-${escapeMember(to)}`;
    if (isRange) index += 2;
  }
  return members;
}

function escapeMember(char: string): string {
  return /[\\\]^[-]/.test(char) ? `\\${char}` : char;
}
