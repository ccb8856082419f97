import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** Bytes looked at. */
const window = 16 * 1024;

/** How long a log is now, so that later only what came after is shown; 0 when there is none. */
export function logLength(path: string | null): number {
  if (path === null) return 0;
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return 0;
  }
  try {
    return fstatSync(file).size;
  } finally {
    closeSync(file);
  }
}

/** The last lines a log got after its first `since` bytes; none when it cannot be read. */
export function logTail(
  path: string | null,
  { since, lines }: { readonly since: number; readonly lines: number },
): string[] {
  if (path === null) return [];
  let file: number;
  try {
    file = openSync(path, "r");
  } catch {
    return [];
  }
  try {
    const { size } = fstatSync(file);
    // It was rotated meanwhile: all of it is new.
    const from = Math.max(size < since ? 0 : since, size - window);
    const buffer = Buffer.alloc(size - from);
    const text = buffer.toString("utf8", 0, readSync(file, buffer, 0, buffer.length, from));
    return text
      .split("\n")
      .filter((line) => line.trim() !== "")
      .slice(-lines);
  } catch {
    return [];
  } finally {
    closeSync(file);
  }
}
