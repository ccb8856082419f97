import type { Tq } from "../app/app.ts";
import { ImproperlyConfigured } from "../errors.ts";

/** A broker that can move what waits in it through time: the memory broker. */
interface TimeMachine {
  travel(seconds: number): void;
}

/**
 * Lets time pass for what waits in an in-memory app: calls with a countdown, an eta or an
 * expiry, and retries, are so many seconds nearer to theirs. No clock is changed; the test goes on
 * in its own time. Throws `ImproperlyConfigured` for an app on a real broker.
 */
export async function travel(app: Tq, seconds: number): Promise<void> {
  const broker = (await app.broker()) as Partial<TimeMachine>;
  if (!broker.travel) {
    throw new ImproperlyConfigured("only an app in memory can travel in time: make it by testApp() or inMemory(app)");
  }
  broker.travel(seconds);
}
