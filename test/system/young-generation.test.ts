import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { root } from "../helpers/build.ts";

/** MiB of the new space after a million objects of which a few thousand are kept for a while. */
async function newSpaceAfter(keeps: boolean): Promise<number> {
  const code = `
    import { getHeapSpaceStatistics } from "node:v8";
    import { createJiti } from "jiti";
    const { keepYoungGeneration } = await createJiti(import.meta.url).import(${JSON.stringify(join(root, "src/system/young-generation.ts"))});
    if (${keeps}) keepYoungGeneration();
    let kept = [];
    for (let n = 0; n < 2_000_000; n += 1) {
      kept.push({ n, text: String(n) });
      if (kept.length > 20_000) kept = [];
    }
    console.log(getHeapSpaceStatistics().find(({ space_name }) => space_name === "new_space").space_size / 1048576);`;
  const args = ["--input-type=module", "-e", code];
  return Number((await promisify(execFile)(process.execPath, args, { cwd: root, timeout: 30_000 })).stdout);
}

test("a process that keeps its young generation as it is stays small, whatever outlives collections", async () => {
  expect(await newSpaceAfter(false)).toBeGreaterThanOrEqual(16);
  expect(await newSpaceAfter(true)).toBeLessThanOrEqual(8);
});
