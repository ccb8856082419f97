import { buildIfStale } from "./helpers/build.ts";
import { isCI } from "./helpers/mode.ts";

/** Before the first test: tests that start processes run what is in dist, so it must be what src says. */
export async function setup(): Promise<void> {
  try {
    await buildIfStale();
  } catch (error) {
    if (isCI()) throw error;
    // At home a test of one corner may run while another does not compile; what was emitted is used.
    const errors = String(error).match(/error TS\d+/g)?.length ?? 1;
    console.warn(`src does not compile (${errors} errors, see npm run typecheck); dist is what could be emitted`);
  }
}
