import { readFileSync } from "node:fs";
import { signalNumber } from "./posix-signals.ts";

/** Whether another process does something of its own on a signal, rather than end. False where the system does not say: Linux does. */
export function catchesSignal(pid: number, signal: NodeJS.Signals): boolean {
  try {
    const caught = /^SigCgt:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return caught !== undefined && ((BigInt(`0x${caught}`) >> BigInt(signalNumber(signal) - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}
