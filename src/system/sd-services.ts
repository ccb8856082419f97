import type { Service } from "../util/service.ts";
import type { ServiceManager } from "./sd-notify.ts";

/**
 * Tells systemd that a daemon is ready and that it stops. The last service to start, and so the first to stop:
 * what it says is true.
 */
export function readinessService(manager: ServiceManager, hostname: string): Service {
  let isReady = false;
  return {
    name: "sd-notify",
    async start() {
      isReady = true;
      // Nothing waits for the manager to have heard it: the work has begun.
      void manager.notify("READY=1", `STATUS=${hostname} ready.`);
    },
    async stop() {
      if (!isReady) return;
      isReady = false;
      // The flow of messages stops now, not when the manager has answered.
      void manager.notify("STOPPING=1", `STATUS=${hostname} is stopping.`);
    },
  };
}

/**
 * Tells systemd's watchdog that a daemon lives, twice in the time it allows. The word is given by the main loop
 * after a full turn of it: a process that hangs keeps silent and is restarted. The first service to start and the
 * last to stop: a long drain is no death.
 */
export function watchdogService(manager: ServiceManager): Service {
  const { watchdog } = manager;
  let timer: NodeJS.Timeout | undefined;
  let isStopped = false;
  const schedule = (): void => {
    if (isStopped || watchdog === null) return;
    timer = setTimeout(() => void ping().finally(schedule), (watchdog / 2) * 1_000);
    timer.unref();
  };
  const ping = async (): Promise<void> => {
    await new Promise((resolve) => setImmediate(resolve));
    await manager.notify("WATCHDOG=1");
  };
  return {
    name: "watchdog",
    async start() {
      schedule();
    },
    async stop() {
      isStopped = true;
      clearTimeout(timer);
    },
  };
}
