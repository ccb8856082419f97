import type { Logger } from "../log.ts";
import type { Supervision } from "../system/supervision.ts";

/** What is left of the five seconds a node may go on without its supervisor, step by step, in seconds. */
const coldAfter = 1.5;
const killAfter = 4.5;

/**
 * Ends a worker that may not outlive its supervisor (`tq multi run`): warm at once, cold soon
 * after, and by force before five seconds have passed, so that whoever starts the supervisor
 * again finds the place free. Messages that were not finished go back.
 */
export function endWithSupervisor(
  supervision: Supervision,
  worker: { shutdown(how: "warm" | "cold", exitCode: number): void },
  logger: Logger,
): Disposable {
  const timers: NodeJS.Timeout[] = [];
  supervision.onLost(() => {
    logger.error("The supervisor is gone: stopping.");
    worker.shutdown("warm", 1);
    timers.push(
      setTimeout(() => worker.shutdown("cold", 1), coldAfter * 1000),
      setTimeout(() => process.kill(process.pid, "SIGKILL"), killAfter * 1000),
    );
    for (const timer of timers) timer.unref();
  });
  return {
    [Symbol.dispose]() {
      for (const timer of timers) clearTimeout(timer);
    },
  };
}
