/** Headers in which tq counts what has happened to a message. They never reach a task, nor the calls it makes. */

/** Child processes that died running it. */
export const crashesHeader = "tq_crashes";
/** How often it was put back from among the dead letters. */
export const redrivenHeader = "tq_redriven";

/** A count out of such a header; 0 where there is none. */
export function markOf(headers: Readonly<Record<string, unknown>>, header: string): number {
  const value = Number(headers[header]);
  return Number.isSafeInteger(value) && value > 0 ? value : 0;
}

/** The headers of a message that goes back once more. */
export const redriven = (headers: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> => ({
  [redrivenHeader]: markOf(headers, redrivenHeader) + 1,
});
