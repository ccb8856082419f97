import { appendFileSync } from "node:fs";
import { isMainThread } from "node:worker_threads";
import { type SignalMap, Tq } from "tq";

/** An app that marks each signal of workers and processes, and has services of its own. */
export const app = new Tq("hooks", { taskDefaultQueue: process.env.ACTS_QUEUE ?? "celery" });

const file = process.env.HOOKS_FILE ?? "/dev/null";
const mark = (text: string): void => appendFileSync(file, `${text}\n`);
const names = [
  "celerydInit",
  "celerydAfterSetup",
  "afterSetupLogger",
  "afterSetupTaskLogger",
  "workerInit",
  "workerReady",
  "workerShuttingDown",
  "workerShutdown",
  "workerBeforeCreateProcess",
  "workerProcessInit",
  "workerProcessShutdown",
] as const satisfies readonly (keyof SignalMap)[];
for (const name of names) {
  app.signals.connect(name, (details) => {
    const { index } = details as { readonly index?: number };
    mark(index === undefined ? name : `${name} ${index}`);
  });
}
app.signals.connect("celerydInit", ({ conf }) => {
  if (process.env.HOOKS_CONCURRENCY) conf.update({ workerConcurrency: Number(process.env.HOOKS_CONCURRENCY) });
});
if (process.env.HOOKS_LOG) {
  const write =
    (level: string) =>
    (first: unknown, ...rest: readonly unknown[]): void => {
      const values = typeof first === "string" ? [first, ...rest] : rest;
      mark(`log ${level} ${values.map(String).join(" ")}`);
    };
  const logger = {
    trace: write("trace"),
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    fatal: write("fatal"),
    level: "info",
    isLevelEnabled: () => true,
    child: () => logger,
  };
  app.signals.connect("setupLogging", ({ use }) => use(logger));
}
app.task("hooks.add", (x: number, y: number) => x + y);

app.services.add({
  name: "probe",
  after: "pool",
  start: (host) => mark(`probe starts on ${host.hostname} beside ${(host.pool().processes as number[]).length}`),
  stop: () => mark("probe stops"),
});
app.services.add({
  name: "last",
  start: (host) => {
    mark(`last starts, main thread ${isMainThread}`);
    if (process.env.HOOKS_STOP) setTimeout(() => host.shutdown("warm", 7), 200);
  },
  stop: () => mark("last stops"),
});
