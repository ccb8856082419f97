/** Help for the tests of applications that use tq. */
import { Tq, type TqOptions } from "./app/app.ts";

/**
 * An app whose calls run here and now, without a broker: `delay` runs the task before it
 * resolves, and `get()` gives its result or throws its error.
 */
export function eagerApp(main = "tests", options: TqOptions = {}): Tq {
  return new Tq(main, { broker: "memory://", backend: "cache+memory://", taskAlwaysEager: true, ...options });
}
