import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** The words a process was started with, or the title it has given itself; undefined when the system does not tell. */
export function commandOf(pid: number): readonly string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8")
      .split("\0")
      .filter((word) => word !== "");
  } catch (error) {
    // There is a /proc, and the process is gone or somebody else's.
    if ((error as NodeJS.ErrnoException).code !== "ENOENT" || process.platform === "linux") return undefined;
  }
  try {
    const line = execFileSync("ps", ["-ww", "-o", "command=", "-p", String(pid)], { encoding: "utf8" });
    return line.trim().split(/\s+/);
  } catch {
    return undefined;
  }
}

/** A variable of the environment a process was started with; undefined when it has none, or the system does not tell. */
export function environmentOf(pid: number, variable: string): string | undefined {
  try {
    const lines = readFileSync(`/proc/${pid}/environ`, "utf8").split("\0");
    return lines.find((line) => line.startsWith(`${variable}=`))?.slice(variable.length + 1);
  } catch {
    return undefined;
  }
}
