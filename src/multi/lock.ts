import { setTimeout as delay } from "node:timers/promises";
import { TqError } from "../errors.ts";
import { acquirePidfile, readPidfile } from "../system/pidfile.ts";
import type { Node } from "./node.ts";

/** Seconds between two looks. */
const interval = 0.1;

/**
 * Keeps two operators from starting one node at once: whoever comes second waits until the first
 * is done, and finds the node running. The lock is a pidfile of its own: one left by a process
 * that was killed is recognised at once. `onWait` is called when there is somebody to wait for.
 *
 * @throws TqError `TQ_MULTI_BUSY` after `timeout` seconds.
 */
export async function lockNode(
  node: Node,
  { timeout, onWait }: { readonly timeout: number; readonly onWait: (pid: number | null) => void },
): Promise<Disposable> {
  if (node.pidfile === "") return { [Symbol.dispose]: () => undefined };
  const path = `${node.pidfile}.multi`;
  const deadline = performance.now() + timeout * 1000;
  for (let looks = 0; ; looks++) {
    try {
      const lock = await acquirePidfile(path);
      return { [Symbol.dispose]: () => lock.release() };
    } catch (error) {
      if (!(error instanceof TqError) || error.code !== "TQ_PIDFILE_HELD") throw error;
      const { pid } = readPidfile(path);
      if (performance.now() >= deadline) {
        throw new TqError(`Another tq multi (pid ${pid ?? "unknown"}) is at work on ${node.name}: try again later.`, {
          cause: error,
          code: "TQ_MULTI_BUSY",
        });
      }
      if (looks === 5) onWait(pid);
    }
    await delay(interval * 1000);
  }
}
