/** Whether this run may not skip anything: CI=true. */
export function isCI(): boolean {
  return Boolean(process.env.CI) && process.env.CI !== "false";
}
