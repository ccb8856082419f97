import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

/** Whether this process may run the file. */
export function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** The program of this name, in the first folder of `PATH` that has it. */
export function findProgram(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .map((folder) => join(folder || ".", name))
    .find(isExecutable);
}
