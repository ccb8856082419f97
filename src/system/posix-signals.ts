import { constants } from "node:os";

/** What is called for each arrival; `times` is 1 for the first of this signal since the registration. */
export type SignalHandler = (signal: NodeJS.Signals, times: number) => void;

/**
 * Calls `handler` whenever one of the signals arrives, until disposed of; the signal's own
 * effect is off for that long. Who counts presses of Ctrl+C gets the count.
 */
export function onSignal(names: readonly NodeJS.Signals[], handler: SignalHandler): Disposable {
  const times = new Map<NodeJS.Signals, number>();
  const listener = (signal: NodeJS.Signals): void => {
    const count = (times.get(signal) ?? 0) + 1;
    times.set(signal, count);
    handler(signal, count);
  };
  for (const name of names) process.on(name, listener);
  return {
    [Symbol.dispose]() {
      for (const name of names) process.off(name, listener);
    },
  };
}

/** The number of a signal, as events and Python know it. */
export const signalNumber = (signal: NodeJS.Signals): number => constants.signals[signal];

/**
 * A signal as remote commands name it: `SIGTERM`, `TERM` or 15. Undefined for what is none, as
 * names in lower case are in Celery (`platforms.py#Signals.signum`).
 */
export function parseSignal(given: unknown): NodeJS.Signals | undefined {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  if (typeof given === "number") return names.find((name) => constants.signals[name] === given);
  if (typeof given !== "string") return undefined;
  const name = given.startsWith("SIG") ? given : `SIG${given}`;
  return names.find((known) => known === name);
}
