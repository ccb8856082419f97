import { relative } from "node:path";
import type { TestProject } from "vitest/node";
import { buildIfStale, root } from "./helpers/build.ts";
import { isCI } from "./helpers/mode.ts";

/** Tests of these run what is in src; all others may start processes, which run what is in dist. */
const withoutProcesses =
  /^test\/(util|protocol|serialization|canvas|config|broker|backend|events|task|execution|contract)\/|^test\/(architecture|infrastructure|log|errors)\./;

/** Before the first test: dist must be what src says. A run of a few unit tests does not wait for it. */
export async function setup(project: TestProject): Promise<void> {
  // The filters of the command line; not part of vitest's documented surface, and without them all files count.
  const filters: unknown = Reflect.get(project.vitest, "filenamePattern");
  const { testFiles } = await project.globTestFiles(Array.isArray(filters) ? filters : []);
  if (testFiles.every((file) => withoutProcesses.test(relative(root, file)))) return;
  try {
    await buildIfStale();
  } catch (error) {
    if (isCI()) throw error;
    // At home a test of one corner may run while another does not compile; what was emitted is used.
    const errors = String(error).match(/error TS\d+/g)?.length ?? 1;
    console.warn(`src does not compile (${errors} errors, see npm run typecheck); dist is what could be emitted`);
  }
}
