import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Bytes of memory another process occupies; 0 when it is gone or the system does not say. */
export function residentMemory(pid: number): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * pageSize();
  } catch {
    return process.platform === "linux" ? 0 : fromPs(pid);
  }
}

/** From the auxiliary vector the kernel gives each process: pairs of words, of which type 6 is the size of a page. */
function pageSize(): number {
  const vector = readFileSync("/proc/self/auxv");
  for (let at = 0; at + 16 <= vector.length; at += 16) {
    if (vector.readBigUInt64LE(at) === 6n) return Number(vector.readBigUInt64LE(at + 8));
  }
  return 4096;
}

function fromPs(pid: number): number {
  try {
    return Number(execFileSync("ps", ["-o", "rss=", "-p", String(pid)], { encoding: "utf8" })) * 1024;
  } catch {
    return 0;
  }
}
