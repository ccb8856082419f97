import { randomUUID } from "node:crypto";
import { Tq, type TqOptions } from "../app/app.ts";

/**
 * An app whose calls run here and now, without a broker: `delay` runs the task before it
 * resolves, and `get()` gives its result or throws its error.
 */
export function eagerApp(main = "tests", options: TqOptions = {}): Tq {
  const app = inMemory(new Tq(main, options));
  app.conf.setFlags({ ...memoryStores(), taskAlwaysEager: true });
  return app;
}

/** An app with queues and results in this process's memory, shared with no other app. */
export function testApp(main = "tests", options: TqOptions = {}): Tq {
  return inMemory(new Tq(main, options));
}

/**
 * Takes an application's own app out of the reach of real brokers: queues and results in memory,
 * whatever its settings and the environment say. Gives back the app.
 */
export function inMemory(app: Tq): Tq {
  // Flags win over the environment: a test must never reach a real broker.
  app.conf.setFlags(memoryStores());
  return app;
}

function memoryStores(): { readonly brokerUrl: string; readonly resultBackend: string } {
  const name = `test-${randomUUID()}`;
  return { brokerUrl: `memory://${name}`, resultBackend: `cache+memory://${name}` };
}
