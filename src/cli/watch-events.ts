import { setTimeout as sleep } from "node:timers/promises";
import type { Tq } from "../app/app.ts";
import { BrokerConnectionError } from "../errors.ts";
import type { EventHandler } from "../events/receiver.ts";
import { backoff } from "../util/backoff.ts";

/** Feeds events to a handler until told to stop; a broker that is away is waited for. */
export async function watchEvents(
  app: Tq,
  onEvent: EventHandler,
  say: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  for (let attempt = 0; !signal.aborted; attempt += 1) {
    const receiver = await app.events.receiver();
    try {
      await receiver.capture({ "*": onEvent }, { signal });
      return;
    } catch (error) {
      if (!(error instanceof BrokerConnectionError)) throw error;
      const pause = backoff({ attempt, initial: 1, max: 30, jitter: 0 });
      say(`-> ${error.message}.\nTrying again in ${pause.toFixed(0)} seconds.`);
      await sleep(pause * 1000, undefined, { signal }).catch(() => undefined);
    } finally {
      await receiver.close();
    }
  }
}
