import { fileURLToPath } from "node:url";
import { isOurs } from "./installation.ts";

/** Has Node's inspector evaluate an expression in another process or thread, also amid code that never yields there. */
export type Evaluate = (expression: string) => Promise<unknown>;

const source = "tq:stack";

/** In the words of the process itself: with its own way of naming functions, and its source maps if it uses them. */
const expression = `(() => {
  const { stackTraceLimit, prepareStackTrace } = Error;
  try {
    Error.stackTraceLimit = 50;
    Error.prepareStackTrace = undefined;
    return new Error().stack;
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
})()
//# sourceURL=${source}`;

/** Code that does nothing but await what is there already is between two of its steps more often than in one. */
const mostTries = 50;

/**
 * The JavaScript another process or thread is in the midst of: lines like `at resize (/srv/tasks.js:12:5)`,
 * the innermost first, without what had called the user's code. Null when it is in none. The code is not
 * paused, nor compiled anew for a debugger: the question is put between two of its instructions.
 */
export async function runningStack(evaluate: Evaluate): Promise<readonly string[] | null> {
  for (let tries = 0; tries < mostTries; tries += 1) {
    const frames = framesOf(await evaluate(expression));
    if (frames.length > 0) return frames;
  }
  return null;
}

/** What there is to show of the text of a stack. */
export function framesOf(stack: unknown): readonly string[] {
  if (typeof stack !== "string") return [];
  const frames = stack
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("at ") && !line.includes(source));
  const outermost = frames.findLastIndex(isUsers);
  return outermost < 0 ? frames : frames.slice(0, outermost + 1);
}

function isUsers(frame: string): boolean {
  const place = /(?:\(|at (?:async )?)((?:file:\/\/)?\/.*):\d+:\d+\)?$/.exec(frame)?.[1];
  return place !== undefined && !isOurs(place.startsWith("file:") ? fileURLToPath(place) : place);
}
