/** What of vitest's JSON report is read here. */
export interface VitestReport {
  readonly testResults: readonly {
    readonly status: string;
    readonly assertionResults: readonly { readonly status: string; readonly ancestorTitles: readonly string[] }[];
  }[];
}

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Groups of tests that were skipped for want of a service; their names say which. */
  readonly wanting: readonly string[];
}

/**
 * Counts what a run came to. A file that could not be loaded, or whose hooks failed, is a failure
 * even when none of its tests is.
 */
export function countTests(report: VitestReport): Counts {
  let [passed, failed, skipped] = [0, 0, 0];
  const wanting = new Set<string>();
  for (const file of report.testResults) {
    let failedHere = 0;
    for (const test of file.assertionResults) {
      if (test.status === "passed") passed += 1;
      else if (test.status === "failed") failedHere += 1;
      else skipped += 1;
      const group = test.ancestorTitles.find((title) => title.includes("[needs "));
      if (group !== undefined && test.status !== "failed") wanting.add(group);
    }
    failed += file.status === "failed" ? Math.max(failedHere, 1) : failedHere;
  }
  return { passed, failed, skipped, wanting: [...wanting] };
}

/** What is wrong with a run although no test failed; undefined when nothing is. */
export function hiddenFailure(counts: Counts, exitCode: number): string | undefined {
  if (counts.passed + counts.failed + counts.skipped === 0) return "no test was found";
  if (exitCode !== 0 && counts.failed === 0) return `vitest ended with code ${exitCode}; see above`;
  return undefined;
}
