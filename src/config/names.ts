/** `task_default_queue` of `taskDefaultQueue`, in types. */
export type SnakeCase<Text extends string, Done extends string = ""> = Text extends `${infer First}${infer Rest}`
  ? SnakeCase<Rest, First extends Lowercase<First> ? `${Done}${First}` : `${Done}_${Lowercase<First>}`>
  : Done;

/** Celery's spelling of a name: `taskDefaultQueue` becomes `task_default_queue`; snake case stays as it is. */
export function toSnakeCase(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

/** Our spelling of a name: `task_default_queue` becomes `taskDefaultQueue`; camel case stays as it is. */
export function toCamelCase(name: string): string {
  return name.replace(/(?<=.)_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** The same record with its own top-level keys in snake case. What lies deeper keeps its keys. */
export function withSnakeKeys(record: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [toSnakeCase(key), value]));
}

/** The known name most like the one given, or null when none is like it enough to be what was meant. */
export function closestName(name: string, known: Iterable<string>): string | null {
  const wanted = name.toLowerCase().replaceAll("_", "");
  const tolerated = Math.max(1, Math.floor(wanted.length / 4));
  let best: string | null = null;
  let bestDistance = tolerated + 1;
  for (const candidate of known) {
    const distance = editDistance(wanted, candidate.toLowerCase().replaceAll("_", ""), bestDistance);
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

/** Levenshtein's distance, or `limit` once it is certain to be no less. */
function editDistance(from: string, to: string, limit: number): number {
  if (Math.abs(from.length - to.length) >= limit) return limit;
  let above = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let row = 1; row <= from.length; row += 1) {
    const line = [row];
    for (let column = 1; column <= to.length; column += 1) {
      const change = from[row - 1] === to[column - 1] ? 0 : 1;
      line.push(
        Math.min(
          (above[column] as number) + 1,
          (line[column - 1] as number) + 1,
          (above[column - 1] as number) + change,
        ),
      );
    }
    if (Math.min(...line) >= limit) return limit;
    above = line;
  }
  return above[to.length] as number;
}
