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
  const later = (seconds: number, step: () => void): void => {
    timers.push(setTimeout(step, seconds * 1000).unref());
  };
  const kill = (signal: NodeJS.Signals) => () => void process.kill(process.pid, signal);
  supervision.onLost(() => {
    logger.error("The supervisor is gone: stopping.");
    worker.shutdown("warm", 1);
    later(coldAfter, () => worker.shutdown("cold", 1));
    later(killAfter, kill("SIGKILL"));
  });
  return {
    [Symbol.dispose]() {
      for (const timer of timers.splice(0)) clearTimeout(timer);
      // After HUP this process may stand in for the new one: what it is sent, that one gets.
      supervision.onLost(() => {
        kill("SIGTERM")();
        later(coldAfter, kill("SIGQUIT"));
        later(killAfter, kill("SIGKILL"));
      });
    },
  };
}
