import { setFlagsFromString } from "node:v8";

/**
 * Keeps the part of the heap where objects begin as large as it is now. It would double until it is
 * 32 MiB, once a little of what is made outlives a collection, and never be smaller again; a process
 * that hands messages on keeps so little of them that it gains nothing by it. For processes that are
 * ours, and run nobody else's code: it holds for all of a process, its threads included.
 */
export function keepYoungGeneration(): void {
  setFlagsFromString("--semi-space-growth-factor=1");
}
