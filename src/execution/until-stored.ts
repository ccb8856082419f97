import { setTimeout as sleep } from "node:timers/promises";
import type { OpenBackend } from "../backend/backend.ts";
import type { ResultRecord } from "../backend/record.ts";
import { BackendConnectionError } from "../errors.ts";
import { backoff } from "../util/backoff.ts";

/**
 * Stores a result however long its store is away: what follows the task depends on it, and a
 * store that cannot be reached is no failure of the task. Ends with the process at the latest.
 */
export function untilStored(open: OpenBackend, record: ResultRecord): Promise<void> {
  return untilAnswered(async () => (await open(record.store)).store(record));
}

/** The same for anything asked of a result store that may be asked twice, such as counting a part of a chord in. */
export async function untilAnswered<Value>(ask: () => Promise<Value>): Promise<Value> {
  for (let attempt = 0; ; attempt += 1) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof BackendConnectionError)) throw error;
      await sleep(backoff({ attempt, initial: 0.1, max: 2 }) * 1000);
    }
  }
}
