/** Help for the tests of applications that use tq. */
import { Tq, type TqOptions } from "./app/app.ts";

/**
 * An app whose calls run here and now, without a broker: `delay` runs the task before it
 * resolves, and `get()` gives its result or throws its error.
 */
export function eagerApp(main = "tests", options: TqOptions = {}): Tq {
  const app = new Tq(main, options);
  // Flags win over the environment: a test must never reach a real broker.
  app.conf.setFlags({ brokerUrl: "memory://", resultBackend: "cache+memory://", taskAlwaysEager: true });
  return app;
}
