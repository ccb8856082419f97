import type { Pool, PoolContext } from "tq";

/** A pool of one's own: everything at once, here, and each task twice as long on the way. */
export function createPool({ executor, logger, concurrency }: PoolContext): Pool {
  const runner = { pid: process.pid, name: "OwnPool" };
  return {
    kind: "own",
    size: concurrency,
    slots: concurrency,
    width: concurrency,
    start: async () => logger.warn("own pool starts"),
    async run(job, onAccepted) {
      const ready = await executor.prepare(job);
      if (ready.kind !== "ready") return { outcome: ready, runner };
      onAccepted(runner);
      return { outcome: await executor.run(ready), runner };
    },
    terminate: () => false,
    resize: async () => undefined,
    restart: async () => undefined,
    stats: () => ({ implementation: "own", processes: [process.pid] }),
    stop: async () => undefined,
  };
}
