import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { until } from "./until.ts";

/** The root of the repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url));

/**
 * Builds dist when a source is newer than the last build; two runs at once build once.
 *
 * @throws Error with the compiler's words when the types are wrong.
 */
export async function buildIfStale(): Promise<void> {
  if (!isStale()) return;
  const lock = join(root, "node_modules", ".tq-building");
  await until(() => take(lock), { timeout: 120, interval: 0.05, message: "another build to end" });
  try {
    if (isStale()) await build();
  } finally {
    rmSync(lock, { recursive: true, force: true });
  }
}

async function build(): Promise<void> {
  const built = promisify(execFile)(process.execPath, [join(root, "build.mjs")], { cwd: root });
  await built.catch((error: { stdout?: string; stderr?: string }) => {
    throw new Error(`the build failed:\n${error.stdout || error.stderr || String(error)}`);
  });
}

function isStale(): boolean {
  const built = modified(join(root, "build", ".tsbuildinfo"));
  return newest(join(root, "src")) > built || modified(join(root, "dist", "index.js")) === 0;
}

function newest(folder: string): number {
  let time = modified(folder);
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const path = join(folder, entry.name);
    time = Math.max(time, entry.isDirectory() ? newest(path) : modified(path));
  }
  return time;
}

function modified(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;
}

/** A folder is a lock: making it succeeds for one. One left by a build that was killed is taken over after a minute. */
function take(lock: string): boolean {
  try {
    mkdirSync(lock);
    return true;
  } catch {
    if (Date.now() - modified(lock) > 60_000) rmSync(lock, { recursive: true, force: true });
    return false;
  }
}
