/** A part of a daemon. Started in order, stopped in reverse. */
export interface Service {
  readonly name: string;
  start(): Promise<void>;
  /** Idempotent, and harmless before `start`. When `signal` aborts, time is up: let go at once. */
  stop(signal: AbortSignal): Promise<void>;
}

/**
 * Starts each service after the one before it is up, until `signal` aborts; when one fails, those
 * already up are stopped again.
 */
export async function startAll(services: readonly Service[], signal?: AbortSignal): Promise<void> {
  const started: Service[] = [];
  try {
    for (const service of services) {
      if (signal?.aborted) return;
      started.push(service);
      await service.start();
    }
  } catch (error) {
    await stopAll(started, AbortSignal.timeout(5_000)).catch(() => undefined);
    throw error;
  }
}

/** Stops every service in reverse order, whatever the others do; rejects with all that went wrong. */
export async function stopAll(services: readonly Service[], signal: AbortSignal): Promise<void> {
  const failures: unknown[] = [];
  for (const service of [...services].reverse()) {
    try {
      await service.stop(signal);
    } catch (error) {
      failures.push(error);
    }
  }
  if (failures.length === 1) throw failures[0];
  if (failures.length > 1) throw new AggregateError(failures, "several services failed to stop");
}
